"""Normal probabilities and quantiles on the log scale: exact in both tails, differentiable to any order in JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from factorgraph.model.families.contract import LOG_2PI
from messages.array_namespace import Array, namespace, ndtri

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_ASYMPTOTIC = -20.0  # below it log Phi is computed from its asymptotic series in 1 / x^2, ten terms: 1e-15
_SERIES = [float((-1) ** k * scipy.special.factorial2(2 * k - 1)) for k in range(10, 0, -1)] + [1.0]
_NARROW = 0.5  # intervals with width * (|middle| + width) below this are integrated by Gauss-Legendre: 1e-16


def log_normal_density(x: Array) -> Array:
    """Log density of the standard normal."""
    return -0.5 * (x * x + LOG_2PI)


def lower_tail(x: Array) -> Array:
    """-|x|, with derivatives at 0 that are those from above."""
    return namespace(x).where(x < 0.0, x, -x)


def log_normal_cdf(x: Array) -> Array:
    """log Phi(x)."""
    return _log_cdf_jax(x) if namespace(x) is jnp else scipy.special.log_ndtr(x)


@jax.custom_jvp
def _log_cdf_jax(x: Array) -> Array:
    tail = 0.5 * jax.lax.erfc(jnp.abs(jnp.maximum(x, _ASYMPTOTIC)) * 0.5**0.5)  # Phi(-|x|)
    near = jnp.where(x > 0.0, jnp.log1p(-tail), jnp.log(tail))
    far = jnp.minimum(x, _ASYMPTOTIC)
    series = jnp.polyval(jnp.asarray(_SERIES, dtype=far.dtype), 1.0 / (far * far))
    return jnp.where(x < _ASYMPTOTIC, log_normal_density(far) - jnp.log(-far) + jnp.log(series), near)


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
    is_lower = near < -0.5
    quantile = ndtri(jnp.where(is_lower, jnp.exp(near), -jnp.expm1(near)))
    far = jnp.clip(log_probability, -1e300, -300.0)

    def newton(_, x):
        value = _log_cdf_jax(x)
        return x - (value - far) * jnp.exp(value - log_normal_density(x))

    start = -jnp.sqrt(-2.0 * far - LOG_2PI - jnp.log(-2.0 * far))
    x = jnp.where(
        log_probability < -300.0, jax.lax.fori_loop(0, 3, newton, start), jnp.where(is_lower, quantile, -quantile)
    )
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

    ``width`` = b - a is passed as well: where it is small it must be known better than the difference of rounded
    limits. Infinite limits are allowed; -inf where the width is not positive.
    """
    xp = namespace(a, b, width)
    finite = xp.isfinite(a) & xp.isfinite(width)
    middle = xp.where(finite, a, 0.0) + 0.5 * xp.where(finite, width, 1.0)
    narrow = finite & (width * (xp.abs(middle) + width) < _NARROW)
    mirrored = a > -b  # then the interval is moved into the lower tail
    low, high = xp.where(mirrored, -b, a), xp.where(mirrored, -a, b)
    limits = log_normal_cdf(xp.stack([xp.where(narrow, -1.0, low), xp.where(narrow, 0.0, high)]))
    wide = limits[1] + xp.log(-xp.expm1(xp.minimum(limits[0] - limits[1], -1e-300)))
    inside = log_narrow_interval(xp.where(narrow, middle, 0.0), xp.where(narrow & (width > 0.0), width, 1e-3))
    return xp.where(width > 0.0, xp.where(narrow, inside, wide), -xp.inf)


def log_narrow_interval(middle: Array, width: Array) -> Array:
    """log of the probability of an interval with width * (|middle| + width) < 1/2, by Gauss-Legendre quadrature."""
    xp = namespace(middle, width)
    half = xp.asarray(0.5 * width)
    offset = half[..., None] * _NODES
    integral = (_WEIGHTS * xp.exp(-offset * (xp.asarray(middle)[..., None] + 0.5 * offset))).sum(-1)
    return log_normal_density(middle) + xp.log(half) + xp.log(integral)


def repeat(step: Callable[[Array], Array], start: Array, num_steps: int) -> Array:
    """``step`` applied ``num_steps`` times; in JAX a loop, which keeps what is compiled small."""
    if namespace(start) is jnp:
        return jax.lax.fori_loop(0, num_steps, lambda _, x: step(x), start)
    for _ in range(num_steps):
        start = step(start)
    return start


def is_zero(tangent: Any) -> bool:
    """Is nothing differentiated in this argument?"""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def implicit_inverse(
    forward: Callable[..., Array], solve: Callable[..., Array], log_density: Callable[..., Array]
) -> Callable[..., Array]:
    """``solve(x, *parameters)`` = F^-1(Phi(x)) with derivatives from Phi(x) = F(value), exact in every order.

    The derivative in x is phi(x) / density(value), that in a parameter moves the value so that ``forward`` stays at x.
    NumPy arguments go to ``solve`` as they are.

    Parameters
    ----------
    forward
        ``(value, *parameters)`` -> x; elementwise, differentiable by JAX in the parameters.
    solve
        Its inverse in the first argument.
    log_density
        ``(value, *parameters)`` -> log density of the value.
    """

    @jax.custom_jvp
    def inverse(x, *parameters):
        return solve(x, *parameters)

    def inverse_jvp(primals, tangents):
        x, *parameters = primals
        value = inverse(x, *parameters)
        change = 0.0 if is_zero(tangents[0]) else tangents[0]
        moving = [index for index, tangent in enumerate(tangents[1:]) if not is_zero(tangent)]
        if moving:

            def at(*moved):
                arguments = dict(enumerate(parameters)) | dict(zip(moving, moved))
                return forward(value, *arguments.values())

            primal, tangent = (
                tuple(parameters[index] for index in moving),
                tuple(tangents[1 + index] for index in moving),
            )
            change = change - jax.jvp(at, primal, tangent)[1]
        log_slope = log_normal_density(x) - log_density(value, *parameters)
        usable = jnp.isfinite(log_slope)
        return value, jnp.where(usable, change * jnp.exp(jnp.where(usable, log_slope, 0.0)), 0.0)

    inverse.defjvp(inverse_jvp, symbolic_zeros=True)

    @wraps(solve)
    def dispatch(x, *parameters):
        if namespace(x, *parameters) is np:
            return solve(x, *parameters)
        broadcast = jnp.broadcast_arrays(x, *parameters)
        return inverse(*(jnp.asarray(array, dtype=jnp.result_type(float)) for array in broadcast))

    return dispatch
