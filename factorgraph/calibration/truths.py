"""Truths drawn from the prior through the graph: priors first, then everything that is drawn from a parent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.global_target import global_names, global_variables, target_of
from factorgraph.graph.plates import Plate
from factorgraph.model.family import Flat
from factorgraph.model.variable import Variable

_MOST_NAMES = 5
_MOST_TRIES = 1000


def draw_truths(graph: Any, randoms: Sequence[np.random.Generator]) -> dict[Variable, np.ndarray]:
    """Every unknown of the graph, (S,) each, one joint draw with each of S generators.

    Draws that break an assertion are drawn again, all variables together: the prior of a graph with assertions is the
    one without, restricted to where they hold.

    Raises
    ------
    GraphError
        A prior is improper, is not a number somewhere, or hardly ever satisfies the assertions.
    """
    variables = global_variables(graph)
    _refuse_improper(graph, variables)
    to_parameters = target_of(graph).to_parameters
    assert to_parameters is not None
    asserting = [plate for plate in graph.plates if plate.signature.structure.has_assertions]

    def draw(rows: np.ndarray) -> np.ndarray:
        return to_parameters(np.stack([randoms[row].standard_normal(len(variables)) for row in rows]))

    theta = draw(np.arange(len(randoms)))
    broken = np.arange(len(randoms))
    for _ in range(_MOST_TRIES):
        drawn = [dict(zip(variables, theta[row].tolist(), strict=True)) for row in broken]
        broken = broken[[not _satisfied(asserting, graph.terms.shared, truth) for truth in drawn]]
        if not len(broken):
            break
        theta[broken] = draw(broken)
    else:
        raise GraphError(
            f"calibrate: {len(broken)} of {len(randoms)} draws from the prior broke an assertion {_MOST_TRIES} times "
            "in a row. Choose priors that satisfy the graph's assertions more often."
        )
    _refuse_undefined(theta, global_names(graph, variables))
    return dict(zip(variables, theta.T, strict=True))


def slot_variables(plate: Plate, shared: Sequence[Variable]) -> list[list[Variable]]:
    """For each slot of the plate's structure, the variable that each of its N datasets reads there."""
    roles = plate.signature.roles[: plate.signature.structure.num_variables]
    return [
        [shared[index] for index in plate.shared_index[:, role.position]]
        if role.shared
        else [local[role.position] for local in plate.local]
        for role in roles
    ]


def _satisfied(plates: Sequence[Plate], shared: Sequence[Variable], truth: dict[Variable, float]) -> bool:
    """Whether all assertions hold."""
    for plate in plates:
        structure, slots = plate.signature.structure, slot_variables(plate, shared)
        for row in range(plate.size):
            constants = [c[row] for c in plate.arrays.constants[: plate.signature.num_constants]]
            if not structure.satisfied([truth[slot[row]] for slot in slots], constants):
                return False
    return True


def _refuse_improper(graph: Any, variables: Sequence[Variable]) -> None:
    draws = graph.terms.draws
    flat = [v for v in variables if isinstance(draws[v].family if v in draws else v.family, Flat)]  # type: ignore[attr-defined]
    if flat:
        raise GraphError(
            f"calibrate: no truth can be drawn from a flat prior, as {_listed([graph.names[v] for v in flat])} has. "
            "Give a proper prior, such as fg.UniformPrior or fg.GaussianPrior."
        )


def _refuse_undefined(theta: np.ndarray, names: Sequence[str]) -> None:
    undefined = np.flatnonzero(~np.all(np.isfinite(theta), axis=0))
    if len(undefined):
        num = int(np.sum(~np.all(np.isfinite(theta), axis=1)))
        raise GraphError(
            f"calibrate: {_listed([names[int(i)] for i in undefined])} came out as nan or infinite in {num} of "
            f"{len(theta)} draws from the prior: a parent's parameter leaves its domain, or a prior's tail overflows. "
            "Choose priors (or limits, or an assertion) that keep it finite."
        )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
