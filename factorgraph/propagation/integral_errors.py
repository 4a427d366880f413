"""What the errors of the integrals over private variables do to an answer, and the integrals done once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from factorgraph.propagation.afresh import FEWEST_POINTS
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.regression import design, factor_values, points_of
from factorgraph.propagation.state import ContractedGraph, EPState, quarantined

_NUM_TRIED = 32  # of the datasets whose correction is known
_TOLERATED_CHANGE, _TOLERATED_SHARE = 0.02, 0.5  # nats of all of them, and of the error that they have


class Known(NamedTuple):
    """What was added to log f of the datasets of a plate at an earlier time, (N,) each: of which ``rows`` it is known,
    how much, and the variance that was left."""

    rows: np.ndarray
    added: np.ndarray
    variance: np.ndarray


def inner_errors(graph: ContractedGraph, state: EPState) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the errors of the integrals over locals stand for.

    Per plate (N, D), the squared shift of each shared mean, in posterior sds, by each dataset; and (N,) the variance of
    its log f, nats squared. Where a term is made of M datasets, rows for these follow those of the N terms.
    """
    sds = np.sqrt(np.diag(state.covariance))
    found, variances = [], []
    for plate in graph.plates:
        index = plate.plate.shared_index
        shift, variance = np.zeros((plate.plate.size, graph.dimension)), np.zeros(plate.plate.size)
        if plate.explored:
            mean, factor = marginals(state.mean, state.covariance, index)
            z = design(index.shape[1]).z
            where = (state.origin, state.scale, mean, factor, z)
            values, errors = factor_values(plate, *where)
            errors = np.where(quarantined(values, plate)[:, None], 0.0, errors)
            within = plate.errors_within(points_of(plate, *where))
            if within is not None:
                errors, rows = np.concatenate([errors, within[0]]), np.append(np.arange(len(errors)), within[1])
                index, factor = index[rows], factor[rows]
            level = errors.mean(axis=1, keepdims=True)
            variance = level[:, 0] ** 2
            if index.shape[1]:
                slope = (errors - level) @ z / len(z)
                gain = np.swapaxes(state.covariance[:, index], 0, 1) @ np.swapaxes(np.linalg.inv(factor), 1, 2)
                shift = np.einsum("nds,ns->nd", gain, slope) / sds
        found.append(shift**2)
        variances.append(variance)
    return found, variances


def log_factors_corrected(
    graph: ContractedGraph, state: EPState, variances: list[np.ndarray], known: Sequence[Known] | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What to add to log f of every dataset (N,), by plate, and the variance of what is then known of it.

    The integrals of the run serve all phi; over the posterior they are done once more, by points drawn for it alone.
    The mean of what both differ by is an error of the evidence; its slope is that of the means, see `inner_errors`.
    Of those that are ``known``, by plate, that is taken over; of some of them it is found again, and of all where these
    do not agree.
    """
    added, left = [], []
    for number, (plate, variance) in enumerate(zip(graph.plates, variances, strict=True)):
        if not plate.is_refinable:
            added.append(np.zeros(plate.plate.size))
            left.append(variance)
            continue
        taken = None if known is None else known[number]
        if taken is None or not np.any(taken.rows):
            more, rest = _corrected(plate, state, variance, np.arange(plate.plate.size))
        else:
            tried = np.flatnonzero(taken.rows)
            tried = tried[np.unique(np.linspace(0, len(tried) - 1, _NUM_TRIED).astype(int))]
            chosen = np.union1d(np.flatnonzero(~taken.rows), tried)
            some, its_rest = _corrected(plate, state, variance, chosen)
            if not _agree((some - taken.added[chosen])[np.isin(chosen, tried)], taken.variance[taken.rows]):
                more, rest = _corrected(plate, state, variance, np.arange(plate.plate.size))
            else:
                more, rest = taken.added.copy(), taken.variance.copy()
                more[chosen], rest[chosen] = some, its_rest
        added.append(more)
        left.append(rest)
    return added, left


def error_of_sum(variances: Sequence[np.ndarray]) -> float:
    """Standard error of a sum of logs of averages with these ``variances``, nats.

    Such a log is low by about half its variance (Jensen); that is added where it is known, but where few points carry
    the average it is not known much better than it is large, and over many datasets it adds up.
    """
    total = float(sum(map(np.sum, variances)))
    return float(np.hypot(np.sqrt(total), 0.5 * total))


def _agree(off: np.ndarray, variances: np.ndarray) -> bool:
    """Whether that by which some corrections are ``off`` (n,) is negligible in the sum over all datasets, which have
    errors of these ``variances`` (N,) anyway."""
    scatter, num = float(np.std(off)), len(variances)
    drift = max(abs(float(np.mean(off))) - 2.0 * scatter / np.sqrt(len(off)), 0.0)
    stated = float(np.sqrt(np.sum(variances)))
    return num * drift + np.sqrt(num) * scatter <= max(_TOLERATED_CHANGE, _TOLERATED_SHARE * stated)


def _corrected(
    plate: ContractedPlate, state: EPState, variance: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`log_factors_corrected` of the ``chosen`` rows (n,) of one plate."""
    size, index = plate.plate.size, plate.plate.shared_index
    mean, factor = marginals(state.mean, state.covariance, index)
    z = _crosses(index.shape[1])
    points = points_of(plate, state.origin, state.scale, mean, factor, z)
    values, _ = factor_values(plate, state.origin, state.scale, mean[chosen], factor[chosen], z, chosen)
    found = plate.afresh(points, None if len(chosen) == size else chosen)
    if found is None:
        return np.zeros(len(chosen)), variance[chosen]
    with np.errstate(invalid="ignore"):
        difference = np.mean(found.value - values, axis=1)
    known = np.isfinite(difference)
    difference = np.where(known, difference, 0.0)
    better = known & (np.min(found.num_effective, axis=1) >= FEWEST_POINTS)
    otherwise = np.maximum(variance[chosen], difference**2)
    return np.where(better, difference, 0.0), np.where(better, np.mean(found.error, axis=1) ** 2, otherwise)


def _crosses(dimension: int) -> np.ndarray:
    """Points (2 d, d) with the mean and covariance of N(0, I), two on every axis; one where there is no axis."""
    axes = np.sqrt(dimension) * np.eye(dimension)
    return np.concatenate([axes, -axes]) if dimension else np.zeros((1, 0))
