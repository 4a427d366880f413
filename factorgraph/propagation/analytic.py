"""Inner methods that are exact: nothing to integrate, or a density that is Gaussian in z."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import LOG_SQRT_2PI, DatasetArrays, Signature, log_joint
from factorgraph.propagation.weighted import PrivatePosterior, moments_of
from messages.array_namespace import cholesky, ndtri, solve_triangular

Array = Any

_MOST_REMAINDER = 1e6  # nats


class Centre(NamedTuple):
    """The rule of a dataset: where the Newton step starts."""

    z: Array  # (local,)


def direct_log_factor(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Any, phi: Array
) -> tuple[Array, Array]:
    return log_joint(signature, phi, jnp.zeros(0), arrays), jnp.zeros(())


def log_factor(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Centre, phi: Array
) -> tuple[Array, Array]:
    mode, factor = conditional_gaussian(signature, arrays, rule, phi)
    value, slope = jax.value_and_grad(lambda z: log_joint(signature, phi, z, arrays))(mode)
    step = solve_triangular(factor, slope)
    log_volume = signature.num_local * LOG_SQRT_2PI - jnp.sum(jnp.log(jnp.diag(factor)))
    remainder = 0.5 * step @ step  # nats by which rounding misses the mode
    resolved = (
        remainder < _MOST_REMAINDER
    )  # a parent narrower than the rounding of what is drawn from it has no density
    return jnp.where(resolved, value + remainder + log_volume, -jnp.inf), jnp.zeros(())


def conditional_gaussian(signature: Signature, arrays: DatasetArrays, rule: Centre, phi: Array) -> tuple[Array, Array]:
    """Mode (local,) and Cholesky factor of the precision of z given phi, where log L p(z | phi) is quadratic in z."""

    def function(z: Array) -> Array:
        return log_joint(signature, phi, z, arrays)

    slope, curvature = jax.grad(function)(rule.z), -jax.hessian(function)(rule.z)
    factor = cholesky(curvature)
    return rule.z + solve_triangular(factor, solve_triangular(factor, slope), 1), factor


def private_posterior(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Centre, phi: Array, chance: Array
) -> PrivatePosterior:
    """Over all of ``phi`` (by cubature points, which carry two moments exactly), and a draw
    for each phi."""
    num = signature.num_local

    def at(phi: Array, chance: Array) -> tuple[Array, Array]:
        mode, factor = conditional_gaussian(signature, arrays, rule, phi)
        spread = solve_triangular(factor, jnp.eye(num), 1)
        steps = np.sqrt(num) * jnp.concatenate([spread.T, -spread.T])
        return mode + steps, mode + spread @ ndtri(chance[1:])

    z, picked = jax.vmap(at)(phi, chance)
    points = z.reshape(-1, num)
    mean, variance = moments_of(signature, arrays, points, jnp.full(len(points), 1.0 / len(points)))
    exact = jnp.full((), jnp.nan)  # there are no weights
    return PrivatePosterior(picked, mean, variance, jnp.zeros_like(mean), exact, exact)
