"""Newton's method with differences in place of derivatives, for a few dimensions and many starts at once.

The density is only ever evaluated, in one call a step for all starts, so the same lines serve a traced likelihood and
one that is called. Each start carries its own length scales: the last curvature it met sets the next differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from messages.array_namespace import cholesky, namespace, solve_triangular

Array = Any

_DIFFERENCE = 1e-3  # in units of the current length scales
_LONGEST_STEP = 3.0  # in units of the lengths of the start
_SMALLEST_CURVATURE = 0.05  # what a flatter direction counts as: lengths grow at most fourfold a step
_SHORTER = 0.25
_ARRIVED = 0.01  # a step in units of the current lengths


class Modes(NamedTuple):
    """``mean`` (K, d) and ``cholesky`` (K, d, d), lower, of the covariance that the curvature gives; ``value`` (K,)
    is the log density there."""

    mean: Array
    cholesky: Array
    value: Array


class _State(NamedTuple):
    best: Modes
    step: Array  # (K, d), from the best point to the next


def find_modes(log_density: Callable[[Array], Array], mean: Array, factor: Array, num_steps: int) -> Modes:
    """Climb from each of ``mean`` (K, d), whose length scales are ``factor`` (K, d, d). Namespace-agnostic.

    Parameters
    ----------
    log_density : (n, d) -> (n,); steps to where it is not finite are not taken.
    num_steps : evaluations of all starts' stencils, of 1 + d + d^2 points each. With none, what was given comes back.

    Notes
    -----
    A curvature that is not positive is raised to one that is by a multiple of the identity (Levenberg & Marquardt), by
    Gershgorin's bound, in units of the current length scales. A step that goes down is shortened.
    """
    xp = namespace(mean, factor)
    stencil = _stencil(mean.shape[-1])

    def step(state: _State) -> _State:
        best = state.best
        centre = best.mean + state.step
        points = centre[:, None, :] + _DIFFERENCE * xp.einsum("kij,nj->kni", best.cholesky, stencil)
        values = log_density(points.reshape(-1, points.shape[-1])).reshape(points.shape[:-1])
        sound = xp.all(xp.isfinite(values), axis=-1)
        higher = sound & (values[:, 0] >= best.value)
        slope, curvature = _differences(xp.where(sound[:, None], values, 0.0), points.shape[-1])
        root = cholesky(curvature)
        white = solve_triangular(root, slope[..., None])
        newton = solve_triangular(root, white, trans=1)[..., 0]
        ahead = xp.einsum("kij,kj->ki", best.cholesky, newton)
        ahead = ahead * xp.minimum(1.0, _LONGEST_STEP / xp.maximum(_length(factor, ahead), 1e-300))[:, None]
        moved = Modes(centre, _new_factor(best.cholesky, root), values[:, 0])
        chosen = Modes(*(_where(higher, new, old) for new, old in zip(moved, best, strict=True)))
        return _State(chosen, _where(higher, ahead, _SHORTER * state.step))

    state = _State(Modes(mean, factor, xp.full(mean.shape[:1], -np.inf)), xp.zeros_like(mean))
    if xp is np:  # every evaluation may be a call of Python code: none after all have arrived
        for _ in range(num_steps):
            state = step(state)
            if np.all(_length(state.best.cholesky, state.step) < _ARRIVED):
                break
        return state.best
    return jax.lax.fori_loop(0, num_steps, lambda _, current: step(current), state).best


def _stencil(dimension: int) -> np.ndarray:
    """(1 + 2 d + d (d - 1), d): the centre, then steps back and forth along each axis and each pair of axes."""
    axes = np.eye(dimension)
    pairs = [axes[i] + axes[j] for i in range(dimension) for j in range(i)]
    ahead = np.concatenate([axes, np.array(pairs).reshape(-1, dimension)])
    return np.concatenate([np.zeros((1, dimension)), ahead, -ahead])


def _differences(values: Array, dimension: int) -> tuple[Array, Array]:
    """Slope (K, d) and a positive definite curvature (K, d, d) of minus the log density, in units of the lengths."""
    xp = namespace(values)
    num = (values.shape[-1] - 1) // 2
    ahead, behind = values[:, 1 : 1 + num], values[:, 1 + num :]
    slope = (ahead - behind)[:, :dimension] / (2.0 * _DIFFERENCE)
    second = (2.0 * values[:, :1] - ahead - behind) / _DIFFERENCE**2
    own = second[:, :dimension]
    rows = [[None] * dimension for _ in range(dimension)]
    pair = dimension
    for i in range(dimension):
        rows[i][i] = own[:, i]
        for j in range(i):
            rows[i][j] = rows[j][i] = 0.5 * (second[:, pair] - own[:, i] - own[:, j])
            pair += 1
    curvature = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
    diagonal = xp.stack([rows[i][i] for i in range(dimension)], axis=-1)
    others = xp.sum(xp.abs(curvature), axis=-1) - xp.abs(diagonal)
    bound = xp.min(diagonal - others, axis=-1)
    raised = xp.maximum(_SMALLEST_CURVATURE - bound, 0.0)
    return slope, curvature + raised[:, None, None] * np.eye(dimension)


def _new_factor(factor: Array, root: Array) -> Array:
    """Lower Cholesky factor of the covariance L H^-1 L^T, where H = root root^T in units of L = ``factor``."""
    xp = namespace(factor, root)
    white = solve_triangular(root, xp.swapaxes(factor, -1, -2))  # root^-1 L^T: its Gram matrix is the covariance
    return cholesky(xp.swapaxes(white, -1, -2) @ white)


def _length(factor: Array, step: Array) -> Array:
    """(K,) lengths of ``step`` (K, d) in units of ``factor`` (K, d, d)."""
    xp = namespace(factor, step)
    return xp.sqrt(xp.sum(solve_triangular(factor, step[..., None])[..., 0] ** 2, axis=-1))


def _where(which: Array, new: Array, old: Array) -> Array:
    return namespace(new, old).where(which.reshape(which.shape + (1,) * (new.ndim - 1)), new, old)
