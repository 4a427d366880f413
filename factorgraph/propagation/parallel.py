"""Sweeps until nothing changes: full parallel steps where they settle, other steps where they do not.

The length of a step is that which would end the oscillation seen in the last two residuals (Barzilai & Borwein 1988),
at most the one asked for. Near the fixed point the last few steps together tell how the residual answers to the sites,
and the step that would end it is taken (Anderson 1965; Walker & Ni 2011). A step after which the residual is much
larger is taken back, forgotten, and halved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from factorgraph.propagation.state import ContractedGraph, EPState, Sites
from factorgraph.propagation.sweep import (
    Proposal,
    SweepInfo,
    propose,
    proposed_changes,
    redirected,
    residual_of,
    sites_of,
    take_step,
)

Propose = Callable[[ContractedGraph, EPState, float], tuple[Proposal, ...]]


State = TypeVar("State", bound=Sites)

_SHORTEST = 1.0 / 64.0
_TOLERATED_GROWTH = 2.0
_MEMORY = 5  # earlier steps
_NEAR = 0.3  # residual below which sweeps are nearly linear
STALLED = 10  # sweeps without a smaller residual, after which matched sites have settled
_NOISE = 0.02  # residual of a matched site that its points leave, in posterior sds


def run(
    graph: ContractedGraph,
    state: EPState,
    *,
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float = 1.0,
    patience: int | None = None,
    propose: Propose = propose,
    longest: float = 1.0,
) -> tuple[EPState, list[SweepInfo], bool]:
    """`settled`, of one normal posterior over all shared variables; ``propose`` is what finds the sites to move
    towards."""
    return settled(
        graph,
        state,
        propose=propose,
        take_step=take_step,
        max_steps=max_steps,
        min_steps=min_steps,
        tolerance=tolerance,
        damping=damping,
        power=power,
        patience=patience,
        longest=longest,
    )


def settled(
    graph: Any,
    state: State,
    *,
    propose: Callable[[Any, State, float], tuple[Proposal, ...]],
    take_step: Callable[[Any, State, tuple[Proposal, ...], float], tuple[State, SweepInfo]],
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float = 1.0,
    patience: int | None = None,
    longest: float = 1.0,
) -> tuple[State, list[SweepInfo], bool]:
    """Sweep until no mean moves by ``tolerance`` standard deviations and no log standard deviation by as much.

    ``max_steps`` and ``min_steps`` count the sweeps that were kept; ``damping`` is the longest step. Returns the state
    where it settled, or otherwise the one of smallest residual; what each sweep did; and whether it settled. Points
    jump over the edges of matched sites from sweep to sweep: those settle where their residual is as small as it gets.
    After ``patience`` sweeps without a smaller residual no more is tried. ``propose`` finds the sites to move towards,
    ``take_step`` moves there.
    """
    history: list[SweepInfo] = []
    step, converged, stalled = damping, False, 0
    proposals = propose(graph, state, power)
    best, smallest = state, float(np.linalg.norm(residual_of(proposals)))
    memory: list[tuple[np.ndarray, np.ndarray]] = []  # sites and the changes proposed there
    while len(history) < max(max_steps, min_steps):
        residual, sites, changes = residual_of(proposals), sites_of(state), proposed_changes(state, proposals)
        if memory and float(np.linalg.norm(residual)) < _NEAR:
            directed = redirected(state, proposals, _accelerated(memory, sites, changes))
        else:
            directed = proposals
        candidate, info = take_step(graph, state, directed, step)
        if info.damping == 0.0:  # no step at all was possible, and none will be
            return candidate, [*history, info], False
        converged = info.change < tolerance * min(1.0, info.damping) and np.isfinite(info.log_evidence)
        if converged and len(history) + 1 >= min_steps:
            return candidate, [*history, info], True
        further = propose(graph, candidate, power)
        new = residual_of(further)
        grown = float(np.linalg.norm(new)) > _TOLERATED_GROWTH * max(float(np.linalg.norm(residual)), tolerance)
        if grown and info.damping > _SHORTEST:
            step, memory = 0.5 * info.damping, []
            continue
        stalled += 1
        if not float(np.linalg.norm(new)) > smallest:
            best, smallest, stalled = candidate, float(np.linalg.norm(new)), 0
        history.append(info)
        if stalled >= STALLED and len(history) >= min_steps and smallest < noise(best):
            return best, history, True
        if patience is not None and stalled >= max(patience, min_steps):
            break
        memory = [*memory, (sites, changes)][-_MEMORY:]
        state, proposals = candidate, further
        step = min(longest * damping, max(_SHORTEST, _settling_step(residual, new, info.damping)))
    return state if converged else best, history, converged


def noise(state: Sites) -> float:
    """The residual that the points of matched sites may leave."""
    return _NOISE * float(np.sqrt(sum(np.sum(matched) for matched in state.matched)))


def _settling_step(old: np.ndarray, new: np.ndarray, step: float) -> float:
    """The step that would have brought the residual to zero along its own direction."""
    size = float(old @ old)
    remaining = float(new @ old) / size if size > 0 else 0.0
    return step / (1.0 - remaining) if remaining < 1.0 else np.inf


def _accelerated(memory: list[tuple[np.ndarray, np.ndarray]], sites: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """``changes``, less what differences to the earlier steps explain of them, more where those steps led."""
    moved = np.stack([sites - earlier for earlier, _ in memory], axis=1)
    turned = np.stack([changes - earlier for _, earlier in memory], axis=1)
    size = np.maximum(np.linalg.norm(turned, axis=0), 1e-300)
    weights = np.linalg.lstsq(turned / size, changes, rcond=1e-6)[0] / size
    return changes - (moved + turned) @ weights
