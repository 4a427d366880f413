"""Monotone maps y = g(x) from the real line, elementwise, with the logarithm of their Jacobian.

``log_jacobian`` is the one place where a Jacobian is written down; `Transformed` is the one place where it is used.
Parameters are arrays that broadcast with x (a plate, or the components of a vector), and are traced by JAX. To add a
bijector: a frozen dataclass registered with ``jax.tree_util.register_dataclass`` with the three methods, and one row in
``tests/messages/test_bijectors.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax
import numpy as np

from messages.array_namespace import (
    Array,
    expit,
    namespace,
    ndtr,
    ndtri,
    softplus,
    softplus_inverse,
)


class Bijector(ABC):
    """A strictly monotone, differentiable map of the real line onto an interval."""

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """y = g(x); the limits of the interval at -inf and inf."""

    @abstractmethod
    def inverse(self, y: Array) -> Array:
        """x with g(x) = y, for y inside the interval."""

    @abstractmethod
    def log_jacobian(self, x: Array) -> Array:
        """log |dy/dx| at x."""

    @property
    def range(self) -> tuple[Array, Array]:
        """Lower and upper limit of y."""
        return ordered(self.forward(-np.inf), self.forward(np.inf))


def ordered(first: Array, second: Array) -> tuple[Array, Array]:
    """The smaller and the larger of two limits."""
    xp = namespace(first, second)
    return xp.minimum(first, second), xp.maximum(first, second)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Affine(Bijector):
    """y = shift + scale x, with ``scale != 0``."""

    shift: Array = 0.0
    scale: Array = 1.0

    def forward(self, x: Array) -> Array:
        return self.shift + self.scale * x

    def inverse(self, y: Array) -> Array:
        return (y - self.shift) / self.scale

    def log_jacobian(self, x: Array) -> Array:
        xp = namespace(self.scale, x)
        return xp.log(xp.abs(self.scale)) + xp.zeros_like(x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Exp(Bijector):
    """y = exp(x) > 0."""

    def forward(self, x: Array) -> Array:
        return namespace(x).exp(x)

    def inverse(self, y: Array) -> Array:
        return namespace(y).log(y)

    def log_jacobian(self, x: Array) -> Array:
        return x


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Softplus(Bijector):
    """y = scale log(1 + exp(x)) > 0: exponential far below zero, linear far above."""

    scale: Array = 1.0

    def forward(self, x: Array) -> Array:
        return self.scale * softplus(x)

    def inverse(self, y: Array) -> Array:
        return softplus_inverse(y / self.scale)

    def log_jacobian(self, x: Array) -> Array:
        return namespace(self.scale, x).log(self.scale) - softplus(-x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Logistic(Bijector):
    """y = lower + (upper - lower) / (1 + exp(-x)): the inverse of a logit."""

    lower: Array = 0.0
    upper: Array = 1.0

    def forward(self, x: Array) -> Array:
        return _between(self.lower, self.upper, expit(x), expit(-x))

    def inverse(self, y: Array) -> Array:
        xp = namespace(self.lower, self.upper, y)
        return xp.log(y - self.lower) - xp.log(self.upper - y)

    def log_jacobian(self, x: Array) -> Array:
        xp = namespace(self.lower, self.upper, x)
        return xp.log(self.upper - self.lower) - softplus(x) - softplus(-x)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class NormalCdf(Bijector):
    """y = lower + (upper - lower) Phi(x): a standard normal x makes y uniform."""

    lower: Array = 0.0
    upper: Array = 1.0

    def forward(self, x: Array) -> Array:
        return _between(self.lower, self.upper, ndtr(x), ndtr(-x))

    def inverse(self, y: Array) -> Array:
        xp = namespace(self.lower, self.upper, y)
        width = self.upper - self.lower
        below, above = (y - self.lower) / width, (self.upper - y) / width
        return xp.where(below < above, ndtri(below), -ndtri(above))

    def log_jacobian(self, x: Array) -> Array:
        xp = namespace(self.lower, self.upper, x)
        return xp.log(self.upper - self.lower) - 0.5 * (x**2 + np.log(2.0 * np.pi))


def _between(lower: Array, upper: Array, fraction: Array, rest: Array) -> Array:
    """lower + (upper - lower) fraction, with fraction + rest = 1, measured from the nearer limit."""
    xp = namespace(lower, upper, fraction)
    width = upper - lower
    return xp.where(fraction < rest, lower + width * fraction, upper - width * rest)
