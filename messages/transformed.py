"""A message seen through a bijector: y = g(x), where x has a message of a plain family.

T and the natural parameters are those of x; the Jacobian of g enters the base measure, and nothing else. A product of
two messages through the same bijector is therefore the product of their messages for x: the Jacobian is never
multiplied twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from messages.array_namespace import Array, namespace
from messages.bijectors import Affine, Bijector, ordered
from messages.family import Message
from messages.variates import Key

_FAR_TAIL = 1e-200  # weights of nodes about 460 nats below the peak
_NEGLIGIBLE = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Transformed(Message):
    """The message of y = bijector(x), x ~ ``base``. A vector is transformed component by component.

    Mean and variance are those of y, by quadrature; a moment to which the tail beyond exp(-460) of the peak still
    contributes is taken not to exist and is nan. The support is open.
    """

    base: Message
    bijector: Bijector

    @property
    def natural_parameters(self) -> Array:
        """Those of the base message."""
        return self.base.natural_parameters

    def with_natural(self, natural: Array) -> Transformed:
        return Transformed(self.base.with_natural(natural), self.bijector)

    @property
    def event_ndim(self) -> int:  # type: ignore[override]
        return self.base.event_ndim

    @property
    def support(self) -> tuple[Array, Array]:
        return ordered(*(self.bijector.forward(limit) for limit in self.base.support))

    @property
    def is_proper(self) -> Array:
        return self.base.is_proper

    def sufficient_statistics(self, x: Array) -> Array:
        """T of the base message, at the inverse image."""
        return self.base.sufficient_statistics(self.bijector.inverse(x))

    def log_base_measure(self, x: Array) -> Array:
        inner = self.bijector.inverse(x)
        log_jacobian = self.bijector.log_jacobian(inner)
        return self.base.log_base_measure(inner) - (log_jacobian.sum(axis=-1) if self.event_ndim else log_jacobian)

    @property
    def log_partition(self) -> Array:
        return self.base.log_partition

    @property
    def expectation_parameters(self) -> Array:
        return self.base.expectation_parameters

    def natural_from_expectation(self, expectation: Array) -> Array:
        return self.base.natural_from_expectation(expectation)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        return self.base.natural_from_draws(self.bijector.inverse(draws), weights)

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        """At a stationary point the curvature is multiplied by the square of the Jacobian, a matrix on both sides."""
        inner = self.bijector.inverse(mode)
        slope = namespace(inner).exp(self.bijector.log_jacobian(inner))
        scale = slope[..., :, None] * slope[..., None, :] if self.event_ndim else slope**2
        return self.base.natural_from_mode(inner, curvature * scale)

    @property
    def mean(self) -> Array:
        if isinstance(self.bijector, Affine):
            return self.bijector.forward(self.base.mean)
        with np.errstate(over="ignore", invalid="ignore"):
            return _expectation(*self.quadrature())

    @property
    def variance(self) -> Array:
        if isinstance(self.bijector, Affine):
            return self.base.variance * self.bijector.scale**2
        with np.errstate(over="ignore", invalid="ignore"):
            points, weights = self.quadrature()
            return _expectation((points - _expectation(points, weights)) ** 2, weights)

    def quadrature(self) -> tuple[Array, Array]:
        points, weights = self.base.quadrature()
        return self.bijector.forward(points), weights

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        return self.bijector.forward(self.base.sample(key, shape))


def _expectation(values: Array, weights: Array) -> Array:
    """Weighted sum over the first axis; nan if the far tail contributes, as it does when the integral diverges."""
    xp = namespace(values, weights)
    terms = xp.where(weights > 0.0, weights * values, 0.0)
    total = xp.sum(xp.abs(terms), axis=0)
    tail = xp.sum(xp.where(weights < _FAR_TAIL, xp.abs(terms), 0.0), axis=0)
    exists = xp.isfinite(total) & (tail <= _NEGLIGIBLE * total)
    return xp.where(exists, xp.sum(terms, axis=0), xp.nan)
