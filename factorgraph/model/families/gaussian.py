"""The normal distribution and what is made of it by limits and logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from factorgraph.errors import PriorError
from factorgraph.model.families.contract import (
    Family,
    SupportKind,
    check_limits,
    inside_or_minus_infinity,
)
from factorgraph.model.families.normal_tail import (
    log_narrow_interval,
    log_normal_cdf,
    log_normal_density,
    log_normal_interval,
    lower_tail,
    normal_from_log_tails,
    repeat,
)
from messages.array_namespace import Array, namespace, ndtr, ndtri


@dataclass(frozen=True, slots=True)
class Gaussian(Family):
    """N(mean, sigma), sigma a standard deviation."""

    parameter_names: ClassVar[tuple[str, ...]] = ("mean", "sigma")
    positive_parameters: ClassVar[tuple[str, ...]] = ("sigma",)

    def log_density(self, value: Array, *parameters: Array) -> Array:
        mean, sigma = parameters
        xp = namespace(value, mean, sigma)
        scale = xp.where(sigma > 0.0, sigma, 1.0)  # a function of the parameters alone: once for a plate of values
        inside = xp.isfinite(value) & (sigma > 0.0)
        z = (xp.where(inside, value, mean) - mean) / scale
        return inside_or_minus_infinity(inside, log_normal_density(z) - xp.log(scale))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        mean, sigma = parameters
        return mean + sigma * x

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        mean, sigma = parameters
        return (value - mean) / sigma


@dataclass(frozen=True, slots=True)
class TruncatedGaussian(Family):
    """N(mean, sigma) between two limits and normalised there; mean and sigma are those before truncation.

    An absent limit (``has_lower`` or ``has_upper`` False) is passed as -inf or inf, and its value is not looked at.
    """

    has_lower: bool = True
    has_upper: bool = True
    parameter_names: ClassVar[tuple[str, ...]] = ("mean", "sigma", "lower_limit", "upper_limit")
    positive_parameters: ClassVar[tuple[str, ...]] = ("sigma",)

    @property
    def support_kind(self) -> SupportKind:
        if self.has_lower:
            return "interval" if self.has_upper else "lower"
        return "upper" if self.has_upper else "real"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return (parameters[2] if self.has_lower else -math.inf), (parameters[3] if self.has_upper else math.inf)

    def check(self, *parameters: float) -> None:
        Gaussian().check(*parameters[:2])
        check_limits("TruncatedGaussian", *parameters[2:])
        for name, present, limit in zip(("lower", "upper"), (self.has_lower, self.has_upper), parameters[2:]):
            if present and math.isinf(limit):
                raise PriorError(
                    f"TruncatedGaussian: has_{name} is set but the {name} limit is {limit!r}; make it finite."
                )

    def log_density(self, value: Array, *parameters: Array) -> Array:
        mean, sigma = parameters[:2]
        lower, upper = self.support(*parameters)
        xp = namespace(value, *parameters)
        valid = (sigma > 0.0) & (lower < upper)  # of the parameters alone: once for a plate of values
        scale = xp.where(valid, sigma, 1.0)
        log_mass = self._log_mass(mean, scale, xp.where(valid, lower, -math.inf), xp.where(valid, upper, math.inf))
        inside = valid & xp.isfinite(value) & (value >= lower) & (value <= upper)
        z = (xp.where(inside, value, mean) - mean) / scale
        return inside_or_minus_infinity(inside, log_normal_density(z) - xp.log(scale) - log_mass)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        mean, sigma = parameters[:2]
        lower, upper = self.support(*parameters)
        xp = namespace(value, *parameters)
        value = xp.clip(value, lower, upper)
        log_mass = self._log_mass(mean, sigma, lower, upper)
        z = (value - mean) / sigma
        log_below = log_normal_cdf(z)
        if self.has_lower:
            log_below = log_normal_interval((lower - mean) / sigma, z, (value - lower) / sigma)
        log_above = log_normal_cdf(-z)
        if self.has_upper:
            log_above = log_normal_interval(z, (upper - mean) / sigma, (upper - value) / sigma)
        return normal_from_log_tails(log_below - log_mass, log_above - log_mass)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        if namespace(x, *parameters) is np:
            return _solve_truncated(self, x, *parameters)
        return _traced_quantile(self, x, *parameters)

    def _log_mass(self, mean: Array, sigma: Array, lower: Array, upper: Array) -> Array:
        """log of the untruncated probability of the support."""
        if self.has_lower and self.has_upper:
            return log_normal_interval((lower - mean) / sigma, (upper - mean) / sigma, (upper - lower) / sigma)
        if self.has_lower:
            return log_normal_cdf((mean - lower) / sigma)
        return log_normal_cdf((upper - mean) / sigma) if self.has_upper else 0.0


_ROOT_HALF = math.sqrt(0.5)


def _traced_quantile(family: TruncatedGaussian, x: Array, *parameters: Array) -> Array:
    """The quantile for kernels, without iteration: sums of positive tail probabilities, a series beside the limits.

    Agrees with `_solve_truncated` to 1e-11 of the distance from the nearer limit or of sigma, except where a limit
    lies more than 30 sigma inside a tail of the untruncated normal: there the tail is taken as sqrt(a^2 - 2 log Q),
    good to 1e-3.
    """
    mean, sigma = parameters[:2]
    lower, upper = family.support(*parameters)
    xp = namespace(x, *parameters)
    tail = 0.5 * jax.lax.erfc(_ROOT_HALF * xp.abs(x))
    low, high = xp.where(x < 0.0, tail, 1.0 - tail), xp.where(x < 0.0, 1.0 - tail, tail)
    a, b = (lower - mean) / sigma, (upper - mean) / sigma
    below = ndtr(a) * high + ndtr(b) * low
    above = ndtr(-a) * high + ndtr(-b) * low
    in_upper = above < below
    z = ndtri(xp.maximum(xp.where(in_upper, above, below), 1e-300))
    value = mean + sigma * xp.where(in_upper, -z, z)
    log_mass = family._log_mass(mean, sigma, lower, upper)
    for present, limit, end, mass in ((family.has_lower, a, 1.0, low), (family.has_upper, -b, -1.0, high)):
        if present:
            ratio = mass * xp.exp(log_mass - log_normal_density(limit))
            distance = _series_from_limit(limit, ratio)
            far = xp.where(limit > 30.0, limit, 30.0)
            beyond = xp.sqrt(far * far - 2.0 * xp.log(xp.maximum(1.0 - mass, 1e-300))) - far
            distance = xp.where(limit > 30.0, beyond, distance)
            near = (ratio * (1.0 + xp.abs(limit)) < 1e-3) | (limit > 30.0)
            value = xp.where(near, (lower if end > 0.0 else upper) + end * sigma * distance, value)
    return xp.clip(value, lower, upper)


def _series_from_limit(a: Array, u: Array) -> Array:
    """d with Phi(a + d) - Phi(a) = u phi(a), to fourth order in u."""
    a2 = a * a
    return u * (1.0 + u * (0.5 * a + u * ((2.0 * a2 + 1.0) / 6.0 + u * a * (6.0 * a2 + 7.0) / 24.0)))


def _solve_truncated(family: TruncatedGaussian, x: Array, *parameters: Array) -> Array:
    """Quantile of the truncated normal, mirrored into the lower half, and found from the limit if near."""
    mean, sigma = parameters[:2]
    lower, upper = family.support(*parameters)
    xp = namespace(x, *parameters)
    below = x < 0.0
    side = xp.where(below, 1.0, -1.0)
    tail = lower_tail(x)
    a, b = (lower - mean) / sigma, (upper - mean) / sigma
    a, b = xp.where(below, a, -b), xp.where(below, b, -a)
    with np.errstate(all="ignore"):
        log_cdf = log_normal_cdf(xp.stack(xp.broadcast_arrays(tail, -tail, a, b, -a, -b)))
        z = normal_from_log_tails(
            xp.logaddexp(log_cdf[2] + log_cdf[1], log_cdf[3] + log_cdf[0]),
            xp.logaddexp(log_cdf[4] + log_cdf[1], log_cdf[5] + log_cdf[0]),
        )
        finite_a = xp.where(xp.isfinite(a), a, 0.0)
        log_mass = family._log_mass(mean, sigma, lower, upper)
        distance = _distance_from_limit(finite_a, log_mass + log_cdf[0])
        near = xp.isfinite(a) & (distance * (1.0 + xp.abs(finite_a)) < 0.3)
        value = xp.where(near, xp.where(below, lower, upper) + side * sigma * distance, mean + side * sigma * z)
    return xp.clip(xp.where(xp.isfinite(x), value, xp.where(below, lower, upper)), lower, upper)


def _distance_from_limit(a: Array, log_mass: Array) -> Array:
    """d with log(Phi(a + d) - Phi(a)) = ``log_mass``, accurate relative to d; meant for d (1 + |a|) < 0.3."""
    xp = namespace(a, log_mass)
    largest = -xp.log1p(xp.abs(a)) - 0.7

    def newton(log_distance: Array) -> Array:
        distance = xp.exp(log_distance)
        value = log_narrow_interval(a + 0.5 * distance, distance)
        step = (value - log_mass) * xp.exp(value - log_normal_density(a + distance) - log_distance)
        return xp.minimum(log_distance - xp.clip(step, -1.0, 1.0), largest)

    return xp.exp(repeat(newton, xp.minimum(log_mass - log_normal_density(a), largest), 5))


@dataclass(frozen=True, slots=True)
class LogGaussian(Family):
    """log(value) ~ N(mean, sigma): mean and sigma are those of the natural logarithm."""

    parameter_names: ClassVar[tuple[str, ...]] = ("mean", "sigma")
    positive_parameters: ClassVar[tuple[str, ...]] = ("sigma",)

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        xp = namespace(value, *parameters)
        inside = xp.isfinite(value) & (value > 0.0)
        log_value = xp.log(xp.where(inside, value, 1.0))
        return inside_or_minus_infinity(inside, Gaussian().log_density(log_value, *parameters) - log_value)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return namespace(x, *parameters).exp(Gaussian().from_normal(x, *parameters))

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        with np.errstate(divide="ignore"):
            return Gaussian().to_normal(namespace(value, *parameters).log(value), *parameters)


@dataclass(frozen=True, slots=True)
class HalfNormal(Family):
    """``|N(0, scale)|``."""

    parameter_names: ClassVar[tuple[str, ...]] = ("scale",)
    positive_parameters: ClassVar[tuple[str, ...]] = ("scale",)

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        return _ABOVE.log_density(value, 0.0, parameters[0], 0.0, math.inf)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return _ABOVE.from_normal(x, 0.0, parameters[0], 0.0, math.inf)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        return _ABOVE.to_normal(value, 0.0, parameters[0], 0.0, math.inf)


_ABOVE = TruncatedGaussian(has_lower=True, has_upper=False)
