"""The point mass: a variable that is known. An exponential family without natural parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax

from messages.array_namespace import Array, namespace
from messages.family import Message, log_indicator
from messages.variates import Key


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PointMass(Message):
    """All mass at ``value (*plate,)``; ``natural_parameters (*plate, 0)``.

    The density is with respect to counting the one point: 1 at the value and 0 elsewhere. Only messages at the same
    value can be multiplied.
    """

    natural_parameters: Array
    value: Array
    support_is_closed: ClassVar[bool] = True

    @classmethod
    def at(cls, value: Array) -> PointMass:
        """The point mass at ``value (*plate,)``."""
        xp = namespace(value)
        value = xp.asarray(value, dtype=float)
        return cls(xp.zeros((*value.shape, 0)), value)

    @property
    def support(self) -> tuple[Array, Array]:
        return self.value, self.value

    @property
    def is_proper(self) -> Array:
        return namespace(self.value).isfinite(self.value)

    def sufficient_statistics(self, x: Array) -> Array:
        """Nothing: ``(*plate, 0)``."""
        xp = namespace(x)
        return xp.zeros((*xp.asarray(x).shape, 0))

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        return self.natural_parameters.sum(axis=-1)

    @property
    def expectation_parameters(self) -> Array:
        return self.natural_parameters

    def natural_from_expectation(self, expectation: Array) -> Array:
        return expectation

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        """Nothing to learn; the draws are not compared with the value."""
        return self.sufficient_statistics(draws)[0]

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        return self.sufficient_statistics(mode)

    @property
    def mean(self) -> Array:
        return self.value

    @property
    def variance(self) -> Array:
        return namespace(self.value).zeros_like(self.value)

    def quadrature(self) -> tuple[Array, Array]:
        xp = namespace(self.value)
        return self.value[None], xp.ones_like(self.value)[None]

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        return namespace(self.value).broadcast_to(self.value, tuple(shape) + self.plate_shape)
