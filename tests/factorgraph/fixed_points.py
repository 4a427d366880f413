"""The fixed points of expectation propagation by quadrature: an independent, slow and serial implementation.

A site is kept as its linear and quadratic natural parameters, the tilted moments are integrals, and the new site is the
tilted distribution over the cavity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy.special import logsumexp

_SWEEPS = 400
_TOLERANCE = 1e-11
_PANELS = 120
_REACH = 12.0  # standard deviations


class FixedPoint(NamedTuple):
    """Of the posterior over all variables; ``precisions`` are those of the sites, (K,) or (K, d, d)."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float
    precisions: np.ndarray


class Projection(NamedTuple):
    """A factor that reads ``direction . x`` alone; its logarithm jumps at ``breaks``."""

    direction: Sequence[float]
    log_factor: Callable[[np.ndarray], np.ndarray]
    breaks: Sequence[float] = ()


def log_partition(h: np.ndarray, precision: np.ndarray) -> float:
    """Log of the integral of exp(h . x - x . precision x / 2), but for the powers of 2 pi."""
    return float(0.5 * h @ np.linalg.solve(precision, h) - 0.5 * np.linalg.slogdet(precision)[1])


def of_projections(mean: np.ndarray, covariance: np.ndarray, factors: Sequence[Projection]) -> FixedPoint:
    """The fixed point for a prior N(mean, covariance) and factors of one linear combination each."""
    prior = np.linalg.inv(covariance)
    directions = np.array([factor.direction for factor in factors], dtype=float)
    linear, quadratic, constant = (np.zeros(len(factors)) for _ in range(3))

    def posterior() -> tuple[np.ndarray, np.ndarray]:
        return prior @ mean + directions.T @ linear, prior + (directions.T * quadratic) @ directions

    for _ in range(_SWEEPS):
        old = np.concatenate([linear, quadratic])
        for k, factor in enumerate(factors):
            h, precision = posterior()
            inverse = np.linalg.inv(precision)
            centre, variance = directions[k] @ inverse @ h, directions[k] @ inverse @ directions[k]
            cavity_precision = 1.0 / variance - quadratic[k]
            cavity_linear = centre / variance - linear[k]
            log_normalizer, centre, variance = _tilted(factor, cavity_linear / cavity_precision, cavity_precision**-0.5)
            linear[k] = centre / variance - cavity_linear
            quadratic[k] = 1.0 / variance - cavity_precision
            constant[k] = log_normalizer + _ratio(cavity_linear, cavity_precision, linear[k], quadratic[k])
        if np.max(np.abs(np.concatenate([linear, quadratic]) - old)) < _TOLERANCE:
            break
    h, precision = posterior()
    log_evidence = log_partition(h, precision) - log_partition(prior @ mean, prior) + constant.sum()
    inverse = np.linalg.inv(precision)
    return FixedPoint(inverse @ h, inverse, log_evidence, quadratic)


def _tilted(factor: Projection, mean: float, sd: float) -> tuple[float, float, float]:
    """Log normaliser, mean and variance of the factor times N(mean, sd), by panels that end at the breaks."""
    ends = mean + sd * np.linspace(-_REACH, _REACH, _PANELS + 1)
    ends = np.unique(np.concatenate([ends, [b for b in factor.breaks if ends[0] < b < ends[-1]]]))
    nodes, weights = leggauss(16)
    half = 0.5 * np.diff(ends)[:, None]
    x = (ends[:-1, None] + half * (1.0 + nodes)).ravel()
    z = (x - mean) / sd
    log_weight = np.log((half * weights).ravel()) - 0.5 * z**2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
    log_weight = log_weight + factor.log_factor(x)
    log_normalizer = logsumexp(log_weight)
    weight = np.exp(log_weight - log_normalizer)
    centre = weight @ x
    return float(log_normalizer), float(centre), float(weight @ (x - centre) ** 2)


def _ratio(cavity_linear: float, cavity_precision: float, linear: float, quadratic: float) -> float:
    """Log of the cavity's normaliser over that of cavity times site."""

    def one(h: float, precision: float) -> float:
        return log_partition(np.array([h]), np.array([[precision]]))

    return one(cavity_linear, cavity_precision) - one(cavity_linear + linear, cavity_precision + quadratic)


def of_functions(
    log_factors: Callable[[np.ndarray], np.ndarray],
    prior: tuple[np.ndarray, np.ndarray],
    start: tuple[np.ndarray, np.ndarray],
    num_factors: int,
    degree: int = 48,
) -> FixedPoint:
    """The fixed point for K factors of d variables each, by Gauss-Hermite quadrature over the posterior.

    Parameters
    ----------
    log_factors
        From points (n, d) to (K, n).
    prior
        Means (d,) and standard deviations (d,); infinite where a variable has none.
    start
        Mean and covariance the quadrature begins with; the sites begin as equal parts of it.
    """
    d = len(start[0])
    axis, weight = hermegauss(degree)
    z = np.stack([a.ravel() for a in np.meshgrid(*[axis] * d, indexing="ij")], axis=1)
    log_base = sum(np.log(w.ravel() / np.sqrt(2.0 * np.pi)) for w in np.meshgrid(*[weight] * d, indexing="ij"))
    precision, prior_h, prior_precision = np.linalg.inv(start[1]), prior[0] / prior[1] ** 2, np.diag(prior[1] ** -2.0)
    h_sites = np.tile((precision @ start[0] - prior_h) / num_factors, (num_factors, 1))
    sites = np.tile((precision - prior_precision) / num_factors, (num_factors, 1, 1))
    log_normalizers = np.zeros(num_factors)
    for _ in range(_SWEEPS):
        largest = 0.0
        for k in range(num_factors):
            h, precision = prior_h + h_sites.sum(axis=0), prior_precision + sites.sum(axis=0)
            covariance = np.linalg.inv(precision)
            x = covariance @ h + z @ np.linalg.cholesky(covariance).T
            site_value = x @ h_sites[k] - 0.5 * np.einsum("ni,ij,nj->n", x, sites[k], x)
            log_weight = log_factors(x)[k] - site_value + log_base
            log_normalizers[k] = logsumexp(log_weight)
            weight = np.exp(log_weight - log_normalizers[k])
            mean = weight @ x
            tilted = np.linalg.inv((x - mean).T @ (weight[:, None] * (x - mean)))
            h_sites[k] += tilted @ mean - h
            sites[k] += tilted - precision
            largest = max(largest, np.max(np.abs(tilted - precision) / np.max(np.abs(precision))))
        if largest < _TOLERANCE:
            break
    h, precision = prior_h + h_sites.sum(axis=0), prior_precision + sites.sum(axis=0)
    log_evidence = log_partition(h, precision) + 0.5 * d * np.log(2.0 * np.pi) + float(log_normalizers.sum())
    known = np.isfinite(prior[1])
    log_evidence -= np.sum(0.5 * (prior[0] / prior[1]) ** 2 + np.log(prior[1] * np.sqrt(2.0 * np.pi)), where=known)
    covariance = np.linalg.inv(precision)
    return FixedPoint(covariance @ h, covariance, log_evidence, sites)
