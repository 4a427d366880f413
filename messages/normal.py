"""The normal message: natural parameters (h, precision), statistics (x, -x^2/2).

With h = precision * mean, natural . T = h x - precision x^2 / 2: the one-dimensional `MultivariateNormal`. Where the
mean is k standard deviations from zero, a log density is a difference of terms of size k^2 / 2 and rounded accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from messages.array_namespace import Array, namespace, require, stack_columns
from messages.family import Message, log_indicator
from messages.integration import LOG_TAIL, normalised, sinh_displacements
from messages.variates import Key, standard_normal


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Normal(Message):
    """N(mean, variance) for each element of a plate, ``natural_parameters (*plate, 2)``."""

    natural_parameters: Array

    @classmethod
    def from_mean_variance(cls, mean: Array, variance: Array) -> Normal:
        """The proper message with these moments, which broadcast; raises ValueError unless ``variance > 0``."""
        xp = namespace(mean, variance)
        mean, variance = xp.asarray(mean, dtype=float), xp.asarray(variance, dtype=float)
        require(variance > 0.0, "A normal message needs variance > 0", variance)
        return cls(stack_columns(mean / variance, 1.0 / variance))

    @property
    def support(self) -> tuple[Array, Array]:
        return -np.inf, np.inf

    @property
    def is_proper(self) -> Array:
        return self.natural_parameters[..., 1] > 0.0

    def sufficient_statistics(self, x: Array) -> Array:
        """(x, -x^2/2)."""
        return statistics_of_scalar(x)

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        xp = namespace(self.natural_parameters)
        h, precision = self._shift_precision()
        return 0.5 * (h**2 / precision - xp.log(precision) + np.log(2.0 * np.pi))

    @property
    def expectation_parameters(self) -> Array:
        return stack_columns(self.mean, -0.5 * (self.variance + self.mean**2))

    def natural_from_expectation(self, expectation: Array) -> Array:
        mean = expectation[..., 0]
        return natural_from_moments(mean, -2.0 * expectation[..., 1] - mean**2)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        """Moments about the mean, so that nothing cancels where the mean is many standard deviations."""
        return natural_from_moments(*weighted_moments(draws, weights))

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        return stack_columns(curvature * mode, curvature)

    @property
    def mean(self) -> Array:
        h, precision = self._shift_precision()
        return h / precision

    @property
    def variance(self) -> Array:
        return 1.0 / self._shift_precision()[1]

    def quadrature(self) -> tuple[Array, Array]:
        xp = namespace(self.natural_parameters)
        scale = xp.sqrt(self.variance)
        displacement, log_spacing = sinh_displacements(1.0, np.sqrt(2.0 * LOG_TAIL), np.sqrt(2.0 * LOG_TAIL))
        weights = normalised(log_spacing - 0.5 * displacement**2)
        column = (slice(None),) + (None,) * len(self.plate_shape)
        points = self.mean + scale * displacement[column]
        return points, xp.broadcast_to(weights[column], points.shape)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        xp = namespace(self.natural_parameters)
        return self.mean + xp.sqrt(self.variance) * standard_normal(key, tuple(shape) + self.plate_shape)

    def _shift_precision(self) -> tuple[Array, Array]:
        """(h, precision), with nan for the precision of an improper message."""
        xp = namespace(self.natural_parameters)
        return self.natural_parameters[..., 0], xp.where(self.is_proper, self.natural_parameters[..., 1], xp.nan)


def statistics_of_scalar(x: Array) -> Array:
    """(x, -x^2/2), ``(*plate, 2)``, for the scalar normal families."""
    x = namespace(x).asarray(x)
    return stack_columns(x, -0.5 * x**2)


def natural_from_moments(mean: Array, variance: Array) -> Array:
    """(mean / variance, 1 / variance), ``(*plate, 2)``; nan unless the variance is positive."""
    xp = namespace(mean, variance)
    precision = 1.0 / xp.where(variance > 0.0, variance, xp.nan)
    return stack_columns(mean * precision, precision)


def weighted_moments(draws: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and variance over the first axis, both ``(*plate,)``."""
    mean = (weights * draws).sum(axis=0)
    return mean, (weights * (draws - mean) ** 2).sum(axis=0)
