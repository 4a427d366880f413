"""Sweeps until nothing changes: full parallel steps where they settle, shorter ones where they do not.

The length of a step is that which would end the oscillation seen in the last two residuals (Barzilai & Borwein 1988),
at most the one asked for; a step after which the residual is much larger is taken back and halved.
"""

from __future__ import annotations

import numpy as np

from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.sweep import SweepInfo, propose, residual_of, take_step

_SHORTEST = 1.0 / 64.0
_TOLERATED_GROWTH = 2.0


def run(
    graph: ContractedGraph, state: EPState, *, max_steps: int, min_steps: int, tolerance: float, damping: float
) -> tuple[EPState, list[SweepInfo], bool]:
    """Sweep until no mean moves by ``tolerance`` standard deviations and no log standard deviation by as much.

    ``max_steps`` and ``min_steps`` count the sweeps that were kept; ``damping`` is the longest step. Returns the last
    state, what each sweep did, and whether it settled.
    """
    history: list[SweepInfo] = []
    step, converged = damping, False
    proposals = propose(graph, state)
    while len(history) < max(max_steps, min_steps):
        candidate, info = take_step(graph, state, proposals, step)
        if info.damping == 0.0:  # no step at all was possible, and none will be
            return candidate, [*history, info], False
        converged = info.change < tolerance * info.damping
        if converged and len(history) + 1 >= min_steps:
            return candidate, [*history, info], True
        old, further = residual_of(proposals), propose(graph, candidate)
        new = residual_of(further)
        grown = float(np.linalg.norm(new)) > _TOLERATED_GROWTH * max(float(np.linalg.norm(old)), tolerance)
        if grown and info.damping > _SHORTEST:
            step = 0.5 * info.damping
            continue
        history.append(info)
        state, proposals = candidate, further
        step = min(damping, max(_SHORTEST, _settling_step(old, new, info.damping)))
    return state, history, converged


def _settling_step(old: np.ndarray, new: np.ndarray, step: float) -> float:
    """The step that would have brought the residual to zero along its own direction."""
    size = float(old @ old)
    remaining = float(new @ old) / size if size > 0 else 0.0
    return step / (1.0 - remaining) if remaining < 1.0 else np.inf
