"""Standard random variates from a JAX key or a NumPy generator: the one place that tells the two apart."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from messages.array_namespace import Array

Key = Any  # a JAX key, or numpy.random.Generator


def standard_normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Draws from N(0, 1)."""
    return key.standard_normal(shape) if isinstance(key, np.random.Generator) else jax.random.normal(key, shape)


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Draws from the unit interval."""
    return key.random(shape) if isinstance(key, np.random.Generator) else jax.random.uniform(key, shape)


def log_standard_gamma(key: Key, concentration: Array, shape: tuple[int, ...]) -> Array:
    """Logarithms of draws from Gamma(concentration, 1), which do not underflow; nan for a concentration of nan."""
    if not isinstance(key, np.random.Generator):
        return jax.random.loggamma(key, concentration, shape)
    valid = np.isfinite(concentration)
    safe = np.where(valid, concentration, 1.0)
    # Gamma(a) = Gamma(a + 1) u^(1 / a): the logarithm stays finite for small a.
    draws = np.log(key.standard_gamma(safe + 1.0, shape)) + np.log1p(-key.random(shape)) / safe
    return np.where(valid, draws, np.nan)


def split(key: Key) -> tuple[Key, Key]:
    """Two independent keys; a NumPy generator carries its own state and is returned twice."""
    return (key, key) if isinstance(key, np.random.Generator) else tuple(jax.random.split(key))
