"""The Kullback-Leibler divergence of two messages of one family.

KL(q || p) = E_q[log q - log p]: the expectation is taken under the first argument, which is the message that must not
put mass where the second has none. Projection by moments minimises it over its second argument.
"""

from __future__ import annotations

from functools import singledispatch

from messages.array_namespace import Array, cholesky, namespace
from messages.family import Message, require_same_family
from messages.multivariate_normal import MultivariateNormal, moments_from_natural, unpack
from messages.normal import Normal
from messages.transformed import Transformed


@singledispatch
def kl_divergence(q: Message, p: Message) -> Array:
    """KL(q || p), ``(*plate,)``, nats; nan if either is improper. Plates broadcast.

    Raises TypeError for two families and ValueError for different limits, values or bijectors.
    """
    require_same_family(q, p)
    change = q.natural_parameters - p.natural_parameters
    return (change * q.expectation_parameters).sum(axis=-1) - q.log_partition + p.log_partition


@kl_divergence.register
def _(q: Transformed, p: Transformed) -> Array:
    """A bijector changes nothing."""
    require_same_family(q, p)
    return kl_divergence(q.base, p.base)


# The normal families by their moments: the general form cancels where a mean is many standard deviations from zero.


@kl_divergence.register
def _(q: Normal, p: Message) -> Array:
    require_same_family(q, p)
    ratio = q.variance / p.variance
    return 0.5 * (ratio - 1.0 - namespace(ratio).log(ratio) + (q.mean - p.mean) ** 2 / p.variance)


@kl_divergence.register
def _(q: MultivariateNormal, p: Message) -> Array:
    require_same_family(q, p)
    xp = namespace(q.natural_parameters, p.natural_parameters)
    d = q.dimension
    q_mean, q_covariance = moments_from_natural(q.natural_parameters, d)
    p_mean, _ = moments_from_natural(p.natural_parameters, d)
    p_root = cholesky(unpack(p.natural_parameters, d)[1])
    q_root = cholesky(q_covariance)
    # The transpose of p_root whitens by p: the squared elements of what is left of q sum to the trace.
    spread = xp.swapaxes(p_root, -1, -2) @ q_root
    shift = (xp.swapaxes(p_root, -1, -2) @ (q_mean - p_mean)[..., None])[..., 0]
    pivots = xp.diagonal(p_root, axis1=-2, axis2=-1) * xp.diagonal(q_root, axis1=-2, axis2=-1)
    log_determinant = xp.log(pivots).sum(axis=-1)
    return 0.5 * ((spread**2).sum(axis=(-2, -1)) + (shift**2).sum(axis=-1) - d) - log_determinant
