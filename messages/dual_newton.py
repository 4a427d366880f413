"""Natural parameters from expectation parameters, where no closed form exists, for families with two of each.

The natural parameters with E[T] = target minimise the convex function A(natural) - natural . target. Newton's method
with the information matrix as Hessian does it; far away the best of a few step lengths is taken, near the solution the
full one.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from messages.array_namespace import Array, namespace

MAX_STEPS = 60
_STEP_LENGTHS = 4.0 ** -np.arange(16)
_FULL_STEP_BELOW = 1e-2  # squared Newton decrement under which a full step of a self-concordant function is safe
_CONVERGED = 1e-24
_ACCEPTED = 1e-10  # a decrement that is larger than this in the end means that there is no solution


def solve(
    log_partition: Callable[..., Array],
    moments: Callable[..., tuple[Array, Array]],
    start: Array,
    target: Array,
    *fixed: Array,
) -> Array:
    """Natural parameters ``(*plate, 2)`` with expectation parameters ``target``; nan where there are none.

    Parameters
    ----------
    log_partition
        A, called with natural parameters ``(..., *plate, 2)`` and ``fixed``, gives ``(..., *plate)``; nan outside the
        domain.
    moments
        E[T] ``(*plate, 2)`` and Cov[T] ``(*plate, 2, 2)`` from natural parameters ``(*plate, 2)`` and ``fixed``.
    start
        A proper starting point, ``(*plate, 2)``.
    target
        ``(*plate, 2)``.
    *fixed
        What else the family depends on (its limits). First derivatives with respect to ``target`` and ``fixed`` are
        those of the solution (implicit function theorem); the functions must close over nothing that is differentiated.
    """
    xp = namespace(start, target)
    constants = (start, target, fixed)
    start, goal, constants = constants if xp is np else jax.lax.stop_gradient(constants)

    def step(natural: Array) -> tuple[Array, Array]:
        direction, decrement = _newton(*moments(natural, *constants), goal)
        lengths = _STEP_LENGTHS.reshape((-1,) + (1,) * (natural.ndim - 1))
        candidates = natural + lengths[..., None] * direction
        objective = log_partition(candidates, *constants) - xp.sum(candidates * goal, axis=-1)
        best = xp.argmin(xp.where(xp.isnan(objective), xp.inf, objective), axis=0)
        full = (decrement < _FULL_STEP_BELOW) & xp.isfinite(objective[0])
        length = xp.where(full, 1.0, xp.asarray(_STEP_LENGTHS)[best])
        return natural + length[..., None] * direction, decrement

    natural = _repeat(step, start, xp)
    # One more step, the only one that is differentiated: it moves the solution by rounding, and carries its derivative.
    direction, decrement = _newton(*moments(natural, *fixed), target)
    return xp.where((decrement < _ACCEPTED)[..., None], natural + direction, xp.nan)


def _repeat(step: Callable, start: Array, xp) -> Array:
    """Apply ``step`` until every decrement is at rounding level or nan, at most `MAX_STEPS` times."""

    def unfinished(state: tuple) -> Array:
        return (state[2] < MAX_STEPS) & xp.any(state[1] > _CONVERGED)

    def advance(state: tuple) -> tuple:
        natural, decrement = step(state[0])
        return natural, decrement, state[2] + 1

    state = (start, xp.full(start.shape[:-1], xp.inf), 0)
    if xp is jnp:
        return jax.lax.while_loop(unfinished, advance, state)[0]
    while unfinished(state):
        state = advance(state)
    return state[0]


def _newton(expectation: Array, covariance: Array, target: Array) -> tuple[Array, Array]:
    """Newton direction and its squared decrement."""
    xp = namespace(expectation, target)
    gap = target - expectation
    direction = _solve_two(covariance, gap)
    return direction, xp.sum(direction * gap, axis=-1)


def _solve_two(matrix: Array, vector: Array) -> Array:
    """Solution of positive definite 2 x 2 systems, ``(*plate, 2, 2)`` and ``(*plate, 2)``; nan or inf if singular."""
    xp = namespace(matrix, vector)
    a, b, c = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
    u, v = vector[..., 0], vector[..., 1]
    determinant = a * c - b * b
    regular = xp.where(determinant > 0.0, determinant, xp.nan)
    with np.errstate(over="ignore"):
        return xp.stack([c * u - b * v, a * v - b * u], axis=-1) / regular[..., None]


def symmetric_two(a: Array, b: Array, c: Array) -> Array:
    """The matrices [[a, b], [b, c]], ``(*plate, 2, 2)``."""
    xp = namespace(a, b, c)
    return xp.stack([xp.stack([a, b], axis=-1), xp.stack([b, c], axis=-1)], axis=-2)
