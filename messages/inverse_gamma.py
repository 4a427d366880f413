"""The inverse gamma message: natural parameters (-shape - 1, -scale), statistics (log x, 1/x), on x > 0."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from messages.array_namespace import Array, digamma, gammaln, namespace, require, stack_columns
from messages.family import Message, expected_statistics, log_indicator
from messages.gamma import nodes_of_gamma, shape_from_log_gap
from messages.variates import Key, log_standard_gamma


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class InverseGamma(Message):
    """The reciprocal of Gamma(shape, rate=scale) for each element of a plate, ``natural_parameters (*plate, 2)``."""

    natural_parameters: Array

    @classmethod
    def from_shape_scale(cls, shape: Array, scale: Array) -> InverseGamma:
        """The proper message with these parameters, which broadcast; raises ValueError unless both are positive."""
        xp = namespace(shape, scale)
        shape, scale = xp.asarray(shape, dtype=float), xp.asarray(scale, dtype=float)
        require((shape > 0.0) & (scale > 0.0), "An inverse gamma message needs shape > 0 and scale > 0", shape, scale)
        return cls(stack_columns(-shape - 1.0, -scale))

    @property
    def support(self) -> tuple[Array, Array]:
        return 0.0, np.inf

    @property
    def is_proper(self) -> Array:
        return (self.natural_parameters[..., 0] < -1.0) & (self.natural_parameters[..., 1] < 0.0)

    @property
    def shape_scale(self) -> tuple[Array, Array]:
        """Shape and scale, each ``(*plate,)``; nan if improper."""
        xp = namespace(self.natural_parameters)
        natural = xp.where(self.is_proper[..., None], self.natural_parameters, xp.nan)
        return -natural[..., 0] - 1.0, -natural[..., 1]

    def sufficient_statistics(self, x: Array) -> Array:
        """(log x, 1/x)."""
        xp = namespace(x)
        return stack_columns(xp.log(x), 1.0 / xp.asarray(x))

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        shape, scale = self.shape_scale
        return gammaln(shape) - shape * namespace(scale).log(scale)

    @property
    def expectation_parameters(self) -> Array:
        shape, scale = self.shape_scale
        return stack_columns(namespace(scale).log(scale) - digamma(shape), shape / scale)

    def natural_from_expectation(self, expectation: Array) -> Array:
        mean_log, mean_reciprocal = expectation[..., 0], expectation[..., 1]
        shape = shape_from_log_gap(namespace(mean_reciprocal).log(mean_reciprocal) + mean_log)
        return stack_columns(-shape - 1.0, -shape / mean_reciprocal)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        return self.natural_from_expectation(expected_statistics(self, draws, weights))

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        return stack_columns(-curvature * mode**2, -curvature * mode**3)

    @property
    def mean(self) -> Array:
        """scale / (shape - 1); nan for shape <= 1."""
        shape, scale = self.shape_scale
        return scale / _positive(shape - 1.0)

    @property
    def variance(self) -> Array:
        """nan for shape <= 2."""
        shape, _ = self.shape_scale
        return self.mean**2 / _positive(shape - 2.0)

    def quadrature(self) -> tuple[Array, Array]:
        points, weights = nodes_of_gamma(*self.shape_scale)
        return 1.0 / points, weights

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        concentration, scale = self.shape_scale
        return namespace(scale).exp(-log_standard_gamma(key, concentration, tuple(shape) + self.plate_shape)) * scale


def _positive(value: Array) -> Array:
    xp = namespace(value)
    return xp.where(value > 0.0, value, xp.nan)
