"""Normal probabilities and quantiles on the log scale, exact far into both tails and differentiable to any order in JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from factorgraph.model.families.contract import LOG_2PI
from messages.array_namespace import Array, namespace, ndtri

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_ASYMPTOTIC = -20.0  # below it log Phi is computed from its asymptotic series, ten terms: 1e-15
_NARROW = 0.5  # intervals with width * (|middle| + width) below this are integrated by Gauss-Legendre: 1e-16


def log_normal_density(x: Array) -> Array:
    """Log density of the standard normal."""
    return -0.5 * (x * x + LOG_2PI)


def log_normal_cdf(x: Array) -> Array:
    """log Phi(x)."""
    return _log_cdf_jax(x) if namespace(x) is jnp else scipy.special.log_ndtr(x)


@jax.custom_jvp
def _log_cdf_jax(x: Array) -> Array:
    near = jnp.maximum(x, _ASYMPTOTIC)
    lower = jnp.log(0.5 * jax.lax.erfc(-near * 0.5**0.5))
    upper = jnp.log1p(-0.5 * jax.lax.erfc(jnp.maximum(near, 0.0) * 0.5**0.5))
    far = jnp.minimum(x, _ASYMPTOTIC)
    series, term = jnp.ones_like(far), jnp.ones_like(far)
    for k in range(1, 11):
        term = -term * (2 * k - 1) / (far * far)
        series = series + term
    tail = log_normal_density(far) - jnp.log(-far) + jnp.log(series)
    return jnp.where(x < _ASYMPTOTIC, tail, jnp.where(x > 0.0, upper, lower))


@_log_cdf_jax.defjvp
def _log_cdf_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    value = _log_cdf_jax(x)
    finite = jnp.where(jnp.isfinite(x), x, 0.0)
    slope = jnp.where(jnp.isfinite(x), jnp.exp(log_normal_density(finite) - _log_cdf_jax(finite)), 0.0)
    return value, slope * tangent


def normal_from_log_cdf(log_probability: Array) -> Array:
    """x with log Phi(x) = ``log_probability``; -inf at -inf, inf at 0."""
    if namespace(log_probability) is np:
        return scipy.special.ndtri_exp(np.asarray(log_probability, dtype=float))[()]
    return _from_log_cdf_jax(log_probability)


@jax.custom_jvp
def _from_log_cdf_jax(log_probability: Array) -> Array:
    near = jnp.maximum(log_probability, -300.0)
    x_near = jnp.where(near < -0.5, ndtri(jnp.exp(near)), -ndtri(-jnp.expm1(near)))
    far = jnp.clip(log_probability, -1e300, -300.0)
    x_far = -jnp.sqrt(-2.0 * far - LOG_2PI - jnp.log(-2.0 * far))
    for _ in range(3):
        value = _log_cdf_jax(x_far)
        x_far = x_far - (value - far) * jnp.exp(value - log_normal_density(x_far))
    x = jnp.where(log_probability < -300.0, x_far, x_near)
    return jnp.where(log_probability == -jnp.inf, -jnp.inf, x)


@_from_log_cdf_jax.defjvp
def _from_log_cdf_jvp(primals, tangents):
    (log_probability,), (tangent,) = primals, tangents
    x = _from_log_cdf_jax(log_probability)
    finite = jnp.where(jnp.isfinite(x), x, 0.0)
    slope = jnp.where(jnp.isfinite(x), jnp.exp(log_probability - log_normal_density(finite)), 0.0)
    return x, slope * tangent


def normal_from_log_tails(log_lower: Array, log_upper: Array) -> Array:
    """x with log Phi(x) = ``log_lower`` and log Phi(-x) = ``log_upper``, from whichever is smaller."""
    xp = namespace(log_lower, log_upper)
    is_lower = log_lower < log_upper
    x = normal_from_log_cdf(xp.where(is_lower, log_lower, log_upper))
    return xp.where(is_lower, x, -x)


def log_normal_interval(a: Array, b: Array, width: Array) -> Array:
    """log(Phi(b) - Phi(a)) for a <= b without cancellation.

    ``width`` = b - a is passed as well: where it is small it must be known better than the difference of rounded limits.
    Infinite limits are allowed; -inf where the width is not positive.
    """
    xp = namespace(a, b, width)
    wide_limits = xp.where(a > -b, -b, a), xp.where(a > -b, -a, b)  # mirrored into the lower tail
    finite = xp.isfinite(a) & xp.isfinite(width)
    middle = xp.where(finite, a, 0.0) + 0.5 * xp.where(finite, width, 1.0)
    narrow = finite & (width * (xp.abs(middle) + width) < _NARROW)
    log_a, log_b = (
        log_normal_cdf(xp.where(narrow, -1.0, wide_limits[0])),
        log_normal_cdf(xp.where(narrow, 0.0, wide_limits[1])),
    )
    wide = log_b + xp.log(-xp.expm1(xp.minimum(log_a - log_b, -1e-300)))
    half = xp.where(narrow & (width > 0.0), 0.5 * width, 1e-3)
    middle = xp.where(narrow, middle, 0.0)
    integral = sum(w * xp.exp(-half * n * (middle + 0.5 * half * n)) for n, w in zip(_NODES, _WEIGHTS))
    inside = log_normal_density(middle) + xp.log(half) + xp.log(integral)
    return xp.where(width > 0.0, xp.where(narrow, inside, wide), -xp.inf)


def implicit_inverse(forward: Callable[..., Array], solve: Callable[..., Array]) -> Callable[..., Array]:
    """``solve(x, *parameters)`` with the derivatives that follow from ``forward(solve(x, *p), *p) = x``.

    Derivatives of every order are exact, however ``solve`` iterates. NumPy arguments go to ``solve`` as they are.

    Parameters
    ----------
    forward
        Elementwise and increasing in its first argument; differentiable by JAX.
    solve
        Its inverse in the first argument.
    """

    @jax.custom_jvp
    def inverse(x, *parameters):
        return solve(x, *parameters)

    @inverse.defjvp
    def inverse_jvp(primals, tangents):
        x, *parameters = primals
        value = inverse(x, *parameters)
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            return value, tangents[0]
        _, slope = jax.jvp(lambda v: forward(v, *parameters), (value,), (jnp.ones_like(value),))
        _, shift = jax.jvp(lambda *p: forward(value, *p), tuple(parameters), tuple(tangents[1:]))
        usable = jnp.isfinite(slope) & (slope > 0.0)
        return value, jnp.where(usable, (tangents[0] - shift) / jnp.where(usable, slope, 1.0), 0.0)

    @wraps(solve)
    def dispatch(x, *parameters):
        if namespace(x, *parameters) is np:
            return solve(x, *parameters)
        broadcast = jnp.broadcast_arrays(x, *parameters)
        return inverse(*(jnp.asarray(array, dtype=jnp.result_type(float)) for array in broadcast))

    return dispatch
