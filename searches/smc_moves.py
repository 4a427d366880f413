"""How tempered particles move: Metropolis steps that leave start^(1-t) target^t unchanged.

The particles are in the start's standard coordinates z, where the start is N(0, I).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import splitmix

Array = jax.Array


class Points(NamedTuple):
    """Particles in the start's standard coordinates: z (n, P), log likelihood (n,), gain = log target - log start
    (n,) and its gradient in z (n, P) (zeros for a random walk)."""

    z: Array
    log_likelihood: Array
    gain: Array
    gradient: Array


Evaluate = Callable[[Array], tuple[Points, Array]]


def random_walk_move(
    random: Array, points: Points, temperature: Array, cholesky: Array, evaluate: Evaluate
) -> tuple[Points, Array, Array]:
    """One Metropolis step of every particle; the points, the mean acceptance, the number of bad values."""
    step = splitmix.normal(splitmix.substream(random, 0), points.z.shape) @ cholesky.T
    proposed, bad = evaluate(points.z + step)
    change = _tempered_log_density(proposed, temperature) - _tempered_log_density(points, temperature)
    points, acceptance = _accept(splitmix.substream(random, 1), points, proposed, change)
    return points, acceptance, bad


def hamiltonian_move(
    random: Array, points: Points, temperature: Array, cholesky: Array, evaluate: Evaluate, *, num_leapfrog: int
) -> tuple[Points, Array, Array]:
    """One Hamiltonian step of every particle in coordinates w with z = cholesky w, unit masses and unit step."""
    momentum = splitmix.normal(splitmix.substream(random, 0), points.z.shape)

    def kick(points: Points, momentum: Array) -> Array:
        return momentum + 0.5 * (temperature * points.gradient - points.z) @ cholesky

    def leap(_: int, carry: tuple[Points, Array, Array]) -> tuple[Points, Array, Array]:
        points, momentum, num_bad = carry
        momentum = kick(points, momentum)
        points, bad = evaluate(points.z + momentum @ cholesky.T)
        return points, kick(points, momentum), num_bad + bad

    carry = (points, momentum, jnp.zeros((), int))
    proposed, last, bad = jax.lax.fori_loop(0, num_leapfrog, leap, carry)
    change = _tempered_log_density(proposed, temperature) - _tempered_log_density(points, temperature)
    change += 0.5 * (jnp.sum(momentum**2, axis=1) - jnp.sum(last**2, axis=1))
    points, acceptance = _accept(splitmix.substream(random, 1), points, proposed, change)
    return points, acceptance, bad


def _tempered_log_density(points: Points, temperature: Array) -> Array:
    return tempered_gain(points.gain, temperature) - 0.5 * jnp.sum(points.z**2, axis=1)


def _accept(random: Array, points: Points, proposed: Points, change: Array) -> tuple[Points, Array]:
    """Take each proposal with probability min(1, exp(change)); nan is refused."""
    probability = jnp.where(jnp.isnan(change), 0.0, jnp.exp(jnp.minimum(change, 0.0)))
    take = splitmix.uniform(random, change.shape) < probability
    chosen = jax.tree.map(
        lambda new, old: jnp.where(take.reshape((-1,) + (1,) * (new.ndim - 1)), new, old), proposed, points
    )
    return chosen, jnp.mean(probability)


def tempered_gain(gain: Array, step: Array) -> Array:
    """step * gain, with -inf kept (not nan) at step 0."""
    return jnp.where(jnp.isfinite(gain), step * gain, -jnp.inf)


def correlations(before: Points, after: Points) -> Array:
    """Correlations (P + 1,) of the coordinates and, last, of the gain with those before the moves; 1 if constant."""
    a = jnp.concatenate([before.z, before.gain[:, None]], axis=1)
    b = jnp.concatenate([after.z, after.gain[:, None]], axis=1)
    a, b = a - jnp.mean(a, axis=0), b - jnp.mean(b, axis=0)
    scale = jnp.sqrt(jnp.sum(a * a, axis=0) * jnp.sum(b * b, axis=0))
    return jnp.where(scale > 0, jnp.sum(a * b, axis=0) / scale, 1.0)
