"""Cauchy distributions; the Student t and the inverse gamma are in `shaped`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from factorgraph.model.families.contract import Family, SupportKind, inside_or_minus_infinity
from factorgraph.model.families.normal_tail import lower_tail, normal_from_log_tails
from messages.array_namespace import Array, namespace, ndtr


@dataclass(frozen=True, slots=True)
class Cauchy(Family):
    """Cauchy(loc, scale), scale the half width at half maximum."""

    parameter_names: ClassVar[tuple[str, ...]] = ("loc", "scale")
    positive_parameters: ClassVar[tuple[str, ...]] = ("scale",)
    is_whitened: ClassVar[bool] = False

    def log_density(self, value: Array, *parameters: Array) -> Array:
        loc, scale = parameters
        xp = namespace(value, loc, scale)
        inside = xp.isfinite(value) & (scale > 0.0)
        safe_scale = xp.where(inside, scale, 1.0)
        z = (xp.where(inside, value, loc) - loc) / safe_scale
        return inside_or_minus_infinity(inside, -2.0 * xp.log(xp.hypot(1.0, z)) - xp.log(math.pi * safe_scale))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        loc, scale = parameters
        xp = namespace(x, loc, scale)
        angle = math.pi * ndtr(lower_tail(x))
        with np.errstate(divide="ignore"):
            distance = scale * xp.cos(angle) / xp.sin(angle)
        return loc + xp.where(x < 0.0, -distance, distance)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        loc, scale = parameters
        xp = namespace(value, loc, scale)
        z = (value - loc) / scale
        with np.errstate(divide="ignore"):
            return normal_from_log_tails(xp.log(xp.arctan2(1.0, -z) / math.pi), xp.log(xp.arctan2(1.0, z) / math.pi))


@dataclass(frozen=True, slots=True)
class HalfCauchy(Family):
    """``|Cauchy(0, scale)|``; scale is the median."""

    parameter_names: ClassVar[tuple[str, ...]] = ("scale",)
    positive_parameters: ClassVar[tuple[str, ...]] = ("scale",)
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        return inside_or_minus_infinity(value >= 0.0, Cauchy().log_density(value, 0.0, parameters[0]) + math.log(2.0))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        xp = namespace(x, *parameters)
        angle = 0.5 * math.pi * ndtr(lower_tail(x))
        with np.errstate(divide="ignore"):
            return parameters[0] * xp.where(x < 0.0, xp.tan(angle), xp.cos(angle) / xp.sin(angle))

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        xp = namespace(value, *parameters)
        z = xp.maximum(value, 0.0) / parameters[0]
        with np.errstate(divide="ignore"):
            log_below, log_above = (xp.log(angle * 2.0 / math.pi) for angle in (xp.arctan2(z, 1.0), xp.arctan2(1.0, z)))
        return normal_from_log_tails(log_below, log_above)
