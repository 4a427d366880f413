"""Inner methods: the locals of a dataset are integrated out, log f(phi) = log of the integral of L p(z | phi) dz.

Four methods share one face, the kernel `log_factors`:

``direct``      there is nothing to integrate;
``analytic``    the joint density is Gaussian in z for every phi: one Newton step is exact;
``population``  shared variables reach the dataset only through its parents' parameters: the dataset is explored once,
                its weighted draws (*nodes*) are re-weighted by p(z | phi), with no further likelihood call
                (Hogg, Myers & Bovy 2010);
``joint``       the likelihood itself reads a shared variable: the same standardised points follow phi through a
                conditional mixture proposal, with importance weights.

A *rule* is what a method keeps of a dataset; it is frozen while the graph is solved, so that log f is a smooth,
deterministic function of phi. Next to log f the kernel returns half the difference of its two half-sample estimates:
the error of the integral.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import (
    LOG_SQRT_2PI,
    DatasetArrays,
    Signature,
    log_draws,
    log_joint,
    log_likelihood,
    log_whitened,
    values_of,
)
from factorgraph.propagation.blocks import over_datasets
from messages.array_namespace import argsort, namespace, ndtri
from searches import mixture as mixtures
from searches.adaptive_importance import adapt, proposal_of, shifted
from searches.mixture import Mixture

Array = Any

_NUM_COMPONENTS = 5
_MAX_STAGES = 48  # each may narrow the points by half; most datasets need four


class Nodes(NamedTuple):
    """Rule of ``population``: S weighted draws of a dataset, and how well it was explored.

    ``likelihood`` (2, S): the mass of L r dz that each node stands for, r the reference density, by halves of the
    sample, in units of ``exp(log_scale)``; ``base`` (2, S): the mass of r dz, the control variate. ``log_reference``
    (S,) is log r of what is drawn from a parent: a node is re-weighted by p(z | phi) / r(z), which varies less than p
    itself. ``mean`` (2, S, local), by halves, and ``square`` (S, local) are moments of all points that a node stands
    for, in the user's coordinates less ``centre``.
    """

    z: Array  # (S, local)
    log_reference: Array
    likelihood: Array
    base: Array
    log_scale: Array
    centre: Array  # (local,)
    mean: Array
    square: Array
    ess_fraction: Array
    temperature: Array


class Conditional(NamedTuple):
    """Rule of ``joint``: components N(mean_z + gain (phi - mean_phi), cholesky cholesky^T)."""

    log_weight: Array  # (K,)
    mean_phi: Array  # (K, shared)
    mean_z: Array  # (K, local)
    gain: Array  # (K, local, shared)
    cholesky: Array  # (K, local, local)
    shift: Array  # (1 + local,)
    ess_fraction: Array
    temperature: Array


class Centre(NamedTuple):
    """Rule of ``analytic``: where the Newton step starts."""

    z: Array  # (local,)


class Frame(NamedTuple):
    """Where the shared variables are thought to be when a dataset is explored: phi = mean + cholesky N(0, 1)."""

    mean: Array  # (shared,)
    cholesky: Array  # (shared, shared)


# --- log f ---


@functools.partial(jax.jit, static_argnames=("signature", "method"))
def log_factors(
    signature: Signature, method: str, arrays: DatasetArrays, rule: Any, uniform: Array, phi: Array, count: Array
) -> tuple[Array, Array]:
    """log f of the first ``count`` datasets of a block, each at its own points.

    Parameters
    ----------
    arrays, rule : leading axis B.
    uniform : (points, 1 + local) standardised points of ``joint``; unused otherwise.
    phi : (B, n, shared)

    Returns
    -------
    log f (B, n), -inf where not finite; half the difference of the two half-sample estimates (B, n).
    """
    one = functools.partial(_METHODS[method], signature, uniform)

    def dataset(pack: tuple) -> tuple[Array, Array]:
        arrays, rule, points = pack
        value, error = jax.vmap(lambda point: one(arrays, rule, point))(points)
        finite = jnp.isfinite(value)
        return jnp.where(finite, value, -jnp.inf), jnp.where(finite & jnp.isfinite(error), error, 0.0)

    return over_datasets(dataset, (arrays, rule, phi), count)


def _direct(signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Any, phi: Array) -> tuple[Array, Array]:
    return log_joint(signature, phi, jnp.zeros(0), arrays), jnp.zeros(())


def _analytic(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Centre, phi: Array
) -> tuple[Array, Array]:
    mode, factor = conditional_gaussian(signature, arrays, rule, phi)
    value, slope = jax.value_and_grad(lambda z: log_joint(signature, phi, z, arrays))(mode)
    step = jax.scipy.linalg.solve_triangular(factor, slope, lower=True)
    log_volume = signature.num_local * LOG_SQRT_2PI - jnp.sum(jnp.log(jnp.diag(factor)))
    return value + 0.5 * step @ step + log_volume, jnp.zeros(())


def conditional_gaussian(signature: Signature, arrays: DatasetArrays, rule: Centre, phi: Array) -> tuple[Array, Array]:
    """Mode (local,) and Cholesky factor of the precision of z given phi, where log L p(z | phi) is quadratic in z."""

    def function(z: Array) -> Array:
        return log_joint(signature, phi, z, arrays)

    slope, curvature = jax.grad(function)(rule.z), -jax.hessian(function)(rule.z)
    factor = jnp.linalg.cholesky(curvature)
    return rule.z + jax.scipy.linalg.cho_solve((factor, True), slope), factor


def _population(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Nodes, phi: Array
) -> tuple[Array, Array]:
    """log of sum a p less the control variate: log u - gamma log v, where v = sum b p estimates one.

    gamma is the regression coefficient of the terms of log u on those of log v: one for a dataset without
    information, for which log f is then constant exactly, and near zero for a sharp one.
    """
    log_p = jax.vmap(lambda z: log_draws(signature, phi, z, arrays))(rule.z) - rule.log_reference
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

    def estimate(u: Array, v: Array) -> Array:
        return jnp.log(u) - gamma * jnp.where(v > 0, jnp.log(v) + top, 0.0)

    value = estimate(total_u, total_v)
    first, second = estimate(half_u[0], half_v[0]), estimate(half_u[1], half_v[1])
    return rule.log_scale + top + value, 0.5 * (first - second)


def _joint(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Conditional, phi: Array
) -> tuple[Array, Array]:
    _, log_weight = conditional_draws(signature, uniform, arrays, rule, phi)
    log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf)
    half = uniform.shape[0] // 2
    first = jax.scipy.special.logsumexp(log_weight[:half]) - np.log(half)
    second = jax.scipy.special.logsumexp(log_weight[half:]) - np.log(uniform.shape[0] - half)
    value = jax.scipy.special.logsumexp(log_weight) - np.log(uniform.shape[0])
    return value, 0.5 * (first - second)


def conditional_draws(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Conditional, phi: Array
) -> tuple[Array, Array]:
    """Points z (points, local) of the proposal given phi, and log [ L p(z | phi) / proposal ] (points,)."""
    z, log_proposal = conditional_points(uniform, rule, phi)
    values = jax.vmap(lambda z: log_joint(signature, phi, z, arrays))(z)
    return z, values - log_proposal


def conditional_points(uniform: Array, rule: Conditional, phi: Array) -> tuple[Array, Array]:
    """Points of the conditional proposal and their log density; no likelihood. Namespace-agnostic."""
    mean = rule.mean_z + namespace(rule.gain, phi).einsum("kls,ks->kl", rule.gain, phi - rule.mean_phi)
    proposal = Mixture(rule.log_weight, mean, rule.cholesky)
    z = mixtures.draws(proposal, shifted(uniform, rule.shift))
    return z, mixtures.log_density(proposal, z)


_METHODS: dict[str, Any] = {"direct": _direct, "analytic": _analytic, "population": _population, "joint": _joint}


# --- exploring a dataset once ---


@functools.partial(jax.jit, static_argnames=("signature", "num_nodes"))
def explore_population(
    signature: Signature,
    arrays: DatasetArrays,
    reference_scales: Array,
    uniform: Array,
    more_uniform: Array,
    shift: Array,
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
    uniform : (n, 1 + local) points of the adaptation.
    more_uniform : (m, 1 + local) points of one round of the final sample.
    shift : (B, 1 + local) uniform numbers of each dataset.
    num_rounds : integer; the final sample has ``num_rounds * m`` points.
    """

    def dataset(pack: tuple) -> Nodes:
        arrays, shift = pack
        reference = reference_of(signature, reference_scales)
        likelihood = functools.partial(_likelihoods, signature, arrays)
        adaptation = adapt(
            likelihood, reference, shifted(uniform, shift), num_components=_NUM_COMPONENTS, max_stages=_MAX_STAGES
        )
        proposal = proposal_of(reference, adaptation.fitted)
        centre = _local_values(signature, arrays.local, adaptation.fitted.mean[:1])[0]

        def one_round(index: Array, pool: _Pool) -> _Pool:
            z = mixtures.draws(proposal, shifted(more_uniform, shift + _ROUND_SHIFT * (index + 1)))
            log_base = mixtures.log_density(reference, z) - mixtures.log_density(proposal, z) - np.log(z.shape[0])
            deviation = _local_values(signature, arrays.local, z) - centre
            return _pooled(signature, pool, z, likelihood(z), log_base, deviation)

        pool = jax.lax.fori_loop(0, num_rounds, one_round, _empty_pool(signature, num_nodes))
        rounds = num_rounds.astype(float)
        pool = pool._replace(likelihood=pool.likelihood / rounds, base=pool.base / rounds)
        return _nodes(signature, reference, pool, centre, adaptation.ess_fraction, adaptation.temperature)

    return over_datasets(dataset, (arrays, shift), count)


_ROUND_SHIFT = 0.7548776662466927


def reference_of(signature: Signature, scales: Array) -> Mixture:
    """The reference density of z: N(0, 1) where there is a whitened prior, N(0, s^2) mixed over s elsewhere."""
    xp = namespace(scales)
    if len(signature.whitened) == signature.num_local:
        scales = xp.ones(1)
    own = np.zeros(signature.num_local, dtype=bool)
    own[list(signature.whitened)] = True
    widths = xp.where(own[None, :], 1.0, scales[:, None])
    num = widths.shape[0]
    return Mixture(
        xp.full(num, -np.log(num)),
        xp.zeros((num, signature.num_local)),
        widths[:, :, None] * np.eye(signature.num_local),
    )


def _likelihoods(signature: Signature, arrays: DatasetArrays, z: Array) -> Array:
    """log L (n,) of a dataset whose likelihood reads no shared variable."""
    phi = jnp.zeros(signature.num_shared)
    constants = arrays.constants[: signature.num_constants]
    return jax.vmap(lambda z: log_likelihood(signature, values_of(signature, phi, z, arrays), constants))(z)


class _Pool(NamedTuple):
    """Nodes in the making; see `Nodes`."""

    z: Array
    likelihood: Array
    base: Array
    log_scale: Array
    mean: Array
    square: Array


def _empty_pool(signature: Signature, num_nodes: int) -> _Pool:
    none, mass = jnp.zeros((2, num_nodes, signature.num_local)), jnp.zeros((2, num_nodes))
    return _Pool(none[0], mass, mass, -jnp.inf, none, none[0])


def _pooled(
    signature: Signature, pool: _Pool, z: Array, log_likelihood: Array, log_base: Array, deviation: Array
) -> _Pool:
    """Add points z (n, local) that stand for exp(log_base) of the reference each, and compress: equal strata of
    (L + base) mass along the interface."""
    num_nodes, num_local = pool.z.shape
    log_mass = jnp.where(jnp.isfinite(log_likelihood), log_likelihood + log_base, -jnp.inf)
    top = jnp.max(log_mass)
    log_scale = jnp.where(pool.log_scale > -jnp.inf, pool.log_scale, jnp.where(jnp.isfinite(top), top, 0.0))
    half = jnp.arange(z.shape[0]) < z.shape[0] // 2
    halves = jnp.stack([half, ~half]).astype(float)
    mass = jnp.concatenate([pool.likelihood, halves * jnp.exp(log_mass - log_scale)], axis=1)
    base = jnp.concatenate([pool.base, halves * jnp.exp(log_base)], axis=1)
    points = jnp.concatenate([pool.z, z])
    deviation = jnp.where(jnp.isfinite(deviation), deviation, 0.0)
    mean = jnp.concatenate([pool.mean, jnp.stack([deviation, deviation])], axis=1)
    square = jnp.concatenate([pool.square, deviation**2])
    order = _along(points[:, jnp.array(signature.interface, dtype=int)])
    points, mass, base, mean, square = points[order], mass[:, order], base[:, order], mean[:, order], square[order]
    total = jnp.sum(mass, axis=0)
    measure = total / jnp.maximum(jnp.sum(total), 1e-300) + jnp.sum(base, axis=0) / jnp.sum(base)
    edges = jnp.searchsorted(jnp.cumsum(measure), np.arange(1, num_nodes) / num_nodes * jnp.sum(measure), side="left")
    edges = jnp.concatenate([jnp.zeros(1, int), edges, jnp.full(1, points.shape[0])])
    sums = [mass[half] * mean[half].T for half in range(2)]
    columns = jnp.concatenate([mass, base, *sums, total * square.T])
    cumulative = _starting_at_zero(jnp.cumsum(columns, axis=1))
    strata = cumulative[:, edges[1:]] - cumulative[:, edges[:-1]]
    masses = jnp.maximum(strata[:4], 0.0)
    likelihood_mass = cumulative[0] + cumulative[1]
    middle = 0.5 * (likelihood_mass[edges[:-1]] + likelihood_mass[edges[1:]])
    pick = jnp.searchsorted(likelihood_mass[1:], middle, side="left")
    pick = jnp.clip(pick, edges[:-1], jnp.maximum(edges[1:] - 1, edges[:-1]))
    pick = jnp.minimum(pick, points.shape[0] - 1)
    first, second, squares = (strata[4 + i * num_local : 4 + (i + 1) * num_local].T for i in range(3))
    mean = jnp.stack([_ratio(sums, masses[half], mean[half, pick]) for half, sums in enumerate((first, second))])
    square = _ratio(squares, masses[0] + masses[1], square[pick])
    return _Pool(points[pick], masses[:2], masses[2:], log_scale, mean, square)


def _ratio(sums: Array, mass: Array, otherwise: Array) -> Array:
    """Means (S, local) from ``sums`` (S, local); where the mass (S,) is all rounding, ``otherwise``."""
    sound = mass > 1e-12 * jnp.sum(mass)
    return jnp.where(sound[:, None], sums / jnp.maximum(mass, 1e-300)[:, None], otherwise)


def _nodes(
    signature: Signature, reference: Mixture, pool: _Pool, centre: Array, ess_fraction: Array, temperature: Array
) -> Nodes:
    log_reference = mixtures.log_density(reference, pool.z) - jax.vmap(lambda z: log_whitened(signature, z))(pool.z)
    return Nodes(
        pool.z,
        log_reference,
        pool.likelihood,
        pool.base,
        pool.log_scale,
        centre,
        pool.mean,
        pool.square,
        ess_fraction,
        temperature,
    )


def _local_values(signature: Signature, local: Array, z: Array) -> Array:
    """Points (n, local) in the user's coordinates; ``local`` (local, 4)."""
    roles = sorted((role for role in signature.roles if not role.shared), key=lambda role: role.position)
    return jnp.stack([role.value(z[:, role.position], local[role.position]) for role in roles], axis=-1)


def _starting_at_zero(cumulative: Array) -> Array:
    return jnp.concatenate([jnp.zeros((cumulative.shape[0], 1)), cumulative], axis=1)


def _along(points: Array) -> Array:
    """Order (n,) of points (n, d) along a line that keeps neighbours together: sorted in 1-D, a Morton curve beyond."""
    dimension = points.shape[-1]
    if dimension <= 1:
        return argsort(points[:, 0]) if dimension else jnp.arange(points.shape[0])
    bits = max(1, min(10, 30 // dimension))
    rank = jnp.stack([argsort(argsort(points[:, i])) for i in range(dimension)], axis=-1)
    level = (rank * (2**bits) // points.shape[0]).astype(jnp.int64)
    code = jnp.zeros(points.shape[0], dtype=jnp.int64)
    for bit in range(bits):
        for i in range(dimension):
            code = code | (((level[:, i] >> bit) & 1) << (bit * dimension + i))
    return argsort(code)


@functools.partial(jax.jit, static_argnames=("signature",))
def explore_joint(
    signature: Signature,
    arrays: DatasetArrays,
    reference_scales: Array,
    uniform: Array,
    shift: Array,
    frame: Frame,
    count: Array,
) -> Conditional:
    """Explore (phi, z) of the first ``count`` datasets of a block, phi around ``frame``, and keep the conditional
    proposals of z.

    Parameters
    ----------
    uniform : (n, 1 + shared + local)
    shift : (B, 1 + shared + local)
    frame : leading axis B.
    """

    def dataset(pack: tuple) -> Conditional:
        arrays, shift, frame = pack
        reference = joint_reference(signature, reference_scales)
        local = reference_of(signature, reference_scales)

        def relative(point: Array) -> Array:
            phi = frame.mean + frame.cholesky @ point[: signature.num_shared]
            z = point[signature.num_shared :]
            return log_joint(signature, phi, z, arrays) - mixtures.log_density(local, z[None])[0]

        adaptation = adapt(
            jax.vmap(relative),
            reference,
            shifted(uniform, shift),
            num_components=_NUM_COMPONENTS,
            max_stages=_MAX_STAGES,
        )
        return conditional_of(signature, adaptation, local, frame, shift)

    return over_datasets(dataset, (arrays, shift, frame), count)


def joint_reference(signature: Signature, scales: Array) -> Mixture:
    """The reference density of (standardised phi, z): N(0, 1) for phi, `reference_of` for z."""
    xp = namespace(scales)
    local = reference_of(signature, scales)
    num, size = local.num_components, signature.num_shared + signature.num_local
    widths = xp.concatenate(
        [xp.ones((num, signature.num_shared)), xp.diagonal(local.cholesky, axis1=1, axis2=2)], axis=1
    )
    return Mixture(local.log_weight, xp.zeros((num, size)), widths[:, :, None] * np.eye(size))


def conditional_of(signature: Signature, adaptation: Any, local: Mixture, frame: Frame, shift: Array) -> Conditional:
    """z given phi under the fitted mixture, widened, with the reference as its defensive part."""
    shared = signature.num_shared
    fitted = adaptation.fitted
    factor = fitted.cholesky  # lower: the leading block is phi's own factor, so the conditional reads off it
    inverse_frame = jax.scipy.linalg.solve_triangular(frame.cholesky, jnp.eye(shared), lower=True)
    inverse = jax.vmap(lambda m: jax.scipy.linalg.solve_triangular(m, jnp.eye(shared), lower=True))(
        factor[:, :shared, :shared]
    )
    gain = factor[:, shared:, :shared] @ inverse @ inverse_frame
    mean_phi = frame.mean + fitted.mean[:, :shared] @ frame.cholesky.T
    conditional = Mixture(fitted.log_weight, fitted.mean[:, shared:], factor[:, shared:, shared:])
    proposal = proposal_of(local, conditional)
    num = local.num_components
    gain = jnp.concatenate([jnp.zeros((num, *gain.shape[1:])), gain, gain])
    mean_phi = jnp.concatenate([jnp.zeros((num, shared)), mean_phi, mean_phi])
    return Conditional(
        proposal.log_weight,
        mean_phi,
        proposal.mean,
        gain,
        proposal.cholesky,
        jnp.concatenate([shift[:1], shift[1 + shared :]]),
        adaptation.ess_fraction,
        adaptation.temperature,
    )


@functools.partial(jax.jit, static_argnames=("signature", "num_nodes"))
def nodes_from_points(
    signature: Signature,
    local: Array,
    reference_scales: Array,
    z: Array,
    log_likelihood: Array,
    log_proposal: Array,
    num_nodes: int,
) -> Nodes:
    """Nodes of one dataset from points (n, local) that a host explored: log L (n,) and the proposal's log density
    (n,); ``local`` (local, 4) coordinates of the local variables."""
    reference = reference_of(signature, reference_scales)
    log_base = mixtures.log_density(reference, z) - log_proposal - np.log(z.shape[0])
    weights = _self_normalised(log_likelihood + log_base)
    centre = _local_values(signature, local, z[jnp.argmax(weights)][None])[0]
    deviation = _local_values(signature, local, z) - centre
    pool = _pooled(signature, _empty_pool(signature, num_nodes), z, log_likelihood, log_base, deviation)
    ess_fraction = 1.0 / jnp.maximum(jnp.sum(weights**2), 1e-300) / z.shape[0]
    return _nodes(signature, reference, pool, centre, ess_fraction, jnp.ones(()))


# --- the posterior of the local variables ---


class LocalPosterior(NamedTuple):
    """Of each dataset: equal-weight draws (M, local), mean (local,) and standard deviation (local,), in the user's
    coordinates, and the standard error (local,) of the mean that the points stand for.

    The moments average p(z | phi, data) over the M draws of phi with all its points, so they are sharper than the
    draws. The error is half the difference of two half-samples.
    """

    draws: Array
    mean: Array
    standard_deviation: Array
    error: Array


@functools.partial(jax.jit, static_argnames=("signature", "method"))
def local_posteriors(
    signature: Signature,
    method: str,
    arrays: DatasetArrays,
    rule: Any,
    uniform: Array,
    phi: Array,
    chance: Array,
    count: Array,
) -> LocalPosterior:
    """p(z | data) = mean over phi of p(z | phi, data), for the first ``count`` datasets of a block.

    Parameters
    ----------
    phi : (B, M, shared) equal-weight draws of the shared variables' posterior.
    chance : (B, M, 1 + local) uniform numbers that pick a draw for each phi.
    """

    def dataset(pack: tuple) -> LocalPosterior:
        arrays, rule, points, chance = pack
        mean, variance, error, picked = _CONDITIONALS[method](signature, uniform, arrays, rule, points, chance)
        return LocalPosterior(_local_values(signature, arrays.local, picked), mean, jnp.sqrt(variance), error)

    return over_datasets(dataset, (arrays, rule, phi, chance), count)


def _moments_of(signature: Signature, arrays: DatasetArrays, z: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and variance (local,) in the user's coordinates of weighted points (n, local)."""
    theta = _local_values(signature, arrays.local, z)
    mean = weights @ theta
    return mean, weights @ (theta - mean) ** 2


def _analytic_conditional(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Centre, phi: Array, chance: Array
) -> tuple[Array, Array, Array, Array]:
    """Mean, variance and error over all of ``phi`` (by cubature points, which carry two moments exactly), and a draw
    for each phi."""
    num = signature.num_local

    def at(phi: Array, chance: Array) -> tuple[Array, Array]:
        mode, factor = conditional_gaussian(signature, arrays, rule, phi)
        spread = jax.scipy.linalg.solve_triangular(factor.T, jnp.eye(num), lower=False)
        steps = np.sqrt(num) * jnp.concatenate([spread.T, -spread.T])
        return mode + steps, mode + spread @ ndtri(chance[1:])

    z, picked = jax.vmap(at)(phi, chance)
    points = z.reshape(-1, num)
    mean, variance = _moments_of(signature, arrays, points, jnp.full(len(points), 1.0 / len(points)))
    return mean, variance, jnp.zeros_like(mean), picked


def _population_conditional(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Nodes, phi: Array, chance: Array
) -> tuple[Array, Array, Array, Array]:
    """Mean, variance and error by the moments of all nodes, averaged over ``phi``, and one node for each phi."""
    log_mass = jnp.log(rule.likelihood[0] + rule.likelihood[1]) - rule.log_reference

    def at(phi: Array, chance: Array) -> tuple[Array, Array]:
        log_p = jax.vmap(lambda z: log_draws(signature, phi, z, arrays))(rule.z)
        weights = _self_normalised(log_p + log_mass)
        return weights, rule.z[_pick(weights, chance[0])]

    weights, picked = jax.vmap(at)(phi, chance)
    share = rule.likelihood / jnp.maximum(jnp.sum(rule.likelihood, axis=0), 1e-300)
    halves = share * jnp.mean(weights, axis=0)  # (2, S)
    first, second = jnp.einsum("hs,hsl->hl", halves, rule.mean) / jnp.maximum(
        jnp.sum(halves, axis=1, keepdims=True), 1e-300
    )
    mean = jnp.einsum("hs,hsl->l", halves, rule.mean)
    variance = jnp.sum(halves, axis=0) @ rule.square - mean**2
    return rule.centre + mean, jnp.maximum(variance, 0.0), 0.5 * jnp.abs(first - second), picked


def _joint_conditional(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Conditional, phi: Array, chance: Array
) -> tuple[Array, Array, Array, Array]:
    """Mean, variance and error over the points of the conditional proposals, and one of them for each phi."""

    def at(phi: Array, chance: Array) -> tuple[Array, Array, Array]:
        z, log_weight = conditional_draws(signature, uniform, arrays, rule, phi)
        weights = _self_normalised(log_weight)
        return z, weights, z[_pick(weights, chance[0])]

    z, weights, picked = jax.vmap(at)(phi, chance)
    points = z.reshape(-1, signature.num_local)
    mean, variance = _moments_of(signature, arrays, points, weights.reshape(-1) / phi.shape[0])
    theta = _local_values(signature, arrays.local, points).reshape(*weights.shape, -1)
    half = weights.shape[1] // 2
    first, second = (_half_mean(weights[:, part], theta[:, part]) for part in (slice(half), slice(half, None)))
    return mean, variance, 0.5 * jnp.abs(first - second), picked


def _half_mean(weights: Array, theta: Array) -> Array:
    """Mean (local,) of theta (M, n, local) under weights (M, n) that are normalised for each of the M."""
    weights = weights / jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-300)
    return jnp.einsum("mn,mnl->l", weights, theta) / weights.shape[0]


def _self_normalised(log_weight: Array) -> Array:
    log_weight = jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf)
    top = jnp.max(log_weight)
    weights = jnp.exp(log_weight - jnp.where(jnp.isfinite(top), top, 0.0))
    return weights / jnp.maximum(jnp.sum(weights), 1e-300)


def _pick(weights: Array, chance: Array) -> Array:
    return jnp.minimum(jnp.searchsorted(jnp.cumsum(weights), chance), weights.shape[0] - 1)


_CONDITIONALS: dict[str, Any] = {
    "analytic": _analytic_conditional,
    "population": _population_conditional,
    "joint": _joint_conditional,
}


# --- what a dataset looks like ---


@functools.partial(jax.jit, static_argnames=("signature",))
def third_differences(
    signature: Signature, arrays: DatasetArrays, phi: Array, start: Array, step: Array, count: Array
) -> Array:
    """Largest third difference of log L p(z | phi) along lines in z, relative to its size; (B,). Zero where Gaussian
    in z, inf where finite at some points only, nan where at none.

    Parameters
    ----------
    phi : (B, lines, shared)
    start, step : (lines, local)
    """

    def dataset(pack: tuple[DatasetArrays, Array]) -> Array:
        arrays, phi = pack

        def line(phi: Array, start: Array, step: Array) -> tuple[Array, Array]:
            values = jax.vmap(lambda k: log_joint(signature, phi, start + k * step, arrays))(jnp.arange(5.0))
            third = values[:-3] - 3.0 * values[1:-2] + 3.0 * values[2:-1] - values[3:]
            return jnp.max(jnp.abs(third)) / (1.0 + jnp.max(jnp.abs(values))), jnp.isfinite(values)

        found, finite = jax.vmap(line)(phi, start, step)
        partial = jnp.where(jnp.any(finite), jnp.inf, jnp.nan)
        return jnp.where(jnp.all(finite), jnp.max(found), partial)

    return over_datasets(dataset, (arrays, phi), count)


@functools.partial(jax.jit, static_argnames=("signature", "likelihood_only"))
def log_densities(signature: Signature, arrays: DatasetArrays, phi: Array, z: Array, likelihood_only: bool) -> Array:
    """log L, or log L p(z | phi), of one dataset at ``phi`` (n, shared) and ``z`` (n, local); (n,)."""
    if likelihood_only:
        return _likelihoods(signature, arrays, z)
    return jax.vmap(lambda phi, z: log_joint(signature, phi, z, arrays))(phi, z)


@dataclass(frozen=True, slots=True)
class DatasetTarget:
    """What a search explores of one dataset, as a hashable callable: its density relative to N(0, I) in x = (phi, z).

    ``data`` is ``(arrays, frame)``; x holds phi, standardised by the frame, only where the likelihood reads it.
    """

    signature: Signature
    joint: bool

    def __call__(self, x: Array, data: tuple[DatasetArrays, Frame]) -> Array:
        arrays, frame = data
        signature = self.signature
        if not self.joint:
            phi = jnp.zeros(signature.num_shared)
            constants = arrays.constants[: signature.num_constants]
            return log_likelihood(signature, values_of(signature, phi, x, arrays), constants)
        phi = frame.mean + frame.cholesky @ x[: signature.num_shared]
        z = x[signature.num_shared :]
        return log_joint(signature, phi, z, arrays) + 0.5 * z @ z + signature.num_local * LOG_SQRT_2PI
