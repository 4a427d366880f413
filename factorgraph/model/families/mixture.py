"""Mixtures of normal distributions: a population of several kinds, or of one kind and outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.scipy.special as jax_special
import numpy as np
import scipy.special

from factorgraph.errors import PriorError
from factorgraph.model.families.contract import Family, inside_or_minus_infinity
from factorgraph.model.families.normal_tail import (
    implicit_inverse,
    log_normal_cdf,
    log_normal_density,
    normal_from_log_tails,
    repeat,
)
from messages.array_namespace import Array, namespace

_BISECTIONS = 70


@dataclass(frozen=True, slots=True)
class GaussianMixture(Family):
    """Sum of ``num_components`` normal densities; parameters are all weights, then all means, then all sigmas.

    Weights are taken relative to their sum.
    """

    num_components: int = 2

    is_whitened = False

    @property
    def parameter_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{name}_{k}" for name in ("weight", "mean", "sigma") for k in range(self.num_components))

    @property
    def positive_parameters(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(name for name in self.parameter_names if not name.startswith("mean"))

    def check(self, *parameters: float) -> None:
        Family.check(self, *parameters)
        total = sum(parameters[: self.num_components])
        if abs(total - 1.0) > 1e-9:
            raise PriorError(f"GaussianMixture: the weights sum to {total!r}; they must sum to 1.")

    def log_density(self, value: Array, *parameters: Array) -> Array:
        log_weight, mean, sigma = _parts(value, parameters)
        xp = namespace(value, mean, sigma)
        inside = xp.isfinite(value) & xp.all(sigma > 0.0, axis=0)
        scale = xp.where(sigma > 0.0, sigma, 1.0)
        z = (xp.where(inside, value, 0.0) - mean) / scale
        return inside_or_minus_infinity(inside, _sum_exp(log_weight + log_normal_density(z) - xp.log(scale)))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return _quantile(x, *parameters)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        return _to_normal(value, *parameters)


def _parts(value: Array, parameters: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Log weights, means and sigmas (K, ...), in the shape that they have with ``value``."""
    xp = namespace(value, *parameters)
    stacked = xp.stack(xp.broadcast_arrays(value, *(xp.asarray(p, dtype=float) for p in parameters))[1:])
    weight, mean, sigma = stacked.reshape(3, -1, *stacked.shape[1:])
    log_weight = xp.log(xp.maximum(weight, 1e-300))
    return log_weight - _sum_exp(log_weight), mean, sigma


def _sum_exp(values: Array) -> Array:
    special: Any = scipy.special if namespace(values) is np else jax_special
    return special.logsumexp(values, axis=0)


def _to_normal(value: Array, *parameters: Array) -> Array:
    log_weight, mean, sigma = _parts(value, parameters)
    z = (value - mean) / sigma
    return normal_from_log_tails(_sum_exp(log_weight + log_normal_cdf(z)), _sum_exp(log_weight + log_normal_cdf(-z)))


def _solve(x: Array, *parameters: Array) -> Array:
    """Bisection: the quantile of a mixture lies between those of its components."""
    xp = namespace(x, *parameters)
    _, mean, sigma = _parts(x, parameters)
    each = mean + sigma * x

    def halved(bracket: Array) -> Array:
        middle = 0.5 * (bracket[0] + bracket[1])
        below = _to_normal(middle, *parameters) < x
        return xp.stack([xp.where(below, middle, bracket[0]), xp.where(below, bracket[1], middle)])

    bracket = repeat(halved, xp.stack([xp.min(each, axis=0), xp.max(each, axis=0)]), _BISECTIONS)
    return 0.5 * (bracket[0] + bracket[1])


def _log_density(value: Array, *parameters: Array) -> Array:
    return GaussianMixture(len(parameters) // 3).log_density(value, *parameters)


_quantile = implicit_inverse(_to_normal, _solve, _log_density)
