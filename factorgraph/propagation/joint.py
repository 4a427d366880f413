"""Inner method ``joint``: the likelihood itself reads a shared variable, so the points of the integral follow phi.

At every phi Newton's method climbs in z from the conditional means of a mixture that was fitted to (phi, z) once; the
modes, the conditional mixture and the reference together propose the points, which are weighted by what they propose.
The same standardised points serve every phi, so log f is smooth in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import DatasetArrays, Signature, log_joint
from factorgraph.propagation.blocks import over_datasets
from factorgraph.propagation.kernel import kernel
from factorgraph.propagation.reference import Frame, joint_reference, reference_of
from factorgraph.propagation.weighted import (
    PrivatePosterior,
    half_mean,
    local_values,
    moments_of,
    pick,
    reliability,
    self_normalised,
)
from messages.array_namespace import namespace, solve_triangular
from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation, PointTable, adapt, shifted, unexplored
from searches.mixture import Mixture
from searches.newton import Modes, find_modes

Array = Any

_NUM_COMPONENTS = 5
NEWTON_STEPS = 8
_REFERENCE_FRACTION, _CONDITIONAL_FRACTION = 0.1, 0.3  # of the points; the others are about the modes


class Conditional(NamedTuple):
    """The rule of a dataset: components N(mean_z + gain (phi - mean_phi), cholesky cholesky^T), and the reference."""

    log_weight: Array  # (K,)
    mean_phi: Array  # (K, shared)
    mean_z: Array  # (K, local)
    gain: Array  # (K, local, shared)
    cholesky: Array  # (K, local, local)
    reference: Mixture
    shift: Array  # (1 + local,)
    ess_fraction: Array
    log_loss: Array
    temperature: Array
    num_calls: Array


def log_factor(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Conditional, phi: Array
) -> tuple[Array, Array]:
    """log f at ``phi`` (shared,), and the error of its integral."""
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
    log_density = jax.vmap(lambda z: log_joint(signature, phi, z, arrays))
    z, log_proposal = conditional_points(uniform, rule, phi, log_density)
    return z, log_density(z) - log_proposal


def conditional_points(
    uniform: Array, rule: Conditional, phi: Array, log_density: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Points (n, local) of the proposal given phi and their log density (n,).

    Parameters
    ----------
    uniform : (n, 1 + local) standardised points.
    log_density : (n, local) -> (n,), log L p(z | phi).
    """
    mean = conditional_means(rule, phi)
    proposal = proposal_at(rule, mean, find_modes(log_density, mean, rule.cholesky, NEWTON_STEPS))
    z = mixtures.draws(proposal, shifted(uniform, rule.shift))
    return z, mixtures.log_density(proposal, z)


def conditional_means(rule: Conditional, phi: Array) -> Array:
    """(..., K, local) at ``phi`` (..., shared). Namespace-agnostic."""
    xp = namespace(rule.gain, phi)
    return rule.mean_z + xp.einsum("kls,...ks->...kl", rule.gain, phi[..., None, :] - rule.mean_phi)


def proposal_at(rule: Conditional, mean: Array, modes: Modes) -> Mixture:
    """The proposal in z at one phi, where the conditional means are ``mean`` (K, local). Namespace-agnostic."""
    equal = namespace(mean).zeros_like(rule.log_weight) - float(np.log(rule.log_weight.shape[0]))
    about_modes = mixtures.widened(Mixture(equal, modes.mean, modes.cholesky))
    conditional = mixtures.widened(Mixture(rule.log_weight, mean, rule.cholesky))
    others = _REFERENCE_FRACTION + _CONDITIONAL_FRACTION
    return mixtures.combine(
        mixtures.combine(rule.reference, conditional, _REFERENCE_FRACTION / others), about_modes, others
    )


@kernel("signature", over=("arrays", "shift", "frame", "start"))
def explore(
    signature: Signature,
    arrays: DatasetArrays,
    reference_scales: Array,
    table: PointTable,
    shift: Array,
    frame: Frame,
    count: Array,
    start: Adaptation | None = None,
) -> Conditional:
    """Explore (phi, z) of the first ``count`` datasets of a block, phi around ``frame``, and keep the conditional
    proposals of z.

    Parameters
    ----------
    table : points of the adaptation, over the shared and the local variables.
    shift : (B, 1 + shared + local)
    frame : leading axis B.
    start : leading axis B; where the adaptation starts, or its outcome where something else explored the dataset.
    """

    def dataset(pack: tuple) -> Conditional:
        arrays, shift, frame, start = pack
        local = reference_of(signature, reference_scales)

        def relative(point: Array) -> Array:
            phi = frame.mean + frame.cholesky @ point[: signature.num_shared]
            z = point[signature.num_shared :]
            return log_joint(signature, phi, z, arrays) - mixtures.log_density(local, z[None])[0]

        reference = joint_reference(signature, reference_scales)
        start = unexplored(_NUM_COMPONENTS, reference.mean.shape[-1]) if start is None else start
        adaptation = adapt(jax.vmap(relative), reference, table, shift[0], start)
        return conditional_of(signature, adaptation, local, frame, shift)

    return over_datasets(dataset, (arrays, shift, frame, start), count, lanes=1)


def conditional_of(
    signature: Signature, adaptation: Adaptation, reference: Mixture, frame: Frame, shift: Array
) -> Conditional:
    """z given phi under a mixture fitted to (standardised phi, z). Namespace-agnostic."""
    shared, fitted = signature.num_shared, adaptation.fitted
    xp = namespace(fitted.mean, frame.mean)
    factor = fitted.cholesky  # lower: the leading block is phi's own factor, so the conditional reads off it
    own = solve_triangular(factor[:, :shared, :shared], xp.broadcast_to(np.eye(shared), (len(factor), shared, shared)))
    gain = factor[:, shared:, :shared] @ own @ solve_triangular(frame.cholesky, np.eye(shared))
    return Conditional(
        fitted.log_weight,
        frame.mean + fitted.mean[:, :shared] @ frame.cholesky.T,
        fitted.mean[:, shared:],
        gain,
        factor[:, shared:, shared:],
        reference,
        xp.concatenate([shift[:1], shift[1 + shared :]]),
        adaptation.ess_fraction,
        adaptation.log_loss,
        adaptation.temperature,
        adaptation.num_calls,
    )


def private_posterior(
    signature: Signature, uniform: Array, arrays: DatasetArrays, rule: Conditional, phi: Array, chance: Array
) -> PrivatePosterior:
    """Over the points of the conditional proposals, and one of them for each phi."""

    def at(phi: Array, chance: Array) -> tuple[Array, Array, Array]:
        z, log_weight = conditional_draws(signature, uniform, arrays, rule, phi)
        weights = self_normalised(log_weight)
        return z, weights, z[pick(weights, chance[0])]

    z, weights, picked = jax.vmap(at)(phi, chance)
    points = z.reshape(-1, signature.num_local)
    mean, variance = moments_of(signature, arrays, points, weights.reshape(-1) / phi.shape[0])
    theta = local_values(signature, arrays.local, points).reshape(*weights.shape, -1)
    half = weights.shape[1] // 2
    first, second = (half_mean(weights[:, part], theta[:, part]) for part in (slice(half), slice(half, None)))
    return PrivatePosterior(picked, mean, variance, 0.5 * (first - second), *reliability(weights))
