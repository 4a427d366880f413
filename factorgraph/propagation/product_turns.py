"""Sweeps over a product posterior that update one term after another, where parallel ones do not settle.

Few strong sites that all move at once overshoot; one at a time, each meets what the last has left (Minka 2001). The
fixed point is the same.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from factorgraph.propagation.product import Group, ProductGraph
from factorgraph.propagation.product_sweep import (
    ProductState,
    change_between,
    propose,
    standing,
    take_step,
    updated,
)
from factorgraph.propagation.sweep import Proposal, SweepInfo, residual_of

_MOST_TURNS = 64  # of a sweep
_PATIENCE = 5  # sweeps without a smaller change, after which steps are halved


def run_in_turn(
    graph: ProductGraph, state: ProductState, *, max_steps: int, tolerance: float, damping: float, power: float
) -> tuple[ProductState, list[SweepInfo], bool]:
    """Sweep until nothing changes, or for ``max_steps`` sweeps; the last state, what each sweep did, and whether it
    settled."""
    history: list[SweepInfo] = []
    step, smallest, stalled = damping, np.inf, 0
    while len(history) < max_steps:
        number = state.num_steps + 1
        new, residual = _in_turn(graph, state, step, power)
        change = change_between(graph, state.product, new.product)
        near = change < tolerance * step  # otherwise the log evidence of where it is, and no step
        state, last = take_step(graph, new, propose(graph, new, power), step if near else 0.0)
        state = replace(state, num_steps=number)
        history.append(replace(last, step=number, change=change, residual=residual, damping=step))
        if near and last.change < tolerance:
            return state, history, True
        stalled = 0 if change < smallest else stalled + 1
        smallest = min(smallest, change)
        if stalled == _PATIENCE:
            step, stalled = 0.5 * step, 0
    return state, history, False


def _in_turn(graph: ProductGraph, state: ProductState, step: float, power: float) -> tuple[ProductState, float]:
    """One sweep, and the norm of what was proposed in it."""
    size = -(-sum(group.size for group in graph.groups) // _MOST_TURNS)
    squares = 0.0
    for i, group in enumerate(graph.groups):
        for start in range(0, group.size, size):
            rows = slice(start, start + size)
            proposals = list(standing(graph, state))
            proposals[i] = _replaced(graph, group, state, proposals[i], rows, power)
            squares += float(np.sum(residual_of((proposals[i],)) ** 2))
            state, _ = take_step(graph, state, tuple(proposals), step)
    return state, float(np.sqrt(squares))


def _replaced(
    graph: ProductGraph, group: Group, state: ProductState, there: Proposal, rows: slice, power: float
) -> Proposal:
    """What is ``there`` with new proposals for some rows."""
    part = replace(group, rows=group.rows[rows], normal=group.normal[rows], scalar=group.scalar[rows])
    new = updated(graph, part, state.product, Proposal(*(getattr(there, f.name)[rows] for f in fields(there))), power)
    found = {f.name: getattr(there, f.name).copy() for f in fields(there)}
    for name, whole in found.items():
        whole[rows] = getattr(new, name)
    return Proposal(**found)
