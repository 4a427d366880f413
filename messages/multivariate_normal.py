"""The full-covariance normal message over d variables, and its algebra as functions of the natural parameters.

Convention: the natural parameters of one message are one vector of d + d (d + 1) / 2 numbers,

    natural = [h, L_11, L_21, L_22, L_31, ...],    T(x) = [x, -x_1^2 / 2, -x_2 x_1, -x_2^2 / 2, ...],

h = L mean and the lower triangle of the precision matrix L, row by row, so that natural . T = h . x - x' L x / 2. The
precision stands there as it is: no factor of two or of sqrt(2), those are in T. All functions are batched over leading
axes. An improper message (L not positive definite) gives nan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import jax
import numpy as np

from messages.array_namespace import Array, cholesky, namespace, require, solve_triangular
from messages.family import Message, log_indicator
from messages.normal import Normal
from messages.variates import Key, standard_normal


def pack_symmetric(matrix: Array) -> Array:
    """Lower triangle, row by row: ``(..., d, d) -> (..., d (d + 1) / 2)``; the upper triangle is not read."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def unpack_symmetric(packed: Array, d: int) -> Array:
    """The symmetric matrix of which `pack_symmetric` kept a triangle: ``(..., d (d + 1) / 2) -> (..., d, d)``."""
    return packed[..., _position(d)]


@cache
def _position(d: int) -> np.ndarray:
    """``(d, d)`` index of element (i, j) in the packed triangle."""
    i, j = np.indices((d, d))
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


def pack(h: Array, precision: Array) -> Array:
    """Natural parameters from h ``(..., d)`` and the precision matrix ``(..., d, d)``; leading axes broadcast."""
    xp = namespace(h, precision)
    packed = pack_symmetric(precision)
    batch = np.broadcast_shapes(h.shape[:-1], packed.shape[:-1])
    return xp.concatenate([xp.broadcast_to(part, batch + part.shape[-1:]) for part in (h, packed)], axis=-1)


def unpack(natural: Array, d: int) -> tuple[Array, Array]:
    """h ``(..., d)`` and the precision matrix ``(..., d, d)`` from natural parameters."""
    return natural[..., :d], unpack_symmetric(natural[..., d:], d)


def dimension_of(natural: Array) -> int:
    """The d for which d + d (d + 1) / 2 is the size of the last axis; ValueError if there is none."""
    size = natural.shape[-1]
    d = int((np.sqrt(9 + 8 * size) - 3) // 2)
    if d * (d + 3) // 2 != size:
        raise ValueError(
            f"Natural parameters of d variables number d (d + 3) / 2; got {size}. Build them with pack(h, precision)."
        )
    return d


def num_natural(dimension: int) -> int:
    """How many natural parameters ``dimension`` variables have."""
    return dimension * (dimension + 3) // 2


def sufficient_statistics(x: Array) -> Array:
    """T(x), ``(..., d) -> (..., d (d + 3) / 2)``."""
    xp = namespace(x)
    d = x.shape[-1]
    rows, columns = np.tril_indices(d)
    return xp.concatenate([x, x[..., rows] * x[..., columns] * _statistic_factor(d)], axis=-1)


def _statistic_factor(d: int) -> np.ndarray:
    """-1/2 for the diagonal elements of the packed triangle, -1 for the others."""
    rows, columns = np.tril_indices(d)
    return np.where(rows == columns, -0.5, -1.0)


def is_proper(natural: Array, d: int) -> Array:
    """``(...,)`` bool: whether the precision matrix is positive definite."""
    xp = namespace(natural)
    factor = cholesky(unpack(natural, d)[1])
    return xp.all(xp.isfinite(_diagonal(factor)), axis=-1)


def log_partition(natural: Array, d: int) -> Array:
    """A = (h' L^-1 h - log det L + d log 2 pi) / 2, ``(...,)``, nats; nan if improper."""
    xp = namespace(natural)
    h, precision = unpack(natural, d)
    factor = cholesky(precision)
    white = solve_triangular(factor, h[..., None])[..., 0]
    log_determinant = 2.0 * xp.sum(xp.log(_diagonal(factor)), axis=-1)
    return 0.5 * (xp.sum(white**2, axis=-1) - log_determinant + d * np.log(2.0 * np.pi))


def moments_from_natural(natural: Array, d: int) -> tuple[Array, Array]:
    """Mean ``(..., d)`` and covariance ``(..., d, d)``; nan if improper."""
    h, precision = unpack(natural, d)
    covariance, root = _inverse(precision)
    white = (root @ h[..., None])[..., 0]
    return _apply(_transposed(root), white), covariance


def natural_from_moments(mean: Array, covariance: Array) -> Array:
    """Natural parameters from the mean ``(..., d)`` and covariance ``(..., d, d)``; nan unless positive definite."""
    precision, _ = _inverse(covariance)
    return pack(_apply(precision, mean), precision)


def expectation_from_moments(mean: Array, covariance: Array) -> Array:
    """E[T] from mean and covariance."""
    xp = namespace(mean, covariance)
    second = covariance + mean[..., :, None] * mean[..., None, :]
    return xp.concatenate([mean, pack_symmetric(second) * _statistic_factor(mean.shape[-1])], axis=-1)


def moments_from_expectation(expectation: Array, d: int) -> tuple[Array, Array]:
    """Mean and covariance from E[T]; the covariance cancels where the mean is many standard deviations."""
    mean = expectation[..., :d]
    second = unpack_symmetric(expectation[..., d:] / _statistic_factor(d), d)
    return mean, second - mean[..., :, None] * mean[..., None, :]


def _inverse(matrix: Array) -> tuple[Array, Array]:
    """M^-1 and C^-1 of a positive definite M = C C', both ``(..., d, d)``."""
    factor = cholesky(matrix)
    root = solve_triangular(factor, np.eye(matrix.shape[-1]))
    return _transposed(root) @ root, root


def _transposed(matrix: Array) -> Array:
    return namespace(matrix).swapaxes(matrix, -1, -2)


def _apply(matrix: Array, vector: Array) -> Array:
    return (matrix @ vector[..., None])[..., 0]


def _diagonal(matrix: Array) -> Array:
    return namespace(matrix).diagonal(matrix, axis1=-2, axis2=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class MultivariateNormal(Message):
    """N(mean, covariance) over d variables, ``natural_parameters (*plate, d (d + 3) / 2)``."""

    natural_parameters: Array
    event_ndim: ClassVar[int] = 1

    @classmethod
    def from_mean_covariance(cls, mean: Array, covariance: Array) -> MultivariateNormal:
        """The proper message with mean ``(*plate, d)`` and covariance ``(*plate, d, d)``.

        Raises ValueError unless the covariance is positive definite.
        """
        xp = namespace(mean, covariance)
        natural = natural_from_moments(xp.asarray(mean, dtype=float), xp.asarray(covariance, dtype=float))
        require(xp.isfinite(natural), "A multivariate normal message needs a positive definite covariance", covariance)
        return cls(natural)

    @property
    def dimension(self) -> int:
        """The number of variables, d."""
        return dimension_of(self.natural_parameters)

    @property
    def support(self) -> tuple[Array, Array]:
        return -np.inf, np.inf

    @property
    def is_proper(self) -> Array:
        return is_proper(self.natural_parameters, self.dimension)

    def sufficient_statistics(self, x: Array) -> Array:
        """[x, -x_1^2 / 2, -x_2 x_1, -x_2^2 / 2, ...]."""
        return sufficient_statistics(x)

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        return log_partition(self.natural_parameters, self.dimension)

    @property
    def expectation_parameters(self) -> Array:
        return expectation_from_moments(*moments_from_natural(self.natural_parameters, self.dimension))

    def natural_from_expectation(self, expectation: Array) -> Array:
        return natural_from_moments(*moments_from_expectation(expectation, self.dimension))

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        """Moments about the mean; nan unless the covariance of the draws is positive definite."""
        xp = namespace(draws, weights)
        mean = (weights[..., None] * draws).sum(axis=0)
        centred = draws - mean
        covariance = xp.einsum("n...i,n...j->...ij", weights[..., None] * centred, centred)
        return natural_from_moments(mean, covariance)

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        """``curvature (*plate, d, d)`` is the negative Hessian of the log density at ``mode``; it may be indefinite."""
        return pack(_apply(curvature, mode), curvature)

    @property
    def mean(self) -> Array:
        return moments_from_natural(self.natural_parameters, self.dimension)[0]

    @property
    def covariance(self) -> Array:
        """Covariance matrix, ``(*plate, d, d)``; nan if improper."""
        return moments_from_natural(self.natural_parameters, self.dimension)[1]

    @property
    def variance(self) -> Array:
        return _diagonal(self.covariance)

    @property
    def marginals(self) -> Normal:
        """The marginal of each variable, a `Normal` over the plate ``(*plate, d)``."""
        mean, covariance = moments_from_natural(self.natural_parameters, self.dimension)
        precision = 1.0 / _diagonal(covariance)
        return Normal(namespace(mean).stack([mean * precision, precision], axis=-1))

    def quadrature(self) -> tuple[Array, Array]:
        return self.marginals.quadrature()

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        mean, covariance = moments_from_natural(self.natural_parameters, self.dimension)
        noise = standard_normal(key, tuple(shape) + mean.shape)
        return mean + _apply(cholesky(covariance), noise)
