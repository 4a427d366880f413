"""Inner method ``population``: shared variables reach a dataset only through its parents' parameters.

The dataset is explored once; its weighted draws, the *nodes*, are then re-weighted by p(z | phi), with no further
likelihood call (Hogg, Myers & Bovy 2010).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import DatasetArrays, Signature, log_draws
from factorgraph.model.family import Flat
from factorgraph.propagation.blocks import over_datasets
from factorgraph.propagation.kernel import kernel
from factorgraph.propagation.reference import (
    explored_by_particles,
    log_base,
    log_interface_reference,
    log_likelihoods,
    log_likelihoods_at,
    reference_of,
)
from factorgraph.propagation.weighted import PrivatePosterior, local_values, pick, reliability, self_normalised
from messages.array_namespace import argsort
from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation, PointTable, adapt, proposal_of, shifted, unexplored
from searches.mixture import Mixture

Array = Any

NUM_COMPONENTS = 5  # of what is fitted to a dataset


class Nodes(NamedTuple):
    """The rule of a dataset: S weighted draws, and how well it was explored.

    ``likelihood`` (2, S): the mass of L b dz that each node stands for, b the `log_base`, by halves of the sample, in
    units of ``exp(log_scale)``; ``base`` (2, S): the mass of b dz, the control variate. ``place`` is where that mass
    lies on average, in what the parents' densities involve: there they are evaluated, since at any one point of a
    stratum the error is of first order in its width (a thousand datasets: 0.3 nats). ``log_reference`` (S,) is the log
    of the part r of b that stands in for the parents' densities: a node is re-weighted by p(z | phi) / r(z), which
    varies less than p itself. ``mean`` (2, S, local), by halves, and ``square`` (S, local) are moments of all points
    that a node stands for, in the user's coordinates less ``centre``, in units of ``unit``; in single precision, as
    they are most of the memory of a large plate. ``ess_fraction`` is that of the last stage of the adaptation (where
    the dataset was explored before: of the final sample), ``sample_fraction`` that of the final sample, ``num_calls``
    counts the points at which the likelihood was evaluated.
    """

    z: Array  # (S, local)
    place: Array  # (S, interface)
    log_reference: Array
    likelihood: Array
    base: Array
    log_scale: Array
    centre: Array  # (local,)
    unit: Array  # (local,)
    mean: Array
    square: Array
    ess_fraction: Array
    log_loss: Array
    temperature: Array
    sample_fraction: Array
    num_calls: Array


def log_factor(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Nodes, phi: Array
) -> tuple[Array, Array]:
    """log of sum a p less the control variate: log u - gamma log v, where v = sum b p estimates one.

    gamma is the regression coefficient of the terms of log u on those of log v: one for a dataset without
    information, for which log f is then constant exactly, and near zero for a sharp one.
    """
    log_p = log_parents(signature, arrays, rule, phi) - rule.log_reference
    mass = rule.likelihood[0] + rule.likelihood[1]
    base = rule.base[0] + rule.base[1]
    top = jnp.max(jnp.where(mass > 0, log_p, -jnp.inf))
    density = jnp.where(log_p > -jnp.inf, jnp.exp(jnp.minimum(log_p - top, 600.0)), 0.0)
    masses = jnp.concatenate([rule.likelihood, rule.base]) @ density
    half_u, half_v = 2.0 * masses[:2], 2.0 * masses[2:]
    total_u, total_v = jnp.sum(masses[:2]), jnp.sum(masses[2:])
    num = log_p.shape[0]
    product, square = jnp.stack([mass * base, base * base]) @ (density * density)
    covariance = product * num / (total_u * total_v) - 1.0
    variance = square * num / (total_v * total_v) - 1.0
    gamma = jnp.where(variance > 1e-12, jnp.clip(covariance / variance, 0.0, 1.0), 1.0)
    gamma = jnp.where(total_v > 0, gamma, 0.0)
    if any(isinstance(family, Flat) for _, family in signature.draws):  # not normalised: v does not estimate one
        gamma = jnp.zeros(())

    def estimate(u: Array, v: Array) -> Array:
        return jnp.log(u) - gamma * jnp.where(v > 0, jnp.log(v) + top, 0.0)

    value = estimate(total_u, total_v)
    first, second = estimate(half_u[0], half_v[0]), estimate(half_u[1], half_v[1])
    return rule.log_scale + top + value, 0.5 * (first - second)


def log_parents(signature: Signature, arrays: DatasetArrays, rule: Nodes, phi: Array) -> Array:
    """log p (S,) of what is drawn from a parent, at the nodes."""
    z = _moved(signature, rule.z.astype(float), rule.place)
    return jax.vmap(lambda z: log_draws(signature, phi, z, arrays, fixed=False) + jnp.zeros(()))(z)


def _moved(signature: Signature, z: Array, place: Array) -> Array:
    """``z`` (S, local) with the interface at ``place`` (S, interface)."""
    return z.at[:, np.array(signature.interface, int)].set(place)


@kernel("signature", "num_nodes", over=("arrays", "shift", "start"))
def explore(
    signature: Signature,
    arrays: DatasetArrays,
    reference_scales: Array,
    table: PointTable,
    more_uniform: Array,
    shift: Array,
    start: Adaptation,
    by_particles: Array,
    num_rounds: Array,
    count: Array,
    num_nodes: int,
) -> Nodes:
    """Explore the first ``count`` datasets of a block under the reference and keep their nodes.

    Parameters
    ----------
    arrays : leading axis B.
    reference_scales : (K,) the reference of what is drawn from a parent is an equal mixture of N(0, s^2) in its
        coordinate.
    table : points of the adaptation, over the local variables.
    more_uniform : (R, m, 1 + local) points of R rounds of the final sample, one sequence; then again, moved.
    shift : (B, 1 + local) uniform numbers of each dataset.
    start : leading axis B; where the adaptation starts, or its outcome where it is known.
    by_particles : whether sequential Monte Carlo goes before, and the adaptation starts at its end. One kernel for
        both, so that what is compiled does not depend on the data.
    num_rounds : integer; the final sample has ``num_rounds * m`` points, m where they are not compressed.
    num_nodes : of a dataset whose points are compressed.
    """

    def dataset(pack: tuple) -> Nodes:
        arrays, shift, start = pack
        reference = reference_of(signature, reference_scales)
        base = functools.partial(log_base, signature, arrays, reference_scales)

        def relative(z: Array) -> Array:
            return log_likelihoods(signature, arrays, z) + base(z) - mixtures.log_density(reference, z)

        adaptation = adapt(relative, reference, table, shift[0], start)
        proposal = proposal_of(reference, adaptation.fitted)
        centre = local_values(signature, arrays.local, adaptation.fitted.mean[:1])[0]

        def sample(index: Array) -> _Sample:
            cycle, place = index // more_uniform.shape[0], index % more_uniform.shape[0]
            z = mixtures.draws(proposal, shifted(more_uniform[place], shift + _ROUND_SHIFT * (cycle + 1)))
            log_mass = base(z) - mixtures.log_density(proposal, z) - np.log(z.shape[0])
            theta = local_values(signature, arrays.local, z)
            return _Sample(z, log_likelihoods_at(signature, arrays, theta), log_mass, theta - centre)

        if is_compressed(signature):
            pool = jax.lax.fori_loop(
                0, num_rounds, lambda i, pool: _pooled(signature, pool, sample(i)), _empty_pool(signature, num_nodes)
            )
            rounds = num_rounds.astype(float)
        else:
            pool, rounds = _whole(signature, sample(jnp.zeros((), int))), jnp.ones(())
        pool = pool._replace(likelihood=pool.likelihood / rounds, base=pool.base / rounds)
        fraction = pool.sums[0] ** 2 / jnp.maximum(pool.sums[1], 1e-300) / (rounds * more_uniform.shape[1])
        explored = jnp.where(start.temperature >= 1.0, fraction, adaptation.ess_fraction)
        num_calls = adaptation.num_calls + rounds.astype(int) * more_uniform.shape[1]
        found = adaptation._replace(ess_fraction=explored, num_calls=num_calls)
        return _nodes(signature, reference_scales, pool, centre, found, fraction)

    start = jax.lax.cond(
        by_particles,
        lambda: explored_by_particles(signature, arrays, reference_scales, shift, start, count),
        lambda: start,
    )
    return over_datasets(dataset, (arrays, shift, start), count, lanes=1)


_ROUND_SHIFT = 0.7548776662466927


class _Pool(NamedTuple):
    """Nodes in the making; see `Nodes`. ``sums`` (2,) are those of the points' weights and of their squares."""

    z: Array
    place: Array
    likelihood: Array
    base: Array
    log_scale: Array
    mean: Array
    square: Array
    sums: Array


def _empty_pool(signature: Signature, num_nodes: int) -> _Pool:
    none, mass = jnp.zeros((2, num_nodes, signature.num_local)), jnp.zeros((2, num_nodes))
    return _Pool(none[0], none[0, :, :1], mass, mass, -jnp.inf, none, none[0], jnp.zeros(2))


def is_compressed(signature: Signature) -> bool:
    """Whether the points of a dataset are compressed to nodes, strata along the one variable that a parent touches.

    In several variables nothing may stand for its neighbours (two drawn variables in 512 strata: a scatter 0.5 sds
    off); without any, the points are the private posterior itself.
    """
    return len(signature.interface) == 1


class _Sample(NamedTuple):
    """Points z (n, local), their log L (n,), the log mass of the base measure that each stands for (n,), and values
    less the centre (n, local)."""

    z: Array
    log_likelihood: Array
    log_base: Array
    deviation: Array


def _whole(signature: Signature, sample: _Sample) -> _Pool:
    """Every point a node."""
    halves = _halves(sample.z.shape[0])
    log_mass = jnp.where(jnp.isfinite(sample.log_likelihood), sample.log_likelihood + sample.log_base, -jnp.inf)
    top = jnp.max(log_mass)
    log_scale = jnp.where(jnp.isfinite(top), top, 0.0)
    weight = jnp.exp(log_mass - log_scale)
    deviation = jnp.where(jnp.isfinite(sample.deviation), sample.deviation, 0.0)
    return _Pool(
        sample.z,
        sample.z[:, np.array(signature.interface, int)],
        halves * weight,
        halves * jnp.exp(sample.log_base),
        log_scale,
        jnp.stack([deviation, deviation]),
        deviation**2,
        jnp.stack([jnp.sum(weight), jnp.sum(weight**2)]),
    )


def _halves(num: int) -> Array:
    """(2, num) ones in the first and in the second half."""
    first = np.arange(num) < num // 2
    return jnp.asarray(np.stack([first, ~first]).astype(float))


def _pooled(signature: Signature, pool: _Pool, sample: _Sample) -> _Pool:
    """Add points and compress: equal strata of (L + base) mass along the interface."""
    num_nodes, num_local = pool.z.shape
    z, log_likelihood, log_base, deviation = sample
    log_mass = jnp.where(jnp.isfinite(log_likelihood), log_likelihood + log_base, -jnp.inf)
    top = jnp.max(log_mass)
    log_scale = jnp.where(pool.log_scale > -jnp.inf, pool.log_scale, jnp.where(jnp.isfinite(top), top, 0.0))
    halves = _halves(z.shape[0])
    weight = jnp.exp(log_mass - log_scale)
    mass = jnp.concatenate([pool.likelihood, halves * weight], axis=1)
    base = jnp.concatenate([pool.base, halves * jnp.exp(log_base)], axis=1)
    points = jnp.concatenate([pool.z, z])
    place = jnp.concatenate([pool.place[:, 0], z[:, signature.interface[0]]])
    deviation = jnp.where(jnp.isfinite(deviation), deviation, 0.0).T
    mean = jnp.concatenate([jnp.moveaxis(pool.mean, 2, 0), jnp.stack([deviation, deviation], axis=1)], axis=2)
    square = jnp.concatenate([pool.square.T, deviation**2], axis=1)
    total = jnp.sum(mass, axis=0)
    measure = total / jnp.maximum(jnp.sum(total), 1e-300) + jnp.sum(base, axis=0) / jnp.sum(base)
    sums = (mass * mean).reshape(2 * num_local, -1)
    columns = jnp.concatenate([mass, base, measure[None], (measure * place)[None], sums, total * square])
    order = argsort(place)
    cumulative = _starting_at_zero(jnp.cumsum(columns[:, order], axis=1))
    edges = jnp.searchsorted(cumulative[4, 1:], np.arange(1, num_nodes) / num_nodes * cumulative[4, -1], side="left")
    edges = jnp.concatenate([jnp.zeros(1, int), edges, jnp.full(1, points.shape[0])])
    strata = cumulative[:, edges[1:]] - cumulative[:, edges[:-1]]
    masses = jnp.maximum(strata[:4], 0.0)
    pick = order[_middle(cumulative[0] + cumulative[1], edges)]
    sums = strata[6 : 6 + 2 * num_local].reshape(num_local, 2, num_nodes)
    return _Pool(
        points[pick],
        _ratio(strata[5], strata[4], place[pick])[:, None],
        masses[:2],
        masses[2:],
        log_scale,
        jnp.moveaxis(_ratio(sums, masses[:2], mean[:, :, pick]), 0, 2),
        _ratio(strata[6 + 2 * num_local :], masses[0] + masses[1], square[:, pick]).T,
        pool.sums + jnp.stack([jnp.sum(weight), jnp.sum(weight**2)]),
    )


def _middle(cumulative: Array, edges: Array) -> Array:
    """In each stratum (S,) the point at which half of its mass is reached; ``cumulative`` starts at zero."""
    middle = 0.5 * (cumulative[edges[:-1]] + cumulative[edges[1:]])
    pick = jnp.searchsorted(cumulative[1:], middle, side="left")
    pick = jnp.clip(pick, edges[:-1], jnp.maximum(edges[1:] - 1, edges[:-1]))
    return jnp.minimum(pick, cumulative.shape[0] - 2)


def _ratio(sums: Array, mass: Array, otherwise: Array) -> Array:
    """Means (..., S) from ``sums`` (..., S); where the mass is all rounding, ``otherwise``."""
    sound = mass > 1e-12 * jnp.sum(mass, axis=-1, keepdims=True)
    return jnp.where(sound, sums / jnp.maximum(mass, 1e-300), otherwise)


def _nodes(
    signature: Signature, scales: Array, pool: _Pool, centre: Array, found: Adaptation, fraction: Array
) -> Nodes:
    unit = jnp.sqrt(jnp.maximum(jnp.max(pool.square, axis=0), jnp.max(pool.mean**2, axis=(0, 1))))
    unit = jnp.where(unit > 0.0, unit, 1.0)
    return Nodes(
        pool.z.astype(np.float32),
        pool.place,
        log_interface_reference(signature, scales, _moved(signature, pool.z, pool.place)).astype(np.float32),
        pool.likelihood,
        pool.base,
        pool.log_scale,
        centre,
        unit,
        (pool.mean / unit).astype(np.float32),
        (pool.square / unit**2).astype(np.float32),
        found.ess_fraction,
        found.log_loss,
        found.temperature,
        fraction,
        found.num_calls,
    )


def _starting_at_zero(cumulative: Array) -> Array:
    return jnp.concatenate([jnp.zeros((cumulative.shape[0], 1)), cumulative], axis=1)


def fitted_to(rule: Nodes) -> Mixture:
    """A mixture fitted to the nodes of a dataset, from which it may be explored again; on the host."""
    mass = np.sum(rule.likelihood, axis=0)
    total = np.sum(mass)
    weights = mass / total if total > 0.0 else np.full(len(mass), 1.0 / len(mass))
    return mixtures.fit(np.asarray(rule.z, dtype=float), weights, NUM_COMPONENTS)


@kernel("signature", "num_nodes")
def nodes_from_points(
    signature: Signature,
    arrays: DatasetArrays,
    reference_scales: Array,
    z: Array,
    log_likelihood: Array,
    log_proposal: Array,
    num_nodes: int,
) -> Nodes:
    """Nodes of one dataset from points (n, local) that a host explored: log L (n,) and the proposal's log density
    (n,)."""
    log_mass = log_base(signature, arrays, reference_scales, z) - log_proposal - np.log(z.shape[0])
    weights = self_normalised(log_likelihood + log_mass)
    centre = local_values(signature, arrays.local, z[jnp.argmax(weights)][None])[0]
    deviation = local_values(signature, arrays.local, z) - centre
    sample = _Sample(z, log_likelihood, log_mass, deviation)
    if is_compressed(signature):
        pool = _pooled(signature, _empty_pool(signature, num_nodes), sample)
    else:
        pool = _whole(signature, sample)
    fraction = 1.0 / jnp.maximum(jnp.sum(weights**2), 1e-300) / z.shape[0]
    found = unexplored(NUM_COMPONENTS, signature.num_local)._replace(temperature=jnp.ones(()), ess_fraction=fraction)
    return _nodes(signature, reference_scales, pool, centre, found, fraction)


def private_posterior(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Nodes, phi: Array, chance: Array
) -> PrivatePosterior:
    """By the moments of all nodes, averaged over ``phi``, and one node for each phi."""
    log_mass = jnp.log(rule.likelihood[0] + rule.likelihood[1]) - rule.log_reference

    def at(phi: Array, chance: Array) -> tuple[Array, Array]:
        log_p = log_parents(signature, arrays, rule, phi)
        weights = self_normalised(log_p + log_mass)
        return weights, rule.z[pick(weights, chance[0])].astype(float)

    weights, picked = jax.vmap(at)(phi, chance)
    share = rule.likelihood / jnp.maximum(jnp.sum(rule.likelihood, axis=0), 1e-300)
    halves = share * jnp.mean(weights, axis=0)  # (2, S)
    first, second = jnp.einsum("hs,hsl->hl", halves, rule.mean) / jnp.maximum(
        jnp.sum(halves, axis=1, keepdims=True), 1e-300
    )
    mean = jnp.einsum("hs,hsl->l", halves, rule.mean)
    variance = jnp.sum(halves, axis=0) @ rule.square - mean**2
    return PrivatePosterior(
        picked,
        rule.centre + rule.unit * mean,
        rule.unit**2 * jnp.maximum(variance, 0.0),
        0.5 * rule.unit * (first - second),
        *reliability(weights),
    )
