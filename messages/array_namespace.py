"""One spelling of array mathematics for NumPy and JAX.

An eager JAX operation compiles a kernel, so code that runs on the host as well as inside a jitted kernel asks its
arguments what they are: NumPy arrays and Python numbers are computed by NumPy and SciPy, JAX arrays and tracers by JAX.
The module knows nothing of messages.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jax_special
import numpy as np
import scipy.linalg
import scipy.special

from messages.normal_quantile import normal_quantile

Array = Any  # numpy.ndarray, jax.Array or a Python number

_UNROLLED_DIMENSION = 3  # up to this size factorisations are written out: no LAPACK call for each element of a plate


def namespace(*arrays: Array) -> ModuleType:
    """``jax.numpy`` if any of ``arrays`` is a JAX array or tracer, otherwise ``numpy``."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def _special(*arrays: Array) -> ModuleType:
    return jax_special if namespace(*arrays) is jnp else scipy.special


def argsort(x: Array) -> Array:
    """Order (n,) of numbers (n,) without nan.

    XLA on a CPU sorts one array of integers four times faster than values with their indices, so index and value
    travel in one integer; numbers that differ by less than a relative n 2^-52 keep the order they came in.
    """
    if namespace(x) is np:
        return np.argsort(x, kind="stable")
    num_bits = max(1, (x.shape[0] - 1).bit_length())
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float64), jnp.int64)
    monotone = jnp.where(bits < 0, bits ^ jnp.int64(0x7FFFFFFFFFFFFFFF), bits)
    packed = ((monotone >> num_bits) << num_bits) | jnp.arange(x.shape[0])
    return jax.lax.sort(packed, is_stable=False) & (2**num_bits - 1)


def ndtr(x: Array) -> Array:
    """Standard normal distribution function, elementwise."""
    return _special(x).ndtr(x)


def log_ndtr(x: Array) -> Array:
    """Logarithm of the standard normal distribution function, accurate in both tails."""
    return _special(x).log_ndtr(x)


def ndtri(probability: Array) -> Array:
    """Standard normal quantile; -inf at 0, inf at 1, nan outside."""
    return normal_quantile(probability) if namespace(probability) is jnp else scipy.special.ndtri(probability)


def gammaln(x: Array) -> Array:
    """Logarithm of the absolute value of the gamma function."""
    return _special(x).gammaln(x)


def digamma(x: Array) -> Array:
    """Derivative of `gammaln`."""
    return _special(x).digamma(x)


def trigamma(x: Array) -> Array:
    """Derivative of `digamma`, for x > 0."""
    return _special(x).polygamma(1, x)


def gammainc(shape: Array, x: Array) -> Array:
    """Regularised lower incomplete gamma function P(shape, x)."""
    return _special(shape, x).gammainc(shape, x)


def betainc(a: Array, b: Array, x: Array) -> Array:
    """Regularised incomplete beta function I_x(a, b); JAX differentiates it in ``x`` only."""
    return _special(a, b, x).betainc(a, b, x)


def betaln(a: Array, b: Array) -> Array:
    """Logarithm of the beta function.

    With JAX as a sum of `gammaln`: its own betaln is wrong by 1e-8 at (40, 25), and its derivative by 4e-10.
    """
    if namespace(a, b) is np:
        return scipy.special.betaln(a, b)
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def logsumexp(a: Array, axis: int | tuple[int, ...] | None = None, b: Array = None, keepdims: bool = False) -> Array:
    """log sum(b exp(a)) over ``axis``; -inf where every term is zero."""
    return _special(a, b).logsumexp(a, axis=axis, b=b, keepdims=keepdims)


def expit(x: Array) -> Array:
    """Logistic function 1 / (1 + exp(-x))."""
    return _special(x).expit(x)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return namespace(x).logaddexp(x, 0.0)


def softplus_inverse(y: Array) -> Array:
    """log(exp(y) - 1) for y > 0, without overflow; -inf at 0."""
    xp = namespace(y)
    return y + xp.log(-xp.expm1(-y))


def stack_columns(*columns: Array) -> Array:
    """Columns broadcast against each other and stacked along a new last axis, as floats."""
    xp = namespace(*columns)
    return xp.stack(xp.broadcast_arrays(*[xp.asarray(column, dtype=float) for column in columns]), axis=-1)


def require(condition: Array, requirement: str, *values: Array) -> None:
    """Raise ValueError with ``requirement`` unless ``condition`` holds everywhere; traced values are let through.

    ``values`` are what the condition was computed from; they are shown.
    """
    if isinstance(condition, jax.core.Tracer) or np.all(condition):
        return
    shown = ", ".join(np.array2string(np.asarray(value), threshold=5, precision=6) for value in values)
    raise ValueError(f"{requirement}; got {shown}.")


def cholesky(matrix: Array) -> Array:
    """Lower Cholesky factor of symmetric matrices ``(..., d, d)``, of which the lower triangle is read.

    A matrix that is not positive definite gives a factor with nan in it, in both namespaces; the rest of the batch is
    not touched.
    """
    matrix = namespace(matrix).asarray(matrix)
    if matrix.shape[-1] <= _UNROLLED_DIMENSION:
        with np.errstate(invalid="ignore", divide="ignore"):
            return _cholesky_unrolled(matrix)
    return _cholesky_looped(matrix) if namespace(matrix) is jnp else _cholesky_numpy(matrix)


def _cholesky_unrolled(matrix: Array) -> Array:
    """Cholesky-Crout, one column after another; every step acts on the whole batch."""
    xp = namespace(matrix)
    dimension = matrix.shape[-1]
    zero = xp.zeros_like(matrix[..., 0, 0])
    factor = [[zero] * dimension for _ in range(dimension)]
    for j in range(dimension):
        pivot = matrix[..., j, j] - sum(factor[j][k] ** 2 for k in range(j))
        factor[j][j] = xp.sqrt(xp.where(pivot > 0.0, pivot, xp.nan))
        for i in range(j + 1, dimension):
            inner = sum(factor[i][k] * factor[j][k] for k in range(j))
            factor[i][j] = (matrix[..., i, j] - inner) / factor[j][j]
    return xp.stack([xp.stack(row, axis=-1) for row in factor], axis=-2)


def _cholesky_looped(matrix: Array) -> Array:
    """Right-looking Cholesky in JAX, a loop over columns.

    No LAPACK: several batches of its calls at once can wait for one another for ever on a CPU (seen with JAX 0.10).
    """
    dimension = matrix.shape[-1]
    lower = jnp.tril(matrix)
    symmetric = lower + jnp.swapaxes(jnp.tril(matrix, -1), -1, -2)

    def column(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        remaining, factor = state
        current = jax.lax.dynamic_index_in_dim(remaining, j, axis=-1, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(current, j, axis=-1)
        found = current / jnp.sqrt(jnp.where(pivot > 0.0, pivot, jnp.nan))
        found = jnp.where(jnp.arange(dimension) >= j, found, 0.0)
        return remaining - found[..., :, None] * found[..., None, :], factor.at[..., :, j].set(found)

    return jax.lax.fori_loop(0, dimension, column, (symmetric, jnp.zeros_like(symmetric)))[1]


def _cholesky_numpy(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        if matrix.ndim == 2:
            return np.where(np.tri(matrix.shape[-1], dtype=bool), np.nan, 0.0)
        return np.stack([_cholesky_numpy(element) for element in matrix])


def solve_triangular(factor: Array, b: Array, trans: int = 0) -> Array:
    """Solve L x = b, or L^T x = b with ``trans=1``, for lower triangular L.

    Parameters
    ----------
    factor
        ``(..., d, d)``; only the lower triangle is read.
    b
        ``(d,)``, or a stack of matrices ``(..., d, k)`` whose leading axes broadcast with those of ``factor``.
        A batch of vectors is passed as ``b[..., None]``.
    trans
        0 or 1.
    """
    xp = namespace(factor, b)
    factor, b = xp.asarray(factor), xp.asarray(b)
    if b.ndim == 1:
        return solve_triangular(factor, b[:, None], trans)[..., 0]
    if factor.shape[-1] <= _UNROLLED_DIMENSION:
        return _substitute(factor, b, trans)
    if xp is jnp:
        batch = jnp.broadcast_shapes(factor.shape[:-2], b.shape[:-2])
        factor = jnp.broadcast_to(factor, batch + factor.shape[-2:])
        b = jnp.broadcast_to(b, batch + b.shape[-2:])
        return _substitute_looped(factor, b, trans)
    if factor.ndim == 2 and b.ndim == 2 and np.all(np.isfinite(factor)):
        return scipy.linalg.solve_triangular(factor, b, lower=True, trans=trans, check_finite=False)
    return _substitute(factor, b, trans)


def _substitute(factor: Array, b: Array, trans: int) -> Array:
    """Forward (``trans=0``) or backward substitution, one row after another over the whole batch."""
    xp = namespace(factor, b)
    dimension = factor.shape[-1]
    rows: dict[int, Array] = {}
    for i in reversed(range(dimension)) if trans else range(dimension):
        known = range(i + 1, dimension) if trans else range(i)
        inner = sum((factor[..., j, i] if trans else factor[..., i, j])[..., None] * rows[j] for j in known)
        rows[i] = (b[..., i, :] - inner) / factor[..., i, i][..., None]
    return xp.stack([rows[i] for i in range(dimension)], axis=-2)


def _substitute_looped(factor: Array, b: Array, trans: int) -> Array:
    """`_substitute` in JAX as a loop over rows, for the reason given in `_cholesky_looped`."""
    dimension = factor.shape[-1]
    rows = jnp.swapaxes(jnp.tril(factor), -1, -2) if trans else jnp.tril(factor)

    def row(step: Array, x: Array) -> Array:
        i = dimension - 1 - step if trans else step
        weights = jax.lax.dynamic_index_in_dim(rows, i, axis=-2, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(weights, i, axis=-1)
        inner = jnp.sum(weights[..., :, None] * x, axis=-2)  # rows not yet known are zero
        return x.at[..., i, :].set((b[..., i, :] - inner) / pivot)

    return jax.lax.fori_loop(0, dimension, row, jnp.zeros_like(b))
