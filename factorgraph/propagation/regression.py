"""Log factors at standardised points, and their regression on the sufficient statistics of a Gaussian.

Both the start and the sweep see a factor only through its values at points x = m + C z that move with the posterior;
z is drawn once for each number of variables: fixed points make a deterministic problem of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from factorgraph.propagation.contracted import ContractedPlate, Points
from messages.multivariate_normal import num_natural, pack, sufficient_statistics, unpack
from searches.quasi import normal_points
from searches.status import Status

_SEED = 5
_FEWEST_POINTS = 16
_POINTS_PER_PARAMETER = 6
_FLOOR = 1e3  # nats below the best point of a term beyond which its log factor is not followed
_GAUSSIAN_RESIDUAL = 1e-10  # nats
_ROUNDING = 1e-13  # of the values
_FEWEST_EFFECTIVE = 0.02  # of the points; a site whose weights are worse than this takes a Newton step


@dataclass(frozen=True, eq=False, slots=True)
class Design:
    """Standardised points of a d-variable regression.

    ``z`` (n, d) has mean zero and unit covariance exactly; ``statistics`` (n, p) are T(z) less their mean,
    ``inverse_gram`` (p, p) inverts their sample covariance; ``least_squares`` (1 + p, n) maps values to [constant,
    coefficients].
    """

    z: np.ndarray
    statistics: np.ndarray
    inverse_gram: np.ndarray
    least_squares: np.ndarray
    statistics_mean: np.ndarray


def num_points(dimension: int) -> int:
    """A power of two, at least six points for each natural parameter of ``dimension`` variables."""
    return max(_FEWEST_POINTS, 1 << int(np.ceil(np.log2(max(_POINTS_PER_PARAMETER * num_natural(dimension), 1)))))


@lru_cache(maxsize=64)
def design(dimension: int) -> Design:
    """The points for terms of ``dimension`` shared variables."""
    num = num_points(dimension)
    z = normal_points(num, dimension, _SEED, whiten=dimension > 0)
    statistics = sufficient_statistics(z) if dimension else np.zeros((num, 0))
    mean = statistics.mean(axis=0)
    centred = statistics - mean
    gram = centred.T @ centred / num
    full = np.concatenate([np.ones((num, 1)), statistics], axis=1)
    return Design(z, centred, np.linalg.inv(gram), np.linalg.pinv(full), mean)


@lru_cache(maxsize=32)
def quadratic_design(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """The points (n, d) of a term's quadratic, the first its centre, and the matrix (p, n) from values there to the
    natural parameters of the least-squares quadratic. Its inversion takes longer than the values."""
    z = design(dimension).z.copy()
    z[0] = 0.0
    if dimension == 0:
        return z, np.zeros((0, len(z)))
    full = np.concatenate([np.ones((len(z), 1)), sufficient_statistics(z)], axis=1)
    return z, np.linalg.pinv(full)[1:]


def factor_values(
    plate: ContractedPlate,
    origin: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    z: np.ndarray,
    chosen: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """log f (N, n) and inner error (N, n) of each term at x = mean + factor z; ``mean`` (N, d), ``factor`` (N, d,
    d), ``z`` (n, d) or each term's own (N, n, d). Of all terms of the plate, or the N ``chosen`` ones."""
    return plate.log_factors(points_of(plate, origin, scale, mean, factor, z, chosen), chosen)


def points_of(
    plate: ContractedPlate,
    origin: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    z: np.ndarray,
    chosen: np.ndarray | None = None,
) -> Points:
    """The points x = mean + factor z of each term, in coordinates, as a function of row indices; see
    `factor_values`. Of terms that are not ``chosen``, points that mean nothing."""
    index, place = plate.plate.shared_index, np.arange(plate.plate.size)
    if chosen is not None:
        place = np.zeros(plate.plate.size, dtype=int)
        place[chosen] = np.arange(len(chosen))

    def points(rows: np.ndarray) -> np.ndarray:
        at = place[rows]
        own = "bij,bnj->bni" if z.ndim == 3 else "bij,nj->bni"
        x = mean[at, None, :] + np.einsum(own, factor[at], z[at] if z.ndim == 3 else z)
        return origin[index[rows]][:, None, :] + scale[index[rows]][:, None, :] * x

    return points


def least_squares(
    relative: np.ndarray, values: np.ndarray, points: Design, tolerance: float = _ROUNDING
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (N, p) of the statistics in ``relative`` (N, n), and whether the fit is exact (N,).

    ``values`` (N, n), of which ``relative`` is a difference, set the size of the rounding; ``tolerance`` is a fraction
    of them.
    """
    finite = np.isfinite(relative)
    sound = np.where(finite, relative, 0.0)
    full = sound @ points.least_squares.T
    statistics = points.statistics + points.statistics_mean
    exact = is_exact_fit(relative, full[:, :1] + full[:, 1:] @ statistics.T, values, tolerance)
    followed = floored(relative) @ points.least_squares.T
    return np.where(exact[:, None], full, followed)[:, 1:], exact


def is_exact_fit(
    relative: np.ndarray, fitted: np.ndarray, values: np.ndarray, tolerance: float = _ROUNDING
) -> np.ndarray:
    """(N,) whether ``relative`` (N, n) is what was ``fitted``, but for the rounding of ``values`` (N, n)."""
    finite = np.isfinite(relative)
    residual = np.max(np.abs(np.where(finite, relative, 0.0) - fitted), axis=1)
    size = np.max(np.abs(np.where(np.isfinite(values), values, 0.0)), axis=1)
    return np.all(finite, axis=1) & (residual < np.maximum(_GAUSSIAN_RESIDUAL, tolerance * size))


def floored(values: np.ndarray) -> np.ndarray:
    """``values`` (N, n) with none far below the best of its row, and zero where a row has no finite one."""
    top = np.max(values, axis=1, keepdims=True)
    return np.where(np.isfinite(top), np.maximum(values, top - _FLOOR), 0.0)


def site_values(site: np.ndarray, mean: np.ndarray, factor: np.ndarray, z: np.ndarray) -> np.ndarray:
    """lambda . T(x) (N, n) at x = mean + factor z."""
    constant, in_z = site_in_z(site, mean, factor)
    return constant[:, None] + in_z @ (sufficient_statistics(z).T if z.shape[1] else np.zeros((0, len(z))))


def site_in_z(site: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A site as a function of z, where x = mean + factor z: constant (N,) and natural parameters (N, p)."""
    h, precision = unpack(site, mean.shape[1])
    slope = h - np.einsum("nij,nj->ni", precision, mean)
    constant = np.einsum("ni,ni->n", h, mean) - 0.5 * np.einsum("ni,nij,nj->n", mean, precision, mean)
    return constant, pack(
        np.einsum("nji,nj->ni", factor, slope), np.einsum("nki,nkl,nlj->nij", factor, precision, factor)
    )


def site_from_z(in_z: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Natural parameters (N, p) in x of what is exp(in_z . T(z)), x = mean + factor z."""
    dimension = mean.shape[1]
    if dimension == 0:
        return in_z
    slope, curvature = unpack(in_z, dimension)
    inverse = np.linalg.inv(factor)
    precision = np.einsum("nki,nkl,nlj->nij", inverse, curvature, inverse)
    h = np.einsum("nji,nj->ni", inverse, slope) + np.einsum("nij,nj->ni", precision, mean)
    return pack(h, 0.5 * (precision + np.swapaxes(precision, 1, 2)))


@dataclass(frozen=True, eq=False, slots=True)
class Update:
    """New sites (N, p), by moments of the tilted distributions or, where ``exact`` (N,), by least squares; log of the
    mean (N,) of f / site; `Status` codes (N,); and the change (N, p) as a function of z."""

    site: np.ndarray
    log_normalizers: np.ndarray
    exact: np.ndarray
    status: np.ndarray
    delta: np.ndarray


def updated_sites(
    values: np.ndarray,
    old: np.ndarray,
    mean: np.ndarray,
    factor: np.ndarray,
    points: Design,
    lost: np.ndarray,
    *,
    power: float = 1.0,
    never_exact: np.ndarray | None = None,
) -> Update:
    """One update of the sites ``old`` (N, p) from log f, ``values`` (N, n) at x = mean + factor z.

    The weights softmax(log f - site), less uniform ones, are regressed on the sufficient statistics; of the ``power``
    of both. A site far from its factor takes the least-squares step, which brings it near. Those that are ``lost`` (N,)
    become nothing; what is ``never_exact`` (N,) is not called so.
    """
    values = np.where(lost[:, None], 0.0, values)
    relative = values - np.where(lost[:, None], 0.0, site_values(old, mean, factor, points.z))
    weights, log_normalizers = softmax(power * relative)
    coefficients, exact = least_squares(relative, values, points)
    if never_exact is not None:
        exact &= ~never_exact
    tilted = (weights - 1.0 / len(points.z)) @ points.statistics @ points.inverse_gram / power
    poor = is_poor(weights) & ~exact & ~lost
    delta = np.where((exact | poor)[:, None], coefficients, tilted)
    site = np.where(lost[:, None], 0.0, old + site_from_z(delta, mean, factor))
    log_normalizers = np.where(exact, _constant(relative, delta, points), log_normalizers / power)
    status = np.where(lost, Status.quarantined, np.where(poor, Status.poor_proposal, Status.ok))
    return Update(site, np.where(lost, 0.0, log_normalizers), exact, status, delta)


def effective_fraction(weights: np.ndarray) -> np.ndarray:
    """(N,) effective fraction of the points, from weights (N, n)."""
    return 1.0 / np.maximum(np.sum(weights**2, axis=1), 1e-300) / weights.shape[1]


def is_poor(weights: np.ndarray) -> np.ndarray:
    """(N,) whether too few of the points count, from weights (N, n)."""
    return effective_fraction(weights) < _FEWEST_EFFECTIVE


def softmax(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised weights (N, n) and log mean exp (N,) of ``relative`` (N, n)."""
    top = np.max(relative, axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(relative - top)
    total = np.maximum(np.sum(weights, axis=1), 1e-300)
    return weights / total[:, None], top[:, 0] + np.log(total / relative.shape[1])


def _constant(relative: np.ndarray, delta: np.ndarray, points: Design) -> np.ndarray:
    """log f / site of a Gaussian factor once its site is exact: the constant of the regression."""
    statistics = points.statistics + points.statistics_mean
    with np.errstate(invalid="ignore"):
        return np.mean(relative - delta @ statistics.T, axis=1)
