"""Which sites are updated when; every schedule has the same fixed points.

Parallel sweeps settle in a handful of steps from the mode. Where they do not, the double loop goes on from the best
state they had.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from factorgraph.propagation import parallel
from factorgraph.propagation.double_loop import is_possible, propose_minimum
from factorgraph.propagation.in_turn import run_in_turn
from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.sweep import SweepInfo

SCHEDULES = ("parallel", "serial", "residual", "stochastic", "double loop")
TURNS = ("serial", "stochastic")  # a part of the datasets at a time, after one another

_PATIENCE = 30  # sweeps without a smaller residual
_NEAR = 1.0  # residual of a state that is worth going on from
_LONGEST, _FINER = 16.0, 0.1  # step of the double loop, whose own are short, and tolerance


def run(
    graph: ContractedGraph,
    start: EPState,
    *,
    schedule: str = "parallel",
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float = 1.0,
    batch: int | None = None,
    delay: int = 0,
    seed: int = 0,
) -> tuple[EPState, list[SweepInfo], bool]:
    """The state where the sweeps settled, or otherwise the best; what each sweep did; and whether it settled.

    ``max_steps`` counts all sweeps, also those of the double loop.
    """
    state, history = start, list[SweepInfo]()
    descends = is_possible(graph)
    if schedule == "double loop" and not descends:
        warnings.warn(
            "optimise: the double loop needs one block of all shared variables, and few enough of them and of datasets "
            "for a matrix of their natural parameters; parallel sweeps are made instead.",
            stacklevel=2,
        )
    in_parallel = partial(parallel.run, graph, tolerance=tolerance, damping=damping, power=power)
    descend = partial(in_parallel, propose=propose_minimum, longest=_LONGEST, tolerance=_FINER * tolerance)
    if schedule in ("serial", "residual", "stochastic"):
        state, history, converged = run_in_turn(
            graph,
            state,
            schedule,
            max_steps=max_steps,
            min_steps=min_steps,
            tolerance=tolerance,
            damping=damping,
            power=power,
            batch=batch,
            delay=delay,
            seed=seed,
        )
    elif schedule == "parallel" or not descends:
        patience = _PATIENCE if descends else None
        state, history, converged = in_parallel(state, max_steps=max_steps, min_steps=min_steps, patience=patience)
    else:
        return descend(start, max_steps=max_steps, min_steps=min_steps)
    left = max_steps - len(history)
    best = min((info.residual for info in history), default=np.inf)
    if converged or not descends or left <= 0:
        return state, history, converged
    state, more, converged = descend(state if best < _NEAR else start, max_steps=left, min_steps=0)
    return state, history + more, converged
