"""Before the first sweep: every dataset is explored, and the mode of the shared variables found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from factorgraph.graph.coordinate import coordinate_from_value
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.model.family import Flat
from factorgraph.propagation.contracted import Lane
from factorgraph.propagation.gaussian import Gaussian
from factorgraph.propagation.lanes import contracted_plate
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.start import Start, find_start
from factorgraph.propagation.state import ContractedGraph
from searches.quasi import normal_points

_PREDICTIVE_DRAWS = 128
_PILOT = 256


def prepare(
    shared: tuple[SharedVariable, ...],
    plates: Sequence[Plate],
    lanes: Sequence[Lane],
    seed: int,
    optimiser: Any = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> tuple[ContractedGraph, Start]:
    """Explore every dataset, twice: under the prior's predictive density, then under that of the shared variables
    found so far."""
    whitened = np.array([s.whitened for s in shared], dtype=bool)
    phi, proper = prior_draws(shared)
    spread = np.diag(spread_of(phi) ** 2) if len(shared) else np.zeros((0, 0))
    middle = np.median(phi, axis=0)
    pilot = tuple(
        contracted_plate(_thinned(plate), shared, seed, lane, optimiser, resources.of(number))
        for number, (plate, lane) in enumerate(zip(plates, lanes, strict=True))
    )
    graph = ContractedGraph(pilot, whitened)
    for plate, full in zip(pilot, plates, strict=True):
        plate.num_represented = full.size
        if proper:
            plate.set_reference(phi)
        plate.explore(Gaussian(middle, spread), proper=proper)
    start = find_start(graph, middle, spread, scout=True)
    graph = ContractedGraph(
        tuple(
            plate
            if plate.plate.size == full.size
            else contracted_plate(full, shared, seed, lane, optimiser, resources.of(number))
            for number, (plate, full, lane) in enumerate(zip(pilot, plates, lanes, strict=True))
        ),
        whitened,
    )
    for plate, thinned in zip(graph.plates, pilot, strict=True):
        if plate is not thinned:
            plate.num_calls[_pilot_rows(plate.plate)] += thinned.num_calls
    methods = [plate.method for plate in graph.plates]
    moved = explore_around(graph, start)
    if methods != [plate.method for plate in graph.plates]:  # what had looked Gaussian from afar
        start = find_start(graph, middle, spread, scout=True)
        moved = explore_around(graph, start)
    if moved or any(old is not new for old, new in zip(pilot, graph.plates, strict=True)):
        start = replace(find_start(graph, start.mean, start.covariance, scout=False), others=start.others)
    for plate in graph.plates:
        plate.sharpen(Gaussian(start.mean, start.covariance))
    return graph, start


def explore_around(graph: ContractedGraph, start: Start) -> bool:
    """Explore the datasets with the shared variables where ``start`` has them; whether any had to be."""
    moved = False
    phi = phi_draws([(mode.mean, mode.covariance) for mode in (start, *start.others)])
    for plate in graph.plates:
        changed = plate.set_reference(phi)
        if plate.explored and (changed or plate.method == "joint"):
            plate.explore(Gaussian(start.mean, start.covariance), proper=True)
            moved = True
    return moved


def phi_draws(modes: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws (n, D) of normal distributions with these means (D,) and covariances (D, D), in turn."""
    mean, covariance = modes[0]
    z = normal_points(_PREDICTIVE_DRAWS, len(mean), seed=4)
    factor = np.linalg.cholesky(covariance) if len(mean) else covariance
    phi: np.ndarray = mean + z @ factor.T
    for number, (mean, covariance) in enumerate(modes[1:], start=1):
        rows = slice(number, None, len(modes))
        phi[rows] = mean + z[rows] @ np.linalg.cholesky(covariance).T
    return phi


def prior_draws(shared: Sequence[SharedVariable]) -> tuple[np.ndarray, bool]:
    """Draws (n, D) of the shared variables' priors, in coordinates, and whether all have a proper one."""
    normal = normal_points(_PREDICTIVE_DRAWS, len(shared), seed=4)
    proper = True
    for i, s in enumerate(shared):
        family = getattr(s.variable, "family", None)
        if s.whitened:
            continue
        if family is None or isinstance(family, Flat):
            proper = proper and not isinstance(family, Flat)
            continue
        values = family.from_normal(normal[:, i], *s.variable.parameters)  # type: ignore[attr-defined]
        with np.errstate(all="ignore"):
            t = coordinate_from_value(s.role.kind or "real", values, s.parameters)
        known = t[np.isfinite(t)]  # a value that rounds to a limit of the support has none
        normal[:, i] = np.clip(t, known.min(), known.max()) if len(known) else 0.0
    return normal, proper


def spread_of(phi: np.ndarray) -> np.ndarray:
    low, high = np.quantile(phi, [0.16, 0.84], axis=0)
    return np.maximum(0.5 * (high - low), 1e-6)


def _thinned(plate: Plate) -> Plate:
    """A plate too large to be explored twice is represented by some of its datasets, where all touch the same
    variables."""
    star = plate.size > 0 and bool(np.all(plate.shared_index == plate.shared_index[0]))
    if plate.size <= 2 * _PILOT or not star or plate.signature.num_local == 0:
        return plate
    return plate.take(_pilot_rows(plate))


def _pilot_rows(plate: Plate) -> np.ndarray:
    return np.linspace(0, plate.size - 1, _PILOT).astype(int)
