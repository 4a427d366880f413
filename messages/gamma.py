"""The gamma message: natural parameters (shape - 1, -rate), statistics (log x, x), on x > 0."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from messages.array_namespace import Array, digamma, gammaln, namespace, require, stack_columns, trigamma
from messages.family import Message, expected_statistics, log_indicator
from messages.integration import LOG_TAIL, normalised, sinh_displacements
from messages.variates import Key, log_standard_gamma

_NEWTON_STEPS = 5


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Gamma(Message):
    """Gamma(shape, rate), mean shape / rate, for each element of a plate, ``natural_parameters (*plate, 2)``."""

    natural_parameters: Array

    @classmethod
    def from_shape_rate(cls, shape: Array, rate: Array) -> Gamma:
        """The proper message with these parameters, which broadcast; raises ValueError unless both are positive."""
        xp = namespace(shape, rate)
        shape, rate = xp.asarray(shape, dtype=float), xp.asarray(rate, dtype=float)
        require((shape > 0.0) & (rate > 0.0), "A gamma message needs shape > 0 and rate > 0", shape, rate)
        return cls(stack_columns(shape - 1.0, -rate))

    @property
    def support(self) -> tuple[Array, Array]:
        return 0.0, np.inf

    @property
    def is_proper(self) -> Array:
        return (self.natural_parameters[..., 0] > -1.0) & (self.natural_parameters[..., 1] < 0.0)

    @property
    def shape_rate(self) -> tuple[Array, Array]:
        """Shape and rate, each ``(*plate,)``; nan if improper."""
        xp = namespace(self.natural_parameters)
        natural = xp.where(self.is_proper[..., None], self.natural_parameters, xp.nan)
        return natural[..., 0] + 1.0, -natural[..., 1]

    def sufficient_statistics(self, x: Array) -> Array:
        """(log x, x)."""
        return stack_columns(namespace(x).log(x), x)

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        shape, rate = self.shape_rate
        return gammaln(shape) - shape * namespace(rate).log(rate)

    @property
    def expectation_parameters(self) -> Array:
        shape, rate = self.shape_rate
        return stack_columns(digamma(shape) - namespace(rate).log(rate), shape / rate)

    def natural_from_expectation(self, expectation: Array) -> Array:
        mean_log, mean = expectation[..., 0], expectation[..., 1]
        shape = shape_from_log_gap(namespace(mean).log(mean) - mean_log)
        return stack_columns(shape - 1.0, -shape / mean)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        return self.natural_from_expectation(expected_statistics(self, draws, weights))

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        return stack_columns(curvature * mode**2, -curvature * mode)

    @property
    def mean(self) -> Array:
        shape, rate = self.shape_rate
        return shape / rate

    @property
    def variance(self) -> Array:
        shape, rate = self.shape_rate
        return shape / rate**2

    def quadrature(self) -> tuple[Array, Array]:
        return nodes_of_gamma(*self.shape_rate)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        concentration, rate = self.shape_rate
        return namespace(rate).exp(log_standard_gamma(key, concentration, tuple(shape) + self.plate_shape)) / rate


def shape_from_log_gap(gap: Array) -> Array:
    """The shape with log(shape) - digamma(shape) = ``gap`` = log E[x] - E[log x]; nan unless the gap is positive.

    Minka (2002), Estimating a Gamma distribution, equation 10: Newton's method on 1 / shape.
    """
    xp = namespace(gap)
    gap = xp.where(gap > 0.0, gap, xp.nan)
    shape = (3.0 - gap + xp.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap)
    for _ in range(_NEWTON_STEPS):
        excess = xp.log(shape) - digamma(shape) - gap
        shape = 1.0 / (1.0 / shape + excess / (shape - shape**2 * trigamma(shape)))
    return shape


def nodes_of_gamma(shape: Array, rate: Array) -> tuple[Array, Array]:
    """Nodes and weights of Gamma(shape, rate), ``(n, *plate)``, on the line of log x, where it is log-concave."""
    xp = namespace(shape, rate)
    width = shape**-0.5
    below = LOG_TAIL / shape + 1.0
    above = xp.minimum(np.sqrt(2.0 * LOG_TAIL) * width, xp.log1p(2.0 * LOG_TAIL / shape) + 2.0)
    displacement, log_spacing = sinh_displacements(width, below, above)
    log_density = shape * (displacement - xp.expm1(displacement))
    points = xp.maximum(shape / rate * xp.exp(displacement), np.finfo(float).tiny)  # inside the support
    return points, normalised(log_density + log_spacing)
