"""The beta message: natural parameters (alpha - 1, beta - 1), statistics (log x, log(1 - x)), on 0 < x < 1."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from messages import dual_newton
from messages.array_namespace import (
    Array,
    betaln,
    digamma,
    expit,
    namespace,
    require,
    softplus,
    stack_columns,
    trigamma,
)
from messages.family import Message, expected_statistics, log_indicator
from messages.integration import LOG_TAIL, normalised, sinh_displacements
from messages.variates import Key, log_standard_gamma, split


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Beta(Message):
    """Beta(alpha, beta) for each element of a plate, ``natural_parameters (*plate, 2)``. Zero is uniform."""

    natural_parameters: Array

    @classmethod
    def from_alpha_beta(cls, alpha: Array, beta: Array) -> Beta:
        """The proper message with these parameters, which broadcast; raises ValueError unless both are positive."""
        xp = namespace(alpha, beta)
        alpha, beta = xp.asarray(alpha, dtype=float), xp.asarray(beta, dtype=float)
        require((alpha > 0.0) & (beta > 0.0), "A beta message needs alpha > 0 and beta > 0", alpha, beta)
        return cls(stack_columns(alpha - 1.0, beta - 1.0))

    @property
    def support(self) -> tuple[Array, Array]:
        return 0.0, 1.0

    @property
    def is_proper(self) -> Array:
        return (self.natural_parameters > -1.0).all(axis=-1)

    @property
    def alpha_beta(self) -> tuple[Array, Array]:
        """alpha and beta, each ``(*plate,)``; nan if improper."""
        xp = namespace(self.natural_parameters)
        natural = xp.where(self.is_proper[..., None], self.natural_parameters, xp.nan)
        return natural[..., 0] + 1.0, natural[..., 1] + 1.0

    def sufficient_statistics(self, x: Array) -> Array:
        """(log x, log(1 - x))."""
        xp = namespace(x)
        return stack_columns(xp.log(x), xp.log1p(-xp.asarray(x)))

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        return betaln(*self.alpha_beta)

    @property
    def expectation_parameters(self) -> Array:
        return _statistics_moments(self.natural_parameters)[0]

    def natural_from_expectation(self, expectation: Array) -> Array:
        """By Newton's method; nan unless some distribution on the unit interval has these expectations."""
        xp = namespace(expectation)
        geometric = xp.exp(expectation)  # Johnson and Kotz (1970), chapter 24: a start from the geometric means
        room = 1.0 - xp.sum(geometric, axis=-1, keepdims=True)
        start = 0.5 * geometric / xp.where(room > 0.0, room, xp.nan) - 0.5
        return dual_newton.solve(_log_partition, _statistics_moments, start, expectation)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        return self.natural_from_expectation(expected_statistics(self, draws, weights))

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        strength = curvature * mode * (1.0 - mode)
        return stack_columns(strength * mode, strength * (1.0 - mode))

    @property
    def mean(self) -> Array:
        alpha, beta = self.alpha_beta
        return alpha / (alpha + beta)

    @property
    def variance(self) -> Array:
        alpha, beta = self.alpha_beta
        return alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1.0))

    def quadrature(self) -> tuple[Array, Array]:
        """On the line of logit x, where the density is log-concave."""
        alpha, beta = self.alpha_beta
        xp = namespace(alpha)
        total = alpha + beta
        below = (LOG_TAIL + total * xp.log1p(alpha / beta)) / alpha
        above = (LOG_TAIL + total * xp.log1p(beta / alpha)) / beta
        displacement, log_spacing = sinh_displacements(xp.sqrt(total / (alpha * beta)), below, above)
        logit = xp.log(alpha / beta) + displacement
        log_density = -alpha * softplus(-logit) - beta * softplus(logit)
        points = xp.clip(expit(logit), np.finfo(float).tiny, np.nextafter(1.0, 0.0))  # inside the support
        return points, normalised(log_density + log_spacing)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        shape = tuple(shape) + self.plate_shape
        logs = [log_standard_gamma(k, a, shape) for k, a in zip(split(key), self.alpha_beta, strict=True)]
        return expit(logs[0] - logs[1])


def _log_partition(natural: Array) -> Array:
    return Beta(natural).log_partition


def _statistics_moments(natural: Array) -> tuple[Array, Array]:
    """E[T] ``(*plate, 2)`` and Cov[T] ``(*plate, 2, 2)``."""
    alpha, beta = Beta(natural).alpha_beta
    expectation = stack_columns(digamma(alpha), digamma(beta)) - digamma(alpha + beta)[..., None]
    shared = trigamma(alpha + beta)
    return expectation, dual_newton.symmetric_two(trigamma(alpha) - shared, -shared, trigamma(beta) - shared)
