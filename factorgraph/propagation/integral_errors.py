"""What the errors of the integrals over private variables do to an answer, and the integrals done once more."""

from __future__ import annotations

import numpy as np

from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.regression import design, factor_values, points_of
from factorgraph.propagation.state import ContractedGraph, EPState, quarantined

_FEWEST_AFRESH = 64.0  # effective points of an integral done once more


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
    graph: ContractedGraph, state: EPState, variances: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What to add to log f of every dataset (N,), by plate, and the variance of what is then known of it.

    The integrals of the run serve all phi; over the posterior they are done once more, by points drawn for it alone.
    The mean of what both differ by is an error of the evidence; its slope is that of the means, see `inner_errors`.
    """
    added, left = [], []
    for plate, variance in zip(graph.plates, variances, strict=True):
        index = plate.plate.shared_index
        where = (state.origin, state.scale, *marginals(state.mean, state.covariance, index), _crosses(index.shape[1]))
        found = plate.afresh(points_of(plate, *where))
        if found is None:
            added.append(np.zeros(plate.plate.size))
            left.append(variance)
            continue
        with np.errstate(invalid="ignore"):
            difference = np.mean(found.value - factor_values(plate, *where)[0], axis=1)
        better = np.isfinite(difference) & (np.min(found.num_effective, axis=1) >= _FEWEST_AFRESH)
        added.append(np.where(better, difference, 0.0))
        left.append(np.where(better, np.mean(found.error, axis=1) ** 2, variance))
    return added, left


def _crosses(dimension: int) -> np.ndarray:
    """Points (2 d, d) with the mean and covariance of N(0, I), two on every axis; one where there is no axis."""
    axes = np.sqrt(dimension) * np.eye(dimension)
    return np.concatenate([axes, -axes]) if dimension else np.zeros((1, 0))
