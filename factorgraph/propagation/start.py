"""Where expectation propagation starts: the mode of the contracted posterior, and sites from the curvature there.

EP behaves like Newton's method and, started from the prior on many datasets, wanders off. The
mode is found without derivatives: log factors are evaluated at points spread like the current Gaussian, each is
regressed on a quadratic, and the quadratics' sum gives a Newton step, within a trust region that shrinks to the size
of the posterior. The same regression gives the sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.regression import (
    design,
    factor_values,
    floored,
    least_squares,
    quadratic_design,
    site_from_z,
)
from factorgraph.propagation.state import ContractedGraph, posterior_of, quarantined
from messages.multivariate_normal import num_natural
from searches.quasi import normal_points

_MAX_STEPS = 120
_MAX_JUMPS = 20
_NEARLY = 1e-6  # of a log density; a jump need only land near
_ROUNDING = 1e-12  # of a log density; curvatures below are noise
_FULL_STEPS = 40
_MORE_CLIMBS = 6
_MOST_DIMENSIONS = 8  # shared variables of a graph whose other modes are looked for
_APART = 3.0  # standard deviations between modes
_NEGLIGIBLE = 10.0  # nats
_RADIUS = 2.5
_LARGEST_CHANGE = 4.0  # of a standard deviation in one step
_NUM_SCOUTS = 32
_NEAR = 0.3  # of a full Newton step, whose error is of third order
_TOLERATED_LOSS = 1.0  # nats: the regressed Gaussian is centred near the mean, which may lie below the mode


@dataclass(frozen=True, eq=False, slots=True)
class Start:
    """A Gaussian near the posterior, in coordinates phi; ``converged`` is False if the steps ran out.

    ``log_mass`` is the log of the integral of the posterior about this mode, up to a constant, by Laplace's method;
    ``others`` are further modes that may matter.
    """

    mean: np.ndarray
    covariance: np.ndarray
    converged: bool
    num_steps: int
    log_mass: float = np.nan
    others: tuple[Start, ...] = ()


def find_start(graph: ContractedGraph, mean: np.ndarray, covariance: np.ndarray, *, scout: bool) -> Start:
    """Climb to the mode from N(mean, covariance); with ``scout`` from the best of a few points spread like it, and
    then from others, where that is cheap."""
    if graph.dimension == 0:
        return Start(mean, covariance, True, 0)
    for jump in range(_MAX_JUMPS):  # the first lands as near as rounding allows, the next from there
        mean, covariance, settled, is_gaussian = _gaussian_part(graph, mean, covariance)
        if is_gaussian and settled:
            return Start(mean, covariance, True, jump + 1)
        if not is_gaussian:
            break
    if not scout:
        return _climb(graph, mean, covariance)
    z, order = _scouts(graph, mean, covariance)
    factor = np.linalg.cholesky(covariance)
    first = _climb(graph, mean + factor @ z[order[0]], covariance)
    if graph.dimension > _MOST_DIMENSIONS or not all(plate.is_cheap for plate in graph.plates):
        return first
    more = [_climb(graph, mean + factor @ z[i], covariance) for i in _far_apart(z, order)]
    return _with_others([first, *more])


def find_start_from(graph: ContractedGraph, modes: Sequence[tuple[np.ndarray, np.ndarray]]) -> Start:
    """Climb from modes that are known, means (D,) and covariances (D, D), and look for no others."""
    found = [find_start(graph, *mode, scout=False) for mode in modes]
    return found[0] if len(found) == 1 else _with_others(found)


def _climb(graph: ContractedGraph, mean: np.ndarray, covariance: np.ndarray) -> Start:
    best_value, best_mean = -np.inf, mean
    for step in range(_MAX_STEPS):
        value, precision, h = _quadratic(graph, mean, covariance)
        if not value >= best_value - _TOLERATED_LOSS:
            mean, covariance = best_mean, covariance / _LARGEST_CHANGE**2
            continue
        best_value, best_mean = max(value, best_value), mean
        fraction = min(1.0, _FULL_STEPS / (step + 1))  # full steps may cycle
        mean, covariance, distance, change = _newton(mean, covariance, precision, h, fraction)
        if distance < _NEAR and change < 1.3:
            return Start(mean, covariance, True, step + 1, best_value + 0.5 * float(np.linalg.slogdet(covariance)[1]))
    return Start(mean, covariance, False, _MAX_STEPS)


def _far_apart(z: np.ndarray, order: np.ndarray) -> list[int]:
    """A few of the better half of the points ``z`` (n, d), each far from the best and from those before."""
    better, chosen = list(order[: max(len(order) // 2, 1)]), [int(order[0])]
    for _ in range(min(_MORE_CLIMBS, len(better) - 1)):
        nearest = [min(float(np.linalg.norm(z[i] - z[j])) for j in chosen) for i in better]
        chosen.append(int(better[int(np.argmax(nearest))]))
    return chosen[1:]


def _with_others(found: list[Start]) -> Start:
    """The heaviest mode, with those that are well apart from it and not negligible beside it."""
    settled = sorted((start for start in found if start.converged), key=lambda start: -start.log_mass)
    kept: list[Start] = []
    for start in settled:
        apart = all(_distance(start, other) > _APART for other in kept)
        if apart and start.log_mass > settled[0].log_mass - _NEGLIGIBLE:
            kept.append(start)
    return replace(kept[0], others=tuple(kept[1:])) if kept else found[0]


def _distance(first: Start, second: Start) -> float:
    difference = first.mean - second.mean
    return float(np.sqrt(difference @ np.linalg.solve(first.covariance + second.covariance, difference)))


def _gaussian_part(
    graph: ContractedGraph, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool, bool]:
    """Mean and covariance of the prior times the terms that are Gaussian on the scale of N(mean, covariance), however
    far away; whether that is where N(mean, covariance) was; and whether these are all terms.

    Directions of which those terms say less than N(mean, covariance) stay as they are, unless there are no other
    terms; then they are widened, as far as rounding lets their curvature be seen.
    """
    zero, one = np.zeros(graph.dimension), np.ones(graph.dimension)
    sites, all_exact, size = [], True, 0.0
    for plate in graph.plates:
        centre, factor = marginals(zero, covariance, plate.plate.shared_index)
        site = np.zeros((plate.plate.size, num_natural(plate.plate.signature.num_shared)))
        if plate.explored:  # its integrals are never exact
            all_exact = False
        else:
            points = design(centre.shape[1])
            values, _ = factor_values(plate, mean, one, centre, factor, points.z)
            coefficients, exact = least_squares(values, values, points, _NEARLY)
            all_exact = all_exact and bool(np.all(exact | quarantined(values, plate)))
            site = np.where(exact[:, None], site_from_z(coefficients, centre, factor), site)
            size += float(np.sum(np.max(np.abs(values), axis=1), where=exact))
        sites.append(site)
    posterior = posterior_of(graph, mean, one, tuple(sites))
    factor = np.linalg.cholesky(covariance)
    eigenvalues, vectors = np.linalg.eigh(factor.T @ posterior.precision @ factor)
    visible = min(_ROUNDING * size, _LARGEST_CHANGE**-2) if all_exact else 1.0
    eigenvalues = np.maximum(eigenvalues, max(visible, np.finfo(float).tiny))
    spread = factor @ vectors / np.sqrt(eigenvalues)
    step = spread.T @ posterior.h
    settled = float(np.linalg.norm(step)) < 0.1 and float(np.max(np.abs(np.log(eigenvalues)))) < 0.1
    mean = mean + spread @ step
    return mean, _resolved(mean, spread @ spread.T), settled, all_exact


def _scouts(graph: ContractedGraph, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised points (n, d) spread like N(0, I), and their order, the best first."""
    z = normal_points(_NUM_SCOUTS, graph.dimension, seed=3)
    z[0] = 0.0
    value, _, _ = graph.log_density(mean + z @ np.linalg.cholesky(covariance).T)
    finite = np.isfinite(value)
    order = np.argsort(np.where(finite, -value, np.inf), kind="stable")
    return z, order[: max(int(np.sum(finite)), 1)]


def _quadratic(
    graph: ContractedGraph, mean: np.ndarray, covariance: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log density at the centre, and the precision and h of the sum of the terms' regressed quadratics, in phi -
    mean."""
    zero, one = np.zeros(graph.dimension), np.ones(graph.dimension)
    total = float(graph.log_prior(mean[None])[0])
    sites = []
    for plate in graph.plates:
        centre, factor = marginals(zero, covariance, plate.plate.shared_index)
        z, inverse = quadratic_design(centre.shape[1])
        values, _ = factor_values(plate, mean, one, centre, factor, z)
        total += float(np.sum(np.where(quarantined(values, plate), 0.0, values[:, 0])))
        sites.append(site_from_z(floored(values) @ inverse.T, centre, factor))
    posterior = posterior_of(graph, mean, one, tuple(sites))
    return total, posterior.precision, posterior.h


def _newton(
    mean: np.ndarray, covariance: np.ndarray, precision: np.ndarray, h: np.ndarray, fraction: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """A fraction of a step in the frame of the current Gaussian: new mean and covariance; length of the whole step, and
    its largest change of an sd."""
    factor = np.linalg.cholesky(covariance)
    eigenvalues, vectors = np.linalg.eigh(factor.T @ precision @ factor)
    raw = np.abs(eigenvalues)
    clipped = np.clip(raw, _LARGEST_CHANGE**-2, _LARGEST_CHANGE**2)
    slope = vectors.T @ (factor.T @ h)
    step = slope / np.maximum(raw, _LARGEST_CHANGE**-2)
    length = float(np.linalg.norm(step))
    step = step * min(1.0, _RADIUS / max(length, 1e-300))
    new = factor @ (vectors / clipped**fraction) @ vectors.T @ factor.T
    change = float(np.max(np.sqrt(np.maximum(clipped, 1.0 / clipped))))
    mean = mean + fraction * factor @ (vectors @ step)
    return mean, _resolved(mean, 0.5 * (new + new.T)), length, change


def _resolved(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """``covariance``, no narrower than the rounding of ``mean``: points closer together than that are one point."""
    return covariance + np.diag((4.0 * np.finfo(float).eps * mean) ** 2)
