"""Gaussian mixtures as proposals of importance sampling: draw, evaluate, fit to weighted points.

Namespace-agnostic and free of host state, so that a mixture can be fitted inside a kernel for every dataset of a plate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from messages.array_namespace import argsort, cholesky, logsumexp, namespace, ndtri, solve_triangular

Array = Any
State = TypeVar("State")
_LOG_2PI = 1.8378770664093453
_EDGE = 1e-12


class Mixture(NamedTuple):
    """``log_weight`` (K,), sums to one when exponentiated; ``mean`` (K, d); ``cholesky`` (K, d, d), lower."""

    log_weight: Array
    mean: Array
    cholesky: Array

    @property
    def num_components(self) -> int:
        return self.log_weight.shape[-1]


def isotropic(scales: Array, dimension: int) -> Mixture:
    """Equal parts of N(0, s^2 I) for each s of ``scales`` (K,)."""
    xp = namespace(scales)
    num = scales.shape[0]
    return Mixture(
        xp.zeros(num) - float(np.log(num)), xp.zeros((num, dimension)), scales[:, None, None] * np.eye(dimension)
    )


def combine(first: Mixture, second: Mixture, fraction: float) -> Mixture:
    """``fraction`` of ``first`` and the rest of ``second``."""
    xp = namespace(first.mean, second.mean)
    weights = (first.log_weight + float(np.log(fraction)), second.log_weight + float(np.log1p(-fraction)))
    return Mixture(
        xp.concatenate(weights),
        xp.concatenate([first.mean, second.mean]),
        xp.concatenate([first.cholesky, second.cholesky]),
    )


def widened(
    mixture: Mixture, scales: tuple[float, ...] = (1.1, 2.5), weights: tuple[float, ...] = (0.8, 0.2)
) -> Mixture:
    """Heavier tails: every component as a scale mixture of itself."""
    xp = namespace(mixture.mean)
    return Mixture(
        xp.concatenate([mixture.log_weight + float(np.log(w)) for w in weights]),
        xp.concatenate([mixture.mean] * len(scales)),
        xp.concatenate([mixture.cholesky * s for s in scales]),
    )


def log_density(mixture: Mixture, points: Array) -> Array:
    """log density (n,) at ``points`` (n, d).

    Coordinates are relative to the narrowest component, where products of monomials would lose most to rounding.
    """
    xp = namespace(mixture.mean, points)
    narrowest = xp.argmin(xp.sum(xp.log(xp.diagonal(mixture.cholesky, axis1=-2, axis2=-1)), axis=-1))
    origin = mixture.mean[narrowest]
    moved = Mixture(mixture.log_weight, mixture.mean - origin, mixture.cholesky)
    return logsumexp(_monomials(points - origin) @ _coefficients(moved).T, axis=-1)


def _inverse_lower(factor: Array) -> Array:
    xp = namespace(factor)
    identity = xp.broadcast_to(np.eye(factor.shape[-1]), factor.shape)
    return solve_triangular(factor, identity)


def draws(mixture: Mixture, uniform: Array) -> Array:
    """Points (n, d) from uniform numbers (n, 1 + d): the first picks the component, stratified if they are."""
    return draws_from_normal(mixture, uniform[:, 0], normal_from_uniform(uniform[:, 1:]))


def normal_from_uniform(uniform: Array) -> Array:
    """Standard normal numbers, finite also at 0 and 1."""
    return ndtri(namespace(uniform).clip(uniform, _EDGE, 1.0 - _EDGE))


def draws_from_normal(mixture: Mixture, chance: Array, normal: Array) -> Array:
    """Points (n, d): uniform numbers ``chance`` (n,) pick the component, ``normal`` (n, d) the place in it."""
    xp = namespace(mixture.mean, normal)
    edges = xp.cumsum(xp.exp(mixture.log_weight))[:-1]
    above = xp.concatenate([np.ones((1, len(chance)), bool), chance > edges[:, None], np.zeros((1, len(chance)), bool)])
    chosen = (above[:-1] & ~above[1:]).astype(float)  # (K, n), one of each column: products are faster than indices
    dimension = normal.shape[-1]
    rows, columns = np.tril_indices(dimension)
    factor = mixture.cholesky[:, rows, columns].T @ chosen  # (d (d + 1) / 2, n)
    mean = mixture.mean.T @ chosen
    steps = [sum(factor[k] * normal[:, j] for k, j in enumerate(columns) if rows[k] == i) for i in range(dimension)]
    return (mean + xp.stack(steps)).T


def fit(points: Array, weights: Array, num_components: int, num_steps: int = 5, floor: float = 1e-3) -> Mixture:
    """Gaussian mixture by expectation maximisation on weighted points.

    Parameters
    ----------
    points : (n, d)
    weights : (n,), not negative, with sum one.
    floor : smallest component variance as a fraction of the overall one; keeps the components proper.

    Notes
    -----
    Dempster, Laird & Rubin (1977). Works on points with mean zero and unit variances, where densities and moments are
    products with the matrix of monomials [1, x, x x']; starts from points spread evenly over the weight along the first
    coordinate.
    """
    xp = namespace(points, weights)
    centre = weights @ points
    scale = xp.sqrt(weights @ (points - centre) ** 2) + 1e-150
    standard = (points - centre) / scale
    monomials = _monomials(standard)
    covariance = _symmetric(weights @ monomials, points.shape[-1])
    ridge = floor * covariance + 1e-9 * np.eye(points.shape[-1])
    mixture = _spread_mixture(standard, weights, covariance, ridge, num_components)
    mixture = repeated(lambda mixture: _maximise(monomials, weights, mixture, ridge), num_steps, mixture)
    return Mixture(mixture.log_weight, centre + scale * mixture.mean, scale[:, None] * mixture.cholesky)


def repeated(step: Callable[[State], State], num: int, state: State) -> State:
    """``step`` applied ``num`` times; one compiled body in JAX, a plain loop in NumPy."""
    if namespace(*jax.tree.leaves(state)) is np:
        for _ in range(num):
            state = step(state)
        return state
    return jax.lax.fori_loop(0, num, lambda _, current: step(current), state)


def while_loop(goes_on: Callable[[State], Array], step: Callable[[State], State], state: State) -> State:
    """``step`` applied while ``goes_on``; `jax.lax.while_loop` in JAX, a plain loop in NumPy."""
    if namespace(*jax.tree.leaves(state)) is np:
        while goes_on(state):
            state = step(state)
        return state
    return jax.lax.while_loop(goes_on, step, state)


def _spread_mixture(points: Array, weights: Array, covariance: Array, ridge: Array, num: int) -> Mixture:
    """Components at points spread evenly over the weight along the first coordinate, with the overall covariance
    shrunk."""
    xp = namespace(points, weights)
    order = argsort(points[:, 0])
    cumulative = xp.cumsum(weights[order])
    targets = (np.arange(num) + 0.5) / num
    place = xp.sum(cumulative[None, :] < targets[:, None] * cumulative[-1], axis=-1)
    start = order[xp.minimum(place, points.shape[0] - 1)]
    dimension = points.shape[-1]
    factor = cholesky(covariance * float(num ** (-2.0 / dimension)) + ridge)
    return Mixture(
        xp.zeros(num) - float(np.log(num)), points[start], xp.broadcast_to(factor, (num, dimension, dimension))
    )


def _monomials(points: Array) -> Array:
    """(n, 1 + d + d (d + 1) / 2): 1, x_i and x_i x_j with j <= i."""
    xp = namespace(points)
    rows, columns = np.tril_indices(points.shape[-1])
    return xp.concatenate([xp.ones((points.shape[0], 1)), points, points[:, rows] * points[:, columns]], axis=-1)


def _symmetric(moments: Array, dimension: int) -> Array:
    """(..., d, d) from the packed lower triangle at the end of (..., 1 + d + d (d + 1) / 2)."""
    i, j = np.indices((dimension, dimension))
    high, low = np.maximum(i, j), np.minimum(i, j)
    return moments[..., 1 + dimension + high * (high + 1) // 2 + low]


def _coefficients(mixture: Mixture) -> Array:
    """(K, 1 + d + d (d + 1) / 2): log weight + log density of each component as a linear function of the monomials."""
    xp = namespace(mixture.mean)
    dimension = mixture.mean.shape[-1]
    inverse = _inverse_lower(mixture.cholesky)
    white = sum(inverse[:, :, j] * mixture.mean[:, j, None] for j in range(dimension))
    log_volume = xp.sum(xp.log(xp.diagonal(inverse, axis1=-2, axis2=-1)), axis=-1) - 0.5 * dimension * _LOG_2PI
    constant = mixture.log_weight + log_volume - 0.5 * xp.sum(white**2, axis=-1)
    linear = sum(inverse[:, i, :] * white[:, i, None] for i in range(dimension))
    rows, columns = np.tril_indices(dimension)
    precision = sum(inverse[:, i, :, None] * inverse[:, i, None, :] for i in range(dimension))
    packed = precision[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)
    return xp.concatenate([constant[:, None], linear, packed], axis=-1)


def _maximise(monomials: Array, weights: Array, mixture: Mixture, ridge: Array) -> Mixture:
    xp = namespace(monomials, weights)
    dimension = mixture.mean.shape[-1]
    logits = monomials @ _coefficients(mixture).T
    responsibility = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    responsibility = responsibility * (weights / xp.sum(responsibility, axis=-1))[:, None]
    moments = responsibility.T @ monomials
    mass = moments[:, 0] + 1e-12
    mean = moments[:, 1 : 1 + dimension] / mass[:, None]
    second = _symmetric(moments, dimension) / mass[:, None, None]
    factor = cholesky(second - mean[:, :, None] * mean[:, None, :] + ridge)
    usable = xp.all(xp.isfinite(factor), axis=(-1, -2))[:, None, None]
    return Mixture(xp.log(mass / xp.sum(mass)), mean, xp.where(usable, factor, cholesky(ridge)))
