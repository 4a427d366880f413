"""Adaptive importance sampling of a low-dimensional target: no gradients, several modes, a normalising constant.

Population Monte Carlo with tempering (Cappe et al. 2004, 2008): points of a wide reference are weighted by a tempered
likelihood, a Gaussian mixture is fitted to them and proposes the next points, until the temperature is one. A
fraction of every proposal is the reference itself, so that no region of the prior can be missed for good and weights
stay bounded (Hesterberg 1995). One dataset is written here; ``jax.vmap`` makes it a plate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from messages.array_namespace import namespace
from searches import mixture as mixtures
from searches.mixture import Mixture
from searches.quasi import uniform_points

Array = Any

DEFENSIVE_FRACTION = 0.25
_SMALLEST_ESS_FRACTION = 0.15
_POOR_ESS_FRACTION, _MOST_POLISHING = 0.15, 6
_CANDIDATES, _BISECTIONS = 16, 4
_SMALLEST_LOG_EXPONENT = -46.0
_GOLDEN = 0.6180339887498949


class PointTable(NamedTuple):
    """Quasi-random numbers of every stage: ``chance`` (stages, n), uniform, and ``normal`` (stages, n, d)."""

    chance: Array
    normal: Array

    @property
    def num_stages(self) -> int:
        return self.chance.shape[0]


@lru_cache(maxsize=32)
def point_table(num_points: int, dimension: int, num_stages: int, seed: int) -> PointTable:
    """One Sobol sequence, moved on from stage to stage."""
    uniform = uniform_points(num_points, 1 + dimension, seed)
    moved = shifted(uniform[None], _GOLDEN * np.arange(num_stages)[:, None, None])
    return PointTable(moved[..., 0], mixtures.normal_from_uniform(moved[..., 1:]))


class Adaptation(NamedTuple):
    """What was fitted, and how far that can be trusted.

    ``temperature`` is one unless the stages ran out; ``ess_fraction`` is that of the last; ``log_loss`` the largest
    fall of the log normaliser at one temperature from one stage to the next, nats: where it is much above its noise
    (about 0.2), a stage lost a part of the density. ``num_calls`` counts points.
    """

    fitted: Mixture
    temperature: Array
    ess_fraction: Array
    log_loss: Array
    num_calls: Array


def unexplored(num_components: int, dimension: int) -> Adaptation:
    """Where exploration starts: at a mixture that says nothing."""
    fitted = mixtures.isotropic(np.ones(num_components), dimension)
    return Adaptation(fitted, np.zeros(()), np.zeros(()), np.zeros(()), np.zeros((), int))


def proposal_of(reference: Mixture, fitted: Mixture) -> Mixture:
    """The fitted mixture with heavier tails, and the reference as its defensive part."""
    return mixtures.combine(reference, mixtures.widened(fitted), DEFENSIVE_FRACTION)


def adapt(
    log_likelihood: Callable[[Array], Array],
    reference: Mixture,
    table: PointTable,
    shift: Array,
    start: Adaptation,
) -> Adaptation:
    """Fit a mixture to ``exp(log_likelihood)`` times the reference density; traced.

    Parameters
    ----------
    log_likelihood : (n, d) -> (n,), relative to ``reference``.
    reference : the prior, as a mixture.
    table : the points of each stage, as many stages as may be; the same for all datasets.
    shift : uniform number of this dataset; moves what picks the component.
    start : `unexplored`, or what is already known; returned as it is where its temperature is one.
    """
    num_components = start.fitted.num_components

    def cond(state: tuple) -> Array:
        _, temperature, fraction, polished, stage, _, _ = state
        return (stage < table.num_stages) & _unfinished(temperature, fraction, polished)

    def body(state: tuple) -> tuple:
        fitted, previous, _, polished, stage, log_normaliser, loss = state
        points, log_proposal = propose(reference, fitted, table, shift, stage)
        log_weight = mixtures.log_density(reference, points) - log_proposal
        values = log_likelihood(points)
        loss = jnp.maximum(loss, _fall(log_normaliser, log_mean(values, log_weight, previous)))
        fitted, temperature, fraction = absorb(points, values, log_weight, num_components, previous)
        log_normaliser = log_mean(values, log_weight, temperature)
        polished = polished + jnp.where(previous >= 1.0, 1, 0)
        return fitted, temperature, fraction, polished, stage + 1, log_normaliser, loss

    polished = jnp.where(start.temperature >= 1.0, _MOST_POLISHING, 0)
    none = -jnp.inf * jnp.ones(())
    zero = jnp.zeros((), int)
    state = (start.fitted, start.temperature, start.ess_fraction, polished, zero, none, start.log_loss)
    fitted, temperature, fraction, _, stage, _, loss = jax.lax.while_loop(cond, body, state)
    return Adaptation(fitted, temperature, fraction, loss, start.num_calls + stage * table.chance.shape[1])


def adapt_on_host(
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    reference: Mixture,
    table: PointTable,
    shift: float,
    *,
    num_components: int,
) -> Adaptation:
    """`adapt` for a likelihood that JAX cannot trace: the same stages, in NumPy."""
    fitted = mixtures.isotropic(np.ones(num_components), table.normal.shape[-1])
    temperature, fraction, stage, polished, log_normaliser, loss = 0.0, 0.0, 0, 0, -np.inf, 0.0
    while stage < table.num_stages and _unfinished(temperature, fraction, polished):
        polished += int(temperature >= 1.0)
        points, log_proposal = propose(reference, fitted, table, shift, stage)
        log_weight = mixtures.log_density(reference, points) - log_proposal
        values = log_likelihood(points)
        loss = max(loss, float(_fall(log_normaliser, log_mean(values, log_weight, temperature))))
        fitted, temperature, fraction = absorb(points, values, log_weight, num_components, temperature)
        log_normaliser = log_mean(values, log_weight, temperature)
        stage += 1
    return Adaptation(fitted, temperature, fraction, loss, np.int64(stage * table.chance.shape[1]))


def _unfinished(temperature: Array, fraction: Array, polished: Array) -> Array:
    """Once the exponent is one the mixture is fitted once more, and further while few points count."""
    return (temperature < 1.0) | (polished < 1) | ((fraction < _POOR_ESS_FRACTION) & (polished < _MOST_POLISHING))


def propose(reference: Mixture, fitted: Mixture, table: PointTable, shift: Array, stage: Array) -> tuple[Array, Array]:
    """Points (n, d) of the proposal and their log density (n,)."""
    proposal = proposal_of(reference, fitted)
    points = mixtures.draws_from_normal(proposal, (table.chance[stage] + shift) % 1.0, table.normal[stage])
    return points, mixtures.log_density(proposal, points)


def absorb(
    points: Array, log_likelihood: Array, log_weight: Array, num_components: int, previous: Array
) -> tuple[Mixture, Array, Array]:
    """Fit a mixture to weighted points at the highest exponent of the likelihood that they support. Namespace-agnostic.

    Parameters
    ----------
    points : (n, d)
    log_likelihood : (n,); anything not finite counts as -inf.
    log_weight : (n,) log of reference over proposal.
    previous : the exponent at which the proposal was fitted.

    Returns
    -------
    mixture, exponent in [0, 1], effective sample size / n at exponent one.
    """
    xp = namespace(points, log_likelihood)
    log_likelihood = xp.where(xp.isfinite(log_likelihood), log_likelihood, -xp.inf)
    log_weight = xp.where(xp.isfinite(log_weight), log_weight, -xp.inf)
    exponent = _temperature(log_likelihood, log_weight, previous)
    weights = _normalised(_tempered(log_likelihood, log_weight, exponent))
    fraction = _ess_fraction(_normalised(log_likelihood + log_weight))
    return mixtures.fit(points, weights, num_components), exponent, fraction


def log_mean(log_likelihood: Array, log_weight: Array, exponent: Array) -> Array:
    """Log of the mean weight at an exponent of the likelihood: the log normaliser there. Namespace-agnostic."""
    xp = namespace(log_likelihood, log_weight)
    log_likelihood = xp.where(xp.isfinite(log_likelihood), log_likelihood, -xp.inf)
    log_weight = xp.where(xp.isfinite(log_weight), log_weight, -xp.inf)
    tempered = _tempered(log_likelihood, log_weight, exponent)
    top = xp.max(tempered)
    top = xp.where(xp.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + xp.log(xp.mean(xp.exp(tempered - top)))


def _fall(before: Array, after: Array) -> Array:
    """before - after, zero where there was nothing to lose."""
    xp = namespace(before, after)
    something = before > -xp.inf
    return xp.where(something, xp.where(something, before, 0.0) - after, 0.0)


def _tempered(log_likelihood: Array, log_weight: Array, exponent: Array) -> Array:
    xp = namespace(log_likelihood, log_weight)
    possible = log_likelihood > -xp.inf
    return xp.where(possible, exponent * xp.where(possible, log_likelihood, 0.0) + log_weight, -xp.inf)


def _temperature(log_likelihood: Array, log_weight: Array, previous: Array) -> Array:
    """The largest exponent, from ``previous`` on, that keeps the effective sample size.

    That size need not fall with the exponent: between few points of the reference and many of a narrow proposal lies
    a gap. So candidates are tried from above, and the interval above the first that will do is then halved.
    """
    xp = namespace(log_likelihood, log_weight)

    def enough(log_exponent: Array) -> Array:
        return _ess_fraction(_normalised(_tempered(log_likelihood, log_weight, xp.exp(log_exponent)))) >= least

    def bisected(bounds: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        index, low, width = bounds[0], bounds[1], 0.5 * bounds[2]
        return index + 1.0, xp.where(enough(low + width), low + width, low), width

    least = _SMALLEST_ESS_FRACTION
    lowest = xp.log(xp.maximum(xp.asarray(previous, dtype=float), float(np.exp(_SMALLEST_LOG_EXPONENT))))
    spacing = -lowest / (_CANDIDATES - 1)

    def tried(state: tuple[Array, Array]) -> tuple[Array, Array]:
        index, found = state
        candidate = -spacing * index
        return index + 1.0, xp.where((found < lowest) & enough(candidate), candidate, found)

    nothing = (xp.zeros(()), lowest - 1.0)
    _, found = mixtures.while_loop(lambda s: (s[0] < _CANDIDATES) & (s[1] < lowest), tried, nothing)
    found = xp.maximum(found, lowest)
    bounds = (xp.zeros(()), found, xp.minimum(spacing, -found))
    _, low, _ = mixtures.while_loop(lambda s: (s[0] < _BISECTIONS) & (found < 0.0), bisected, bounds)
    return xp.where(found >= 0.0, 1.0, xp.exp(low))


def _normalised(log_weight: Array) -> Array:
    xp = namespace(log_weight)
    top = xp.max(log_weight)
    finite = xp.isfinite(top)
    weights = xp.where(finite, xp.exp(log_weight - xp.where(finite, top, 0.0)), 1.0)
    return weights / xp.sum(weights)


def _ess_fraction(weights: Array) -> Array:
    return 1.0 / (namespace(weights).sum(weights**2) * weights.shape[0])


def shifted(uniform: np.ndarray, shift: Array) -> Array:
    """Cranley-Patterson rotation: ``uniform`` (n, d) moved by ``shift`` (d,), modulo one."""
    return (uniform + shift) % 1.0
