"""Inner methods: the locals of a dataset are integrated out, log f(phi) = log of the integral of L p(z | phi) dz.

The kernels here are the one face of four methods:

``direct``      there is nothing to integrate (`analytic`);
``analytic``    the joint density is Gaussian in z for every phi: one Newton step is exact;
``population``  shared variables reach the dataset only through its parents' parameters: it is explored once;
``joint``       the likelihood itself reads a shared variable: the points follow phi.

A *rule* is what a method keeps of a dataset; it is frozen while the graph is solved, so that log f is a smooth,
deterministic function of phi. Next to log f the kernel returns half the difference of its two half-sample estimates:
the error of the integral.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import DatasetArrays, Signature, log_joint
from factorgraph.propagation import analytic, joint, population
from factorgraph.propagation.blocks import LANES, over_datasets
from factorgraph.propagation.kernel import kernel, over_devices
from factorgraph.propagation.weighted import PrivatePosterior, local_values

Array = Any

_DRAWS_PER_CALL = 64
_LANES = {"joint": 1}  # hundreds of likelihood calls for each value of phi

LOG_FACTORS: dict[str, Any] = {
    "direct": analytic.direct_log_factor,
    "analytic": analytic.log_factor,
    "population": population.log_factor,
    "joint": joint.log_factor,
}
_PRIVATE_POSTERIORS: dict[str, Any] = {
    "analytic": analytic.private_posterior,
    "population": population.private_posterior,
    "joint": joint.private_posterior,
}


@kernel("signature", "method", over=("arrays", "rule", "phi"))
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
    one = functools.partial(LOG_FACTORS[method], signature, uniform)

    def dataset(pack: tuple) -> tuple[Array, Array]:
        arrays, rule, points = pack
        value, error = jax.vmap(lambda point: one(arrays, rule, point))(points)
        finite = jnp.isfinite(value)
        return jnp.where(finite, value, -jnp.inf), jnp.where(finite & jnp.isfinite(error), error, 0.0)

    return over_datasets(dataset, (arrays, rule, phi), count, _LANES.get(method, LANES))


class LocalPosterior(NamedTuple):
    """Of each dataset: equal-weight draws (M, local), mean (local,) and standard deviation (local,), in the user's
    coordinates, and the standard error (local,) of the mean that the points stand for; how many points count, and the
    Pareto k-hat of their weights at typical draws of phi (both nan where the integral is exact).

    The moments average p(z | phi, data) over the M draws of phi with all its points, so they are sharper than the
    draws. The error is half the difference of two half-samples.
    """

    draws: Array
    mean: Array
    standard_deviation: Array
    error: Array
    num_effective: Array
    k_hat: Array


def local_posteriors(
    signature: Signature,
    method: str,
    arrays: DatasetArrays,
    rule: Any,
    uniform: Array,
    phi: np.ndarray,
    chance: np.ndarray,
    count: np.int64 | np.ndarray,
    devices: tuple[Any, ...] = (),
) -> LocalPosterior:
    """p(z | data) = mean over phi of p(z | phi, data), for the first ``count`` datasets of a block; in calls of one
    size, so that it is compiled once.

    Parameters
    ----------
    phi : (B, M, shared) equal-weight draws of the shared variables' posterior; M is a multiple of 64.
    chance : (B, M, 1 + local) uniform numbers that pick a draw for each phi.
    count, devices : see `kernel`.
    """
    whole = over_devices(devices)
    parts = [
        _some_posteriors(
            signature,
            method,
            arrays,
            rule,
            uniform,
            jax.device_put(phi[:, at], whole),
            jax.device_put(chance[:, at], whole),
            count,
            devices=devices,
        )
        for at in (slice(i, i + _DRAWS_PER_CALL) for i in range(0, phi.shape[1], _DRAWS_PER_CALL))
    ]
    draws, means, variances, differences, num_effective, k_hat = (np.stack(one) for one in zip(*parts, strict=True))
    mean = means.mean(axis=0)
    with np.errstate(invalid="ignore"):  # of a dataset that is left out
        variance = variances.mean(axis=0) + ((means - mean) ** 2).mean(axis=0)
    return LocalPosterior(
        np.concatenate(list(draws), axis=1),
        mean,
        np.sqrt(variance),
        np.abs(differences.mean(axis=0)),
        num_effective.mean(axis=0),
        np.median(k_hat, axis=0),
    )


@kernel("signature", "method", over=("arrays", "rule", "phi", "chance"))
def _some_posteriors(
    signature: Signature,
    method: str,
    arrays: DatasetArrays,
    rule: Any,
    uniform: Array,
    phi: Array,
    chance: Array,
    count: Array,
) -> PrivatePosterior:
    """`local_posteriors` over some draws of phi, with variances and signed differences; draws in the user's
    coordinates."""

    def dataset(pack: tuple) -> PrivatePosterior:
        arrays, rule, points, chance = pack
        found = _PRIVATE_POSTERIORS[method](signature, uniform, arrays, rule, points, chance)
        return PrivatePosterior(local_values(signature, arrays.local, found.z), *found[1:])

    return over_datasets(dataset, (arrays, rule, phi, chance), count, _LANES.get(method, LANES))


@kernel("signature", over=("arrays", "phi"))
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
