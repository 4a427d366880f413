"""Moments of tilted distributions themselves, where log f costs nothing.

The sweeps regress log f on a few points of the posterior, which is right for a site that is one of many: there its
residual is small. A site that is strong or has edges moves by such a step too far or not enough. Where a few
thousand evaluations cost nothing, its tilted distribution (factor times cavity) is integrated instead, on points
of the cavity and of the posterior, and its moments are matched (Minka 2001, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp

from factorgraph.propagation.contracted import MANY_POINTS, ContractedPlate
from factorgraph.propagation.regression import factor_values, site_from_z, site_in_z
from messages.multivariate_normal import natural_from_moments, unpack
from searches.quasi import normal_points

_SEED = 9
_MOST_POINTS, _FEW_DATASETS = 4 * MANY_POINTS, 16  # a site is the weaker the more there are, and its error with it
_WIDER, _WIDEST = 1.25, 3.0  # than the posterior: where it proposes, and where it does so in place of the cavity
_LARGEST = 1e6  # variance, in that of the posterior, of a cavity that proposes


@dataclass(frozen=True, eq=False, slots=True)
class Matched:
    """Sites (N, p) whose moments with their cavity are those of the tilted distribution, the log mean (N,) of f / site
    under the posterior, and where both could be had (N,)."""

    site: np.ndarray
    log_normalizers: np.ndarray
    found: np.ndarray


def matched_sites(
    plate: ContractedPlate,
    origin: np.ndarray,
    scale: np.ndarray,
    site: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    power: float = 1.0,
    chosen: np.ndarray | None = None,
) -> Matched:
    """Match the moments of every tilted distribution of a plate, or of the N ``chosen`` ones.

    Moments are those of the posterior, which are known, plus the difference between tilted distribution and posterior
    on the same points: of a weak site, the error of the points is as weak.

    Parameters
    ----------
    site
        (N, p) now, by which the cavities are what they are.
    mean, factor
        (N, d), (N, d, d) of the posterior over the variables that each term touches.
    power
        Of factor and site: the fraction of a term that its tilted distribution exchanges.
    """
    dimension = mean.shape[1]
    constant, in_z = site_in_z(site, mean, factor)  # from here on the posterior is N(0, I)
    unit = np.broadcast_to(np.eye(dimension), factor.shape)
    centre, spread = _cavity(power * in_z, dimension)
    num_points = _MOST_POINTS if plate.plate.size <= _FEW_DATASETS else MANY_POINTS
    first, second = _standard_points(dimension, num_points)
    near = np.broadcast_to(_WIDER * first, (len(site), *first.shape))
    z = np.concatenate([near, centre[:, None] + np.einsum("nij,kj->nki", spread, second)], axis=1)
    log_proposal = np.logaddexp(_log_normal(z, np.zeros_like(centre), _WIDER * unit), _log_normal(z, centre, spread))
    log_posterior = _log_normal(z, np.zeros_like(centre), unit) - log_proposal
    values, _ = factor_values(plate, origin, scale, mean, factor, z, chosen)
    values = np.where(np.isfinite(values), values, -np.inf)
    linear, quadratic = unpack(in_z, dimension)
    log_site = np.einsum("nki,ni->nk", z, linear) - 0.5 * np.einsum("nki,nij,nkj->nk", z, quadratic, z)
    log_tilted = power * (values - log_site) + log_posterior
    total, total_posterior = logsumexp(log_tilted, axis=1), logsumexp(log_posterior, axis=1)
    found = np.isfinite(total)
    total = np.where(found, total, 0.0)
    weights = np.exp(log_tilted - total[:, None]) - np.exp(log_posterior - total_posterior[:, None])
    shift = np.einsum("nk,nki->ni", weights, z)
    excess = np.einsum("nk,nki,nkj->nij", weights, z, z)
    covariance = unit + excess - shift[:, :, None] * shift[:, None, :]
    found &= np.linalg.eigvalsh(np.where(found[:, None, None], covariance, unit))[:, 0] > 1e-12
    tilted = natural_from_moments(
        np.where(found[:, None], shift, 0.0), np.where(found[:, None, None], covariance, unit)
    )
    new = in_z + (tilted - natural_from_moments(np.zeros_like(shift), unit)) / power
    new = np.where(found[:, None], new, in_z)
    return Matched(
        site_from_z(new, mean, factor), np.where(found, (total - total_posterior) / power - constant, 0.0), found
    )


@lru_cache(maxsize=8)
def _standard_points(dimension: int, num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of points (``num_points`` / 2, d) of N(0, I)."""
    half = num_points // 2
    return (
        normal_points(half, dimension, _SEED, whiten=True),
        normal_points(half, dimension, _SEED + 1, whiten=True),
    )


def _cavity(in_z: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, d) and factor (N, d, d) of the cavities of N(0, I), as far as they can propose."""
    linear, quadratic = unpack(in_z, dimension)
    precision = np.eye(dimension) - quadratic
    proper = np.linalg.eigvalsh(precision)[:, 0] > 1.0 / _LARGEST
    covariance = np.linalg.inv(np.where(proper[:, None, None], precision, np.eye(dimension)))
    covariance = np.where(proper[:, None, None], covariance, _WIDEST**2 * np.eye(dimension))
    centre = np.where(proper[:, None], -np.einsum("nij,nj->ni", covariance, linear), 0.0)
    return centre, np.linalg.cholesky(0.5 * (covariance + np.swapaxes(covariance, 1, 2)))


def _log_normal(z: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(N, k) at z (N, k, d), without the factors of 2 pi, which cancel."""
    white = np.einsum("nij,nkj->nki", np.linalg.inv(factor), z - mean[:, None])
    return -0.5 * np.sum(white**2, axis=2) - np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2)), axis=1)[:, None]
