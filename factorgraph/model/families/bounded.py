"""Distributions that are flat between limits, in the value or in its logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from factorgraph.errors import PriorError
from factorgraph.model.families.contract import Family, SupportKind, check_limits, inside_or_minus_infinity
from factorgraph.model.families.normal_tail import lower_tail, normal_from_log_tails
from messages.array_namespace import Array, namespace, ndtr


@dataclass(frozen=True, slots=True)
class Uniform(Family):
    """Constant density between two finite limits."""

    parameter_names: ClassVar[tuple[str, ...]] = ("lower_limit", "upper_limit")

    @property
    def support_kind(self) -> SupportKind:
        return "interval"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return parameters[0], parameters[1]

    def check(self, *parameters: float) -> None:
        check_limits(type(self).__name__, *parameters)
        if not math.isfinite(parameters[1] - parameters[0]):
            raise PriorError(
                f"Uniform: the limits are {parameters}; they must be finite. An infinite range is a FlatPrior."
            )

    def log_density(self, value: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(value, lower, upper)
        inside = (value >= lower) & (value <= upper) & (lower < upper)
        return inside_or_minus_infinity(inside, -xp.log(xp.where(lower < upper, upper - lower, 1.0)))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(x, lower, upper)
        from_limit = (upper - lower) * ndtr(lower_tail(x))
        return xp.where(x < 0.0, lower + from_limit, upper - from_limit)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(value, lower, upper)
        value = xp.clip(value, lower, upper)
        with np.errstate(divide="ignore"):
            log_below, log_above = xp.log((value - lower) / (upper - lower)), xp.log((upper - value) / (upper - lower))
        return normal_from_log_tails(log_below, log_above)


@dataclass(frozen=True, slots=True)
class LogUniform(Family):
    """Constant density of log(value) between two positive limits."""

    parameter_names: ClassVar[tuple[str, ...]] = ("lower_limit", "upper_limit")

    @property
    def support_kind(self) -> SupportKind:
        return "interval"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return parameters[0], parameters[1]

    def check(self, *parameters: float) -> None:
        lower, upper = parameters
        if not lower > 0.0:
            raise PriorError(
                f"LogUniform: lower_limit = {lower!r}; it must be above 0, or the density has no finite integral. "
                "Give the smallest value that is possible, such as lower_limit=1e-6, or use a UniformPrior."
            )
        check_limits("LogUniform", lower, upper)
        if not math.isfinite(upper):
            raise PriorError(f"LogUniform: upper_limit = {upper!r}; it must be finite.")

    def log_density(self, value: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(value, lower, upper)
        inside = (value >= lower) & (value <= upper) & (lower < upper) & (lower > 0.0)
        log_ratio = xp.log(xp.where(inside, upper, 2.0)) - xp.log(xp.where(inside, lower, 1.0))
        return inside_or_minus_infinity(inside, -xp.log(xp.where(inside, value, 1.0)) - xp.log(log_ratio))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(x, lower, upper)
        from_limit = xp.log(upper / lower) * ndtr(lower_tail(x))
        return xp.clip(xp.where(x < 0.0, lower * xp.exp(from_limit), upper * xp.exp(-from_limit)), lower, upper)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        lower, upper = parameters
        xp = namespace(value, lower, upper)
        value = xp.clip(value, lower, upper)
        log_ratio = xp.log(upper / lower)
        with np.errstate(divide="ignore"):
            log_below = xp.log(xp.log1p((value - lower) / lower) / log_ratio)
            log_above = xp.log(-xp.log1p((value - upper) / upper) / log_ratio)
        return normal_from_log_tails(log_below, log_above)


@dataclass(frozen=True, slots=True)
class Flat(Family):
    """Density 1 between limits that may be infinite: improper unless both are finite, and never normalised."""

    has_lower: bool = False
    has_upper: bool = False
    parameter_names: ClassVar[tuple[str, ...]] = ("lower_limit", "upper_limit")
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        if self.has_lower:
            return "interval" if self.has_upper else "lower"
        return "upper" if self.has_upper else "real"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return (parameters[0] if self.has_lower else -math.inf), (parameters[1] if self.has_upper else math.inf)

    def check(self, *parameters: float) -> None:
        check_limits("Flat", *parameters)

    def log_density(self, value: Array, *parameters: Array) -> Array:
        lower, upper = self.support(*parameters)
        inside = (value >= lower) & (value <= upper)
        return inside_or_minus_infinity(inside, 0.0 * namespace(value).where(inside, value, 0.0))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        self._refuse_if_improper()
        return Uniform().from_normal(x, *parameters)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        self._refuse_if_improper()
        return Uniform().to_normal(value, *parameters)

    def _refuse_if_improper(self) -> None:
        if not (self.has_lower and self.has_upper):
            raise PriorError(
                "Flat: without two finite limits it is no probability distribution and has no quantiles, random "
                "values or unit cube. Give both limits, or use a method that needs only the density."
            )
