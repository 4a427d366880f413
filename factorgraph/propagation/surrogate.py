"""A polynomial in place of log f, for datasets whose integral costs likelihood calls at every point.

Once many datasets have narrowed the posterior, each log f is smooth over it: it is integrated accurately at a few
dozen points around the start, and a polynomial through them serves every sweep and the correction. Points held back
measure its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from searches.quasi import normal_points

_DEGREE = {1: 5, 2: 4, 3: 4, 4: 3}  # by the number of shared variables; no surrogate beyond
_POINTS_PER_MONOMIAL = 3
_SPREAD = 2.2  # of the points, in standard deviations
_REACH = 4.5  # standard deviations beyond which the polynomial is not to be used
_HELD_BACK = 16
_MOVED, _NARROWER, _WIDER = 0.7, 0.6, 1.2  # where the polynomials of an earlier time still serve
_TOLERATED = 0.05  # nats of the sum over datasets, root mean square over the points held back


@dataclass(frozen=True, eq=False, slots=True)
class Surrogate:
    """log f (and the error of its integral) as polynomials in z = inverse (phi - mean); leading axis N.

    ``coefficients`` (N, 2, P): of the value and of the error. Where ``lost`` (N,), log f is -inf everywhere.
    """

    mean: np.ndarray
    inverse: np.ndarray
    coefficients: np.ndarray
    lost: np.ndarray
    degree: int

    def evaluate(self, rows: np.ndarray, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and errors (B, n) at ``phi`` (B, n, d), and where they are too far away to mean anything (B, n)."""
        z = np.einsum("bij,bnj->bni", self.inverse[rows], phi - self.mean[rows][:, None, :])
        lost = self.lost[rows][:, None]
        far = ~(np.linalg.norm(z, axis=-1) < _REACH) & ~lost
        z = np.where(far[..., None], 0.0, z)
        found = np.einsum("bkp,bnp->bkn", self.coefficients[rows], _monomials(z, self.degree))
        return np.where(lost, -np.inf, found[:, 0]), found[:, 1], far

    def of(self, rows: np.ndarray) -> Surrogate:
        """Those of ``rows`` (n,)."""
        return Surrogate(self.mean[rows], self.inverse[rows], self.coefficients[rows], self.lost[rows], self.degree)

    def serves(self, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """(N,) whether normal distributions of ``mean`` (N, d) and Cholesky ``factor`` (N, d, d) lie, with about the
        same size, where the polynomials were fitted."""
        moved = np.linalg.norm(np.einsum("bij,bj->bi", self.inverse, mean - self.mean), axis=1)
        sizes = np.linalg.svd(self.inverse @ factor, compute_uv=False)
        return (moved < _MOVED) & np.all((sizes > _NARROWER) & (sizes < _WIDER), axis=1)


def joined(first: Surrogate, second: Surrogate) -> Surrogate:
    """Both, one after the other."""
    return Surrogate(
        np.concatenate([first.mean, second.mean]),
        np.concatenate([first.inverse, second.inverse]),
        np.concatenate([first.coefficients, second.coefficients]),
        np.concatenate([first.lost, second.lost]),
        first.degree,
    )


def supported(dimension: int) -> bool:
    """Whether polynomials over this many shared variables are few enough."""
    return dimension in _DEGREE


def design_points(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised points (n, d) to fit, and points (k, d) to hold back."""
    num = _POINTS_PER_MONOMIAL * _monomials(np.zeros((1, dimension)), _DEGREE[dimension]).shape[1]
    if dimension == 1:
        fit = (2.0 * _SPREAD * np.cos(np.pi * (np.arange(num) + 0.5) / num))[:, None]
    else:
        fit = _SPREAD * normal_points(num, dimension, seed=10)
    return fit, normal_points(_HELD_BACK, dimension, seed=11)


def fit_surrogate(
    mean: np.ndarray, factor: np.ndarray, z: np.ndarray, values: np.ndarray, errors: np.ndarray, lost: np.ndarray
) -> Surrogate:
    """Least squares through ``values`` and ``errors`` (N, n) at z (n, d), phi = mean + factor z; the bulk weighs
    most."""
    degree = _DEGREE[z.shape[1]]
    weight = np.exp(-0.125 * np.sum(z**2, axis=1))
    basis = _monomials(z, degree)
    solve = np.linalg.pinv(weight[:, None] * basis)
    sound = np.where(lost[:, None], 0.0, values)
    coefficients = np.stack([(weight * part) @ solve.T for part in (sound, errors)], axis=1)
    return Surrogate(mean, np.linalg.inv(factor), coefficients, lost, degree)


def is_accurate(residuals: np.ndarray) -> bool:
    """Whether residuals (N, k) at the points held back, apart from a constant of each dataset, are negligible in
    sum."""
    centred = residuals - residuals.mean(axis=1, keepdims=True)
    return bool(np.sqrt(np.mean(np.sum(centred, axis=0) ** 2)) < _TOLERATED)


def _monomials(z: np.ndarray, degree: int) -> np.ndarray:
    """(..., P) of all monomials up to the total degree."""
    found: dict[tuple[int, ...], np.ndarray] = {(): np.ones(z.shape[:-1])}
    for total in range(1, degree + 1):
        for axes in combinations_with_replacement(range(z.shape[-1]), total):
            found[axes] = found[axes[:-1]] * z[..., axes[-1]]
    return np.stack(list(found.values()), axis=-1)
