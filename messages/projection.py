"""From what an inner method found to a message: weighted draws, a quadrature, or a mode and its curvature.

Draws and quadratures are projected by moments: the message with the same E[T], which is the member q of the family with
the smallest KL(p || q) from the distribution p that was sampled. ``like`` names the family and its fixed fields
(limits, bijector); its own natural parameters do not matter. A projection that fails gives natural parameters of nan,
never an error.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from messages.array_namespace import Array, logsumexp, namespace
from messages.family import Message, interior_point
from messages.integration import normalised

Family = TypeVar("Family", bound=Message)


def from_draws(like: Family, draws: Array, log_weights: Array | None = None) -> Family:
    """The message with the E[T] of weighted draws.

    Parameters
    ----------
    like
        A message of the wanted family.
    draws
        ``(n, *plate, *event)``.
    log_weights
        ``(n, *plate)`` or ``(n,)``, nats, of any normalisation; nan counts as -inf, and without them all draws weigh
        the same. A draw outside the support, nan included, weighs nothing. See `effective_sample_size`.
    """
    xp = namespace(draws)
    plate = draws.shape[1 : draws.ndim - like.event_ndim]
    if log_weights is None:
        log_weights = xp.zeros((draws.shape[0],) + (1,) * len(plate))
    log_weights = log_weights.reshape(log_weights.shape + (1,) * (1 + len(plate) - log_weights.ndim))
    log_weights = namespace(log_weights).broadcast_to(log_weights, (draws.shape[0], *plate))
    inside = like.contains(draws)
    draws = xp.where(inside[..., None] if like.event_ndim else inside, draws, interior_point(*like.support))
    weights = normalised(namespace(log_weights, draws).where(inside, log_weights, -np.inf))
    return like.with_natural(like.natural_from_draws(draws, weights))


def from_quadrature(like: Family, points: Array, log_weights: Array, log_density: Array) -> tuple[Family, Array]:
    """The message with the E[T] of a density known at quadrature points, and the log normalizer of that density.

    Parameters
    ----------
    like
        A message of the wanted family.
    points
        ``(n, *plate, *event)``.
    log_weights
        ``(n, *plate)``, logs of the quadrature weights for integrals over dx.
    log_density
        ``(n, *plate)``, nats, of any normalisation, with respect to dx; nan counts as -inf.

    Returns
    -------
    message, log_normalizer
        The latter is log of the integral of the density, ``(*plate,)``, nats.
    """
    xp = namespace(points, log_weights, log_density)
    log_mass = log_weights + log_density
    log_mass = xp.where(xp.isnan(log_mass), -xp.inf, log_mass)
    return from_draws(like, points, log_mass), logsumexp(log_mass, axis=0)


def from_mode(like: Family, mode: Array, curvature: Array) -> Family:
    """The message whose log density, relative to its base measure, has this mode and curvature (Laplace's method).

    Parameters
    ----------
    like
        A message of the wanted family.
    mode
        ``(*plate, *event)``, inside the support.
    curvature
        Minus the second derivative of the log density there, ``(*plate,)``, or minus its Hessian ``(*plate, d, d)``. It
        may be negative, and the message is then improper.
    """
    return like.with_natural(like.natural_from_mode(mode, curvature))


def effective_sample_size(log_weights: Array) -> Array:
    """(sum w)^2 / sum w^2 over the first axis, ``(n, *plate) -> (*plate,)``; nan if no weight is positive."""
    weights = normalised(log_weights)
    return 1.0 / namespace(weights).sum(weights**2, axis=0)
