"""Weighted points of a dataset's locals: their moments in the user's coordinates, and draws from them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from factorgraph.graph.density import DatasetArrays, Signature
from searches.pareto import pareto_k

Array = Any


class PrivatePosterior(NamedTuple):
    """Of one dataset, z given the data: a point ``z`` (M, local) for each of M draws of phi; ``mean``, ``variance`` and
    half the ``difference`` of the means of two half-samples (local,), in the user's coordinates; and the `reliability`
    of the weights."""

    z: Array
    mean: Array
    variance: Array
    difference: Array
    num_effective: Array
    k_hat: Array


def local_values(signature: Signature, local: Array, z: Array) -> Array:
    """Points (n, local) in the user's coordinates; ``local`` (local, 4)."""
    roles = sorted((role for role in signature.roles if not role.shared), key=lambda role: role.position)
    return jnp.stack([role.value(z[:, role.position], local[role.position]) for role in roles], axis=-1)


def moments_of(signature: Signature, arrays: DatasetArrays, z: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and variance (local,) in the user's coordinates of weighted points (n, local)."""
    theta = local_values(signature, arrays.local, z)
    mean = weights @ theta
    return mean, weights @ (theta - mean) ** 2


def half_mean(weights: Array, theta: Array) -> Array:
    """Mean (local,) of theta (M, n, local) under weights (M, n) that are normalised for each of the M."""
    weights = weights / jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-300)
    return jnp.einsum("mn,mnl->l", weights, theta) / weights.shape[0]


def reliability(weights: Array) -> tuple[Array, Array]:
    """Of weights (M, n) that are normalised for each of M draws of phi: how many of the n points count, on average, and
    the Pareto k-hat of those in which about as many count: some draws of phi are extreme."""
    num_effective = 1.0 / jnp.maximum(jnp.sum(weights**2, axis=1), 1e-300)
    average = jnp.mean(num_effective)
    typical = jnp.argmin(jnp.abs(num_effective - average))
    return average, pareto_k(jnp.log(weights[typical]))


def self_normalised(log_weight: Array) -> Array:
    log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf)
    top = jnp.max(log_weight)
    weights = jnp.exp(log_weight - jnp.where(jnp.isfinite(top), top, 0.0))
    return weights / jnp.maximum(jnp.sum(weights), 1e-300)


def pick(weights: Array, chance: Array) -> Array:
    """The index at which the cumulative sum of ``weights`` (n,), whose sum is one, reaches ``chance``.

    In two steps, first among sums of about sqrt(n) of them: one cumulative sum over all costs more than the weights.
    """
    size = weights.shape[0]
    width = math.isqrt(size - 1) + 1
    table = jnp.pad(weights, (0, -size % width)).reshape(-1, width)
    edges = jnp.cumsum(jnp.sum(table, axis=1))
    chance = jnp.minimum(chance, edges[-1])
    row = jnp.sum(edges < chance)
    inside = jnp.cumsum(table[row])
    rest = jnp.minimum(chance - jnp.where(row > 0, edges[row - 1], 0.0), inside[-1])
    return row * width + jnp.sum(inside < rest)
