"""Sweeps that update a part of the datasets at a time: one after the other, those farthest from settled, or at random.

Their fixed point is that of parallel sweeps, for it is where no site would change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from factorgraph.propagation.parallel import STALLED, noise
from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.sweep import Chosen, Proposal, SweepInfo, change_between, propose, residual_of, take_step

_SHORTEST = 1.0 / 64.0
_PATIENCE = 5  # sweeps without a smaller change after which steps are halved
_MOST_GROUPS, _FEW_GROUPS = 64, 8  # of a sweep one after the other, and at random
_LARGEST = 0.25  # of the datasets, that move where those farthest from settled do

Pass = Callable[[EPState, float, int], tuple[EPState, SweepInfo, float]]


def run_in_turn(
    graph: ContractedGraph,
    state: EPState,
    schedule: str,
    *,
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float = 1.0,
    batch: int | None = None,
    delay: int = 0,
    seed: int = 0,
) -> tuple[EPState, list[SweepInfo], bool]:
    """Sweep as `parallel.run` does, by the ``schedule`` "serial", "residual" or "stochastic".

    Parameters
    ----------
    batch
        How many datasets are updated at a time: one of at most 64 when serial, an eighth of them when stochastic.
    delay
        How many updates late the posterior is that each update sees, as where many machines work at once.
    """
    total = sum(len(site) for site in state.sites)

    def one_pass(state: EPState, step: float, number: int) -> tuple[EPState, SweepInfo, float]:
        if schedule == "residual":
            return _farthest(graph, state, step, power)
        order = np.arange(total)
        if schedule == "stochastic":
            order = np.random.default_rng([seed, number]).permutation(total)
        size = batch or -(-total // (_FEW_GROUPS if schedule == "stochastic" else _MOST_GROUPS))
        groups = (order[i : i + size] for i in range(0, total, size))
        return _in_groups(graph, state, groups, step, power, delay)

    history: list[SweepInfo] = []
    step, smallest, stalled = damping, np.inf, 0
    best = state
    while len(history) < max(max_steps, min_steps):
        new, info, residual = one_pass(state, step, len(history))
        change = change_between(state, new)
        history.append(replace(info, step=len(history) + 1, change=change, residual=residual))
        state = new
        if info.damping == 0.0:
            return state, history, False
        if len(history) >= min_steps and change < tolerance * info.damping:
            closed, last = take_step(graph, state, propose(graph, state, power), 1.0)
            if last.change < tolerance:
                return closed, [*history[:-1], replace(last, step=len(history))], True
        stalled += 1
        if residual < smallest:
            best, smallest, stalled = state, residual, 0
        if stalled >= STALLED and len(history) >= min_steps and smallest < noise(best):
            return _evaluated(graph, best, power), history, True
        if stalled and stalled % _PATIENCE == 0:
            step = max(0.5 * step, _SHORTEST)
    return _evaluated(graph, best, power), history, False


def _evaluated(graph: ContractedGraph, state: EPState, power: float) -> EPState:
    """The state with its own evidence and statuses: in between, each dataset's were those of its last update."""
    return take_step(graph, state, propose(graph, state, power), 0.0)[0]


def _in_groups(
    graph: ContractedGraph, state: EPState, groups: Iterable[np.ndarray], step: float, power: float, delay: int
) -> tuple[EPState, SweepInfo, float]:
    """Every group in its turn; the root sum of squares of all proposed changes."""
    seen, squares = deque([state], maxlen=delay + 1), 0.0
    shortest = None
    for group in groups:
        known = replace(state, mean=seen[0].mean, covariance=seen[0].covariance)
        proposals = propose(graph, known, power, _by_plate(graph, group))
        state, info = take_step(graph, state, proposals, step)
        seen.append(state)
        squares += float(np.sum(residual_of(proposals) ** 2))
        if shortest is None or info.damping < shortest.damping:
            shortest = info
    assert shortest is not None
    return state, replace(shortest, num_rejected=info.num_rejected, num_negative=info.num_negative), np.sqrt(squares)


def _by_plate(graph: ContractedGraph, numbers: np.ndarray) -> Chosen:
    """Rows by plate of the terms with these ``numbers``, counted through all plates."""
    sizes = [plate.plate.size for plate in graph.plates]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.sort(numbers)
    edges = np.searchsorted(numbers, starts)
    return tuple(numbers[a:b] - start for a, b, start in zip(edges[:-1], edges[1:], starts[:-1], strict=True))


def _farthest(graph: ContractedGraph, state: EPState, step: float, power: float) -> tuple[EPState, SweepInfo, float]:
    """The datasets whose sites have the largest proposed changes, relative to the posterior, and all exact ones."""
    proposals = propose(graph, state, power)
    sizes = [np.linalg.norm(p.change, axis=1) for p in proposals]
    together = np.sort(np.concatenate([np.zeros(0), *sizes]))[::-1]
    least = together[max(0, int(np.ceil(_LARGEST * len(together))) - 1)] if len(together) else 0.0
    chosen = tuple(_only(p, old, size >= least) for p, old, size in zip(proposals, state.sites, sizes, strict=True))
    new, info = take_step(graph, state, chosen, step)
    return new, info, float(np.linalg.norm(residual_of(proposals)))


def _only(proposal: Proposal, old: np.ndarray, chosen: np.ndarray) -> Proposal:
    return replace(proposal, site=np.where((chosen | proposal.exact)[:, None], proposal.site, old))
