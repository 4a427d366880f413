"""What a dataset is explored under: a reference density of its locals, and a frame for its shared variables."""

from __future__ import annotations

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
from factorgraph.propagation.searched import FIT_STEPS, FLOOR
from factorgraph.propagation.weighted import local_values
from messages.array_namespace import namespace
from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation
from searches.mixture import Mixture
from searches.smc import tempered_smc
from searches.status import Status

Array = Any

_PARTICLES = 2048


class Frame(NamedTuple):
    """Where the shared variables are thought to be when a dataset is explored: phi = mean + cholesky N(0, 1)."""

    mean: Array  # (shared,)
    cholesky: Array  # (shared, shared)


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


def joint_reference(signature: Signature, scales: Array) -> Mixture:
    """The reference density of (standardised phi, z): N(0, 1) for phi, `reference_of` for z."""
    xp = namespace(scales)
    local = reference_of(signature, scales)
    num, size = local.num_components, signature.num_shared + signature.num_local
    widths = xp.concatenate(
        [xp.ones((num, signature.num_shared)), xp.diagonal(local.cholesky, axis1=1, axis2=2)], axis=1
    )
    return Mixture(local.log_weight, xp.zeros((num, size)), widths[:, :, None] * np.eye(size))


def interface_reference(signature: Signature, scales: Array) -> Mixture:
    """The marginal of `reference_of` in what the parents' densities involve."""
    whole, kept = reference_of(signature, scales), list(signature.interface)
    return Mixture(whole.log_weight, whole.mean[:, kept], whole.cholesky[:, kept][:, :, kept])


def log_interface_reference(signature: Signature, scales: Array, z: Array) -> Array:
    """`interface_reference` (n,) at points (n, local)."""
    if not signature.interface:
        return namespace(z).zeros(z.shape[0])
    return mixtures.log_density(interface_reference(signature, scales), z[:, list(signature.interface)])


def log_base(signature: Signature, arrays: DatasetArrays, scales: Array, z: Array) -> Array:
    """Log density (n,) at points (n, local): the priors of what no parent's density involves, the reference of the
    rest. Namespace-agnostic."""
    phi = namespace(z).zeros((signature.num_shared, 1))
    own = log_draws(signature, phi, z.T, arrays, fixed=True) + log_whitened(signature, z.T)
    return log_interface_reference(signature, scales, z) + own


def log_likelihoods(signature: Signature, arrays: DatasetArrays, z: Array) -> Array:
    """log L (n,) at points (n, local) of a dataset whose likelihood reads no shared variable."""
    return log_likelihoods_at(signature, arrays, local_values(signature, arrays.local, z))


def log_likelihoods_at(signature: Signature, arrays: DatasetArrays, theta: Array) -> Array:
    """`log_likelihoods` at points (n, local) in the user's coordinates."""
    constants = arrays.constants[: signature.num_constants]
    unread = jnp.zeros(())

    def one(theta: Array) -> Array:
        values = [
            role.value(unread, arrays.shared[role.position]) if role.shared else theta[role.position]
            for role in signature.roles
        ]
        return log_likelihood(signature, values, constants)

    return jax.vmap(one)(theta)


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
            own = log_draws(signature, phi, x, arrays, fixed=True) + log_whitened(signature, x)
            held = jnp.sum(jnp.array([-0.5 * x[i] ** 2 - LOG_SQRT_2PI for i in signature.interface]))
            standard = 0.5 * x @ x + signature.num_local * LOG_SQRT_2PI
            return log_likelihood(signature, values_of(signature, phi, x, arrays), constants) + own + held + standard
        phi = frame.mean + frame.cholesky @ x[: signature.num_shared]
        z = x[signature.num_shared :]
        return log_joint(signature, phi, z, arrays) + 0.5 * z @ z + signature.num_local * LOG_SQRT_2PI


def explored_by_particles(
    signature: Signature, arrays: DatasetArrays, scales: Array, shift: Array, start: Adaptation, count: Array
) -> Adaptation:
    """Mixtures fitted to particles of sequential Monte Carlo, of L times the base measure, for the first ``count``
    datasets of a block, one after another; traced. ``start`` (leading axis B) where there is no finite likelihood, and
    for the rest."""
    num_local, num_components = signature.num_local, start.fitted.mean.shape[-2]

    def dataset(index: Array, found: Adaptation) -> Adaptation:
        before = jax.tree.map(lambda a: a[index], start)
        run = tempered_smc(
            shift[index, 0] * 2.0**53,
            lambda z, arrays: log_likelihoods(signature, arrays, z[None])[0],
            lambda z, arrays: log_base(signature, arrays, scales, z[None])[0],
            jax.tree.map(lambda a: a[index], arrays),
            jnp.zeros(num_local),
            jnp.eye(num_local),
            num_particles=_PARTICLES,
            num_moves=50 + 10 * num_local,
        )
        fitted = mixtures.fit(run.particles, jnp.exp(run.log_weight), num_components, num_steps=FIT_STEPS, floor=FLOOR)
        num_calls = _PARTICLES * (1 + run.num_moves)
        after = Adaptation(fitted, run.temperature, jnp.ones(()), jnp.zeros(()), num_calls)
        nothing = run.status == int(Status.search_failed)
        chosen = jax.tree.map(lambda old, new: jnp.where(nothing, old, new), before, after)
        return jax.tree.map(lambda whole, value: whole.at[index].set(value), found, chosen)

    return jax.lax.fori_loop(0, count, dataset, start)
