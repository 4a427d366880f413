"""The survey's joint density of all 3N + 2 unknowns, for the peers that are given it whole.

The same density as the graph of `tests.benchmarks.survey`, written once in JAX (unconstrained, for a Markov chain) and
once as a unit cube and a NumPy likelihood (for a nested sampler).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from scipy.special import ndtr, ndtri

Array = Any
LARGEST = 100.0  # of mu and tau


def start(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Where a user would start: each centre at the best match with a profile of width ten."""
    template = np.exp(-0.5 * ((x[:, None] - x) / 10.0) ** 2)
    centre = np.clip(x[np.argmax(y @ template, axis=1)], 20.0, 80.0)
    return {
        "mu": 50.0,
        "tau": 10.0,
        "centre": jnp.asarray(centre),
        "normalization": jnp.full(len(y), 25.0),
        "sigma": jnp.full(len(y), 10.0),
    }


def unconstrained(values: dict[str, Any]) -> dict[str, Array]:
    """Log odds of what lies in (0, 100), logarithms of what is positive."""
    found = {name: jnp.asarray(value, float) for name, value in values.items()}
    for name in ("mu", "tau"):
        found[name] = jnp.log(found[name] / (LARGEST - found[name]))
    return found | {name: jnp.log(found[name]) for name in ("normalization", "sigma")}


def bounded(values: Array) -> Array:
    """The way back for ``mu`` and ``tau``."""
    return LARGEST * jax.nn.sigmoid(values)


def log_density(at: dict[str, Array], x: Array, y: Array) -> Array:
    """In unconstrained coordinates, nats; the Gaussian noise's constant is left out."""
    mu, tau = bounded(at["mu"]), bounded(at["tau"])
    normalization, sigma = jnp.exp(at["normalization"]), jnp.exp(at["sigma"])
    total = _log_normal(mu, 50.0, 10.0) + _log_normal(tau, 10.0, 5.0)
    for value in (at["mu"], at["tau"]):
        total += jax.nn.log_sigmoid(value) + jax.nn.log_sigmoid(-value)
    local = _log_normal(at["centre"], mu, tau)
    local += _log_normal(normalization, 25.0, 10.0) - log_ndtr(2.5) + at["normalization"]
    local += _log_normal(sigma, 10.0, 5.0) - log_ndtr(2.0) + at["sigma"]
    z = (x - at["centre"][:, None]) / sigma[:, None]
    profile = (normalization / (jnp.sqrt(2.0 * jnp.pi) * sigma))[:, None] * jnp.exp(-0.5 * z**2)
    return total + jnp.sum(local) - 0.5 * jnp.sum((y - profile) ** 2)


def _log_normal(value: Array, mean: Any, scale: Any) -> Array:
    return -0.5 * ((value - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2.0 * jnp.pi)


def from_cube(cube: np.ndarray) -> np.ndarray:
    """(3N + 2,): mu, tau, then the centres, normalizations and sigmas."""
    values, n = np.empty_like(cube), (len(cube) - 2) // 3
    for place, mean, scale, lower, upper in (
        (slice(0, 1), 50.0, 10.0, 0.0, LARGEST),
        (slice(1, 2), 10.0, 5.0, 0.0, LARGEST),
        (slice(2 + n, 2 + 2 * n), 25.0, 10.0, 0.0, np.inf),
        (slice(2 + 2 * n, None), 10.0, 5.0, 0.0, np.inf),
    ):
        below, above = ndtr((lower - mean) / scale), ndtr((upper - mean) / scale)
        values[place] = mean + scale * ndtri(below + cube[place] * (above - below))
    values[2 : 2 + n] = values[0] + values[1] * ndtri(cube[2 : 2 + n])
    return values


def log_likelihood(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Of all datasets, in nats, every constant included."""
    centre, normalization, sigma = values[2:].reshape(3, -1, 1)
    profile = normalization / (np.sqrt(2.0 * np.pi) * sigma) * np.exp(-0.5 * ((x - centre) / sigma) ** 2)
    return float(-0.5 * np.sum((y - profile) ** 2) - 0.5 * y.size * np.log(2.0 * np.pi))
