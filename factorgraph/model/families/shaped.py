"""Families with a shape parameter: Student t, gamma, inverse gamma, beta; and the exponential.

SciPy has their quantiles, JAX has not: there `from_normal` is found by safeguarded Newton steps,
and its derivatives by implicit differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.scipy.special as jax_special
import numpy as np
import scipy.special

from factorgraph.model.families.contract import Family, SupportKind, inside_or_minus_infinity
from factorgraph.model.families.normal_tail import (
    implicit_inverse,
    is_zero,
    log_normal_cdf,
    log_normal_density,
    normal_from_log_tails,
)
from messages.array_namespace import Array, betaln, expit, gammaln, namespace, ndtr, softplus

_MAX_STEPS = 100  # of the search for a quantile; Newton needs about six
_TOLERANCE = 1e-14

LOG_2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Exponential(Family):
    """Density exp(-value / scale) / scale; scale is the mean."""

    parameter_names: ClassVar[tuple[str, ...]] = ("scale",)
    positive_parameters: ClassVar[tuple[str, ...]] = ("scale",)

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        (scale,) = parameters
        xp = namespace(value, scale)
        inside = xp.isfinite(value) & (value >= 0.0) & (scale > 0.0)
        safe_scale = xp.where(inside, scale, 1.0)
        return inside_or_minus_infinity(inside, -xp.where(inside, value, 0.0) / safe_scale - xp.log(safe_scale))

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return -parameters[0] * log_normal_cdf(-x)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        xp = namespace(value, *parameters)
        z = xp.maximum(value, 0.0) / parameters[0]
        with np.errstate(divide="ignore"):
            return normal_from_log_tails(xp.log(-xp.expm1(-z)), -z)


@dataclass(frozen=True, slots=True)
class Gamma(Family):
    """Density proportional to value^(shape - 1) exp(-value / scale); the mean is shape * scale."""

    parameter_names: ClassVar[tuple[str, ...]] = ("shape", "scale")
    positive_parameters: ClassVar[tuple[str, ...]] = ("shape", "scale")
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        xp = namespace(value, shape, scale)
        inside = xp.isfinite(value) & (value > 0.0) & (shape > 0.0) & (scale > 0.0)
        shape, scale, value = (xp.where(inside, argument, 1.0) for argument in (shape, scale, value))
        log_density = (shape - 1.0) * xp.log(value / scale) - value / scale - xp.log(scale) - gammaln(shape)
        return inside_or_minus_infinity(inside, log_density)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        return scale * _gamma_quantile(x, shape)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        return _gamma_score(value / scale, shape)


@dataclass(frozen=True, slots=True)
class InverseGamma(Family):
    """1 / value ~ Gamma(shape, 1 / scale): density proportional to value^(-shape - 1) exp(-scale / value)."""

    parameter_names: ClassVar[tuple[str, ...]] = ("shape", "scale")
    positive_parameters: ClassVar[tuple[str, ...]] = ("shape", "scale")
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        return "lower"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, math.inf

    def log_density(self, value: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        xp = namespace(value, shape, scale)
        inside = xp.isfinite(value) & (value > 0.0) & (shape > 0.0) & (scale > 0.0)
        shape, scale, value = (xp.where(inside, argument, 1.0) for argument in (shape, scale, value))
        log_density = shape * xp.log(scale / value) - scale / value - xp.log(value) - gammaln(shape)
        return inside_or_minus_infinity(inside, log_density)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        with np.errstate(divide="ignore"):
            return scale / _gamma_quantile(-x, shape)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        shape, scale = parameters
        with np.errstate(divide="ignore"):
            return -_gamma_score(namespace(value, shape, scale).divide(scale, value), shape)


@dataclass(frozen=True, slots=True)
class Beta(Family):
    """Density proportional to value^(alpha - 1) (1 - value)^(beta - 1) on (0, 1)."""

    parameter_names: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    positive_parameters: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        return "interval"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return 0.0, 1.0

    def log_density(self, value: Array, *parameters: Array) -> Array:
        alpha, beta = parameters
        xp = namespace(value, alpha, beta)
        inside = (value > 0.0) & (value < 1.0) & (alpha > 0.0) & (beta > 0.0)
        alpha, beta = (xp.where(inside, argument, 1.0) for argument in (alpha, beta))
        value = xp.where(inside, value, 0.5)
        log_density = (alpha - 1.0) * xp.log(value) + (beta - 1.0) * xp.log1p(-value) - betaln(alpha, beta)
        return inside_or_minus_infinity(inside, log_density)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return _beta_quantile(x, *parameters)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        return _beta_score(value, *parameters)


@dataclass(frozen=True, slots=True)
class SymmetricBeta(Family):
    """Density proportional to (1 - value^2)^(concentration - 1) on (-1, 1)."""

    parameter_names: ClassVar[tuple[str, ...]] = ("concentration",)
    positive_parameters: ClassVar[tuple[str, ...]] = ("concentration",)
    is_whitened: ClassVar[bool] = False

    @property
    def support_kind(self) -> SupportKind:
        return "interval"

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        return -1.0, 1.0

    def log_density(self, value: Array, *parameters: Array) -> Array:
        return Beta().log_density(0.5 * (value + 1.0), parameters[0], parameters[0]) - LOG_2

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        return 2.0 * Beta().from_normal(x, parameters[0], parameters[0]) - 1.0

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        return Beta().to_normal(0.5 * (value + 1.0), parameters[0], parameters[0])


@dataclass(frozen=True, slots=True)
class StudentT(Family):
    """Student t with ``df`` degrees of freedom, shifted by loc and stretched by scale (no standard deviation)."""

    parameter_names: ClassVar[tuple[str, ...]] = ("df", "loc", "scale")
    positive_parameters: ClassVar[tuple[str, ...]] = ("df", "scale")
    is_whitened: ClassVar[bool] = False

    def log_density(self, value: Array, *parameters: Array) -> Array:
        df, loc, scale = parameters
        xp = namespace(value, df, loc, scale)
        inside = xp.isfinite(value) & (scale > 0.0) & (df > 0.0)
        df, scale = (xp.where(inside, argument, 1.0) for argument in (df, scale))
        z = (xp.where(inside, value, loc) - loc) / scale
        norm = betaln(0.5 * df, 0.5) + 0.5 * xp.log(df) + xp.log(scale)
        return inside_or_minus_infinity(inside, -(df + 1.0) * xp.log(xp.hypot(1.0, z / xp.sqrt(df))) - norm)

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        df, loc, scale = parameters
        return loc + scale * _student_quantile(x, df)

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        df, loc, scale = parameters
        return _student_score((value - loc) / scale, df)


def _tails(cdf: Callable[..., Any], log_density: Callable[..., Any]) -> Callable[..., tuple[Array, Array]]:
    """Both tail probabilities (lower, upper) of a standard distribution, differentiable in JAX to any order.

    The derivative in the value is the density; in a shape parameter, where JAX has none or only the first, it is a
    five-point difference of the probabilities with steps of a thousandth of the parameter: relative error about
    1e-11.
    """

    @jax.custom_jvp
    def tails(value, *shapes):
        return cdf(value, *shapes)

    def tails_jvp(primals, tangents):
        value, *shapes = primals
        slope = jnp.zeros_like(value)
        if not is_zero(tangents[0]):
            slope = jnp.exp(log_density(value, *shapes)) * tangents[0]
        for index, tangent in enumerate(tangents[1:]):
            if not is_zero(tangent):
                slope = slope + _difference(lambda *s: tails(value, *s)[0], shapes, index) * tangent
        return tails(*primals), (slope, -slope)

    tails.defjvp(tails_jvp, symbolic_zeros=True)

    def dispatch(value, *shapes):
        if namespace(value, *shapes) is np:
            return cdf(value, *shapes)
        arrays = jnp.broadcast_arrays(value, *shapes)
        return tails(*(jnp.asarray(array, dtype=jnp.result_type(float)) for array in arrays))

    return dispatch


def _difference(function: Callable[..., Array], arguments: list[Array], index: int) -> Array:
    """Five-point derivative of ``function`` in one positive argument."""
    step = 1e-3 * arguments[index]
    minus2, minus1, plus1, plus2 = (
        function(*arguments[:index], arguments[index] + k * step, *arguments[index + 1 :]) for k in (-2, -1, 1, 2)
    )
    return (minus2 - 8.0 * minus1 + 8.0 * plus1 - plus2) / (12.0 * step)


def _score(tails: Callable[..., tuple[Array, Array]]) -> Callable[..., Array]:
    """Phi^-1(F(value)) from both tail probabilities."""

    def score(value, *shapes):
        lower, upper = tails(value, *shapes)
        xp = namespace(lower, upper)
        with np.errstate(divide="ignore"):
            return normal_from_log_tails(xp.log(lower), xp.log(upper))

    return score


def _solve(score: Callable[[Array], Array], log_slope: Callable[[Array], Array], x: Array, bracket: Any) -> Array:
    """Root of score(y) = x (JAX only): Newton steps, bisection where they leave the bracket.

    Parameters
    ----------
    log_slope
        log of the density of y, so that score'(y) = exp(log_slope(y)) / phi(score(y)).
    bracket
        Lower limit, upper limit and first guess of y.
    """

    def unfinished(state):
        count, (low, high, _), change = state
        return (count < _MAX_STEPS) & jnp.any((change > _TOLERANCE) & (high > low))

    def step(state):
        count, (low, high, y), _ = state
        value = score(y)
        low, high = jnp.where(value < x, y, low), jnp.where(value < x, high, y)
        newton = y - (value - x) * jnp.exp(log_normal_density(value) - log_slope(y))
        new = jnp.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        return count + 1, (low, high, new), jnp.abs(new - y)

    arrays = jnp.broadcast_arrays(*bracket, x)[:3]
    return jax.lax.while_loop(unfinished, step, (0, tuple(arrays), jnp.full_like(arrays[0], jnp.inf)))[1][2]


def _gamma_cdf(value: Array, shape: Array) -> tuple[Array, Array]:
    special: Any = scipy.special if namespace(value, shape) is np else jax_special
    value = namespace(value, shape).maximum(value, 0.0)
    return special.gammainc(shape, value), special.gammaincc(shape, value)


def _gamma_log_density(value: Array, shape: Array) -> Array:
    return Gamma().log_density(value, shape, 1.0)


_gamma_score = _score(_tails(_gamma_cdf, _gamma_log_density))


def _solve_gamma(x: Array, shape: Array) -> Array:
    if namespace(x, shape) is np:
        lower, upper = (
            scipy.special.gammaincinv(shape, ndtr(x)),
            scipy.special.gammainccinv(shape, ndtr(-np.asarray(x))),
        )
        return np.where(np.asarray(x) < 0.0, lower, upper)[()]
    # in y = log(value), in which x is close to linear
    lower, upper = -(800.0 + gammaln(shape + 1.0)) / shape - 10.0, jnp.log(shape + 50.0 * jnp.sqrt(shape) + 1500.0)
    start = jnp.clip(jnp.log(shape) + x / jnp.sqrt(shape + 1.0), lower, upper)
    y = _solve(
        lambda y: _gamma_score(jnp.exp(y), shape),
        lambda y: _gamma_log_density(jnp.exp(y), shape) + y,
        x,
        (lower, upper, start),
    )
    return jnp.exp(y)


_gamma_quantile = implicit_inverse(_gamma_score, _solve_gamma, _gamma_log_density)


def _beta_cdf(value: Array, alpha: Array, beta: Array) -> tuple[Array, Array]:
    xp = namespace(value, alpha, beta)
    special: Any = scipy.special if xp is np else jax_special
    value = xp.clip(value, 0.0, 1.0)
    return special.betainc(alpha, beta, value), special.betainc(beta, alpha, 1.0 - value)


_beta_score = _score(_tails(_beta_cdf, Beta().log_density))


def _solve_beta(x: Array, alpha: Array, beta: Array) -> Array:
    if namespace(x, alpha, beta) is np:
        lower = scipy.special.betaincinv(alpha, beta, ndtr(x))
        upper = 1.0 - scipy.special.betaincinv(beta, alpha, ndtr(-np.asarray(x)))
        return np.where(np.asarray(x) < 0.0, lower, upper)[()]
    # in y = logit(value)
    lower, upper = -(800.0 / alpha + 20.0), 800.0 / beta + 20.0
    start = jnp.clip(jnp.log(alpha / beta) + x * jnp.sqrt(1.0 / alpha + 1.0 / beta), lower, upper)
    y = _solve(
        lambda y: _beta_score(expit(y), alpha, beta),
        lambda y: Beta().log_density(expit(y), alpha, beta) - softplus(y) - softplus(-y),
        x,
        (lower, upper, start),
    )
    return expit(y)


_beta_quantile = implicit_inverse(_beta_score, _solve_beta, Beta().log_density)


def _student_cdf(value: Array, df: Array) -> tuple[Array, Array]:
    xp = namespace(value, df)
    if xp is np:
        return scipy.special.stdtr(df, value), scipy.special.stdtr(df, -np.asarray(value))
    square = value * value
    tail = 0.5 * jax_special.betainc(0.5 * df, 0.5, df / (df + square))
    centre = 0.5 - 0.5 * jax_special.betainc(0.5, 0.5 * df, square / (df + square))
    small = jnp.where(square < df, centre, tail)
    return jnp.where(value < 0.0, small, 1.0 - small), jnp.where(value < 0.0, 1.0 - small, small)


def _student_log_density(value: Array, df: Array) -> Array:
    return StudentT().log_density(value, df, 0.0, 1.0)


_student_score = _score(_tails(_student_cdf, _student_log_density))


def _solve_student(x: Array, df: Array) -> Array:
    if namespace(x, df) is np:
        distance = np.abs(scipy.special.stdtrit(df, ndtr(-np.abs(x))))  # at 0 it is inf, not -inf
        return np.where(np.asarray(x) < 0.0, -distance, distance)[()]
    # value = sqrt(df) sinh(y), in which x is close to linear; symmetric, so that only the lower half is searched
    root, half = jnp.sqrt(df), jnp.minimum(x, -x)
    lower = -(800.0 / df + 20.0)
    y = _solve(
        lambda y: _student_score(root * jnp.sinh(y), df),
        lambda y: _student_log_density(root * jnp.sinh(y), df) + jnp.log(root * jnp.cosh(y)),
        half,
        (lower, 1e-3, jnp.clip(jnp.arcsinh(half / root), lower, 0.0)),
    )
    distance = root * jnp.sinh(y)
    return jnp.where(x < 0.0, distance, -distance)


_student_quantile = implicit_inverse(_student_score, _solve_student, _student_log_density)
