"""The contract of a message: what every exponential family offers, and what follows from it.

A message is the function t(x) = exp(natural . T(x)) of one variable, seen against the family's base measure h(x);
normalised, its density is

    p(x) = h(x) exp(natural . T(x) - A(natural)),    A = log_partition.

The constants belong to A, so h is 1 on the support of a plain family and carries the Jacobian of a transformed one.
Hence a product of messages is the sum of their natural parameters, zero natural parameters are the constant 1 (a site
that says nothing), and negative precisions are legitimate: `Message.is_proper` says which messages can be normalised.
What does not exist (a moment, the partition function of an improper message) is nan.

Every message is batched over the plate, computes with NumPy on NumPy arrays and with JAX on JAX arrays, and is a JAX
pytree. The module knows no family. To add one, write the abstract members and one row in
``tests/messages/families.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, Self

import jax
import numpy as np

from messages.array_namespace import Array, namespace


class Message(ABC):
    """An exponential-family factor of one variable.

    A family is a frozen dataclass, registered with ``jax.tree_util.register_dataclass``, whose first field is
    ``natural_parameters`` ``(*plate, natural)``; further fields (limits, a bijector) are fixed: algebra leaves them
    alone. ``x`` has the shape ``(*plate, *event)``, or any shape that broadcasts with it.
    """

    natural_parameters: Array
    event_ndim: ClassVar[int] = 0
    support_is_closed: ClassVar[bool] = False

    # What a family states about itself.

    @property
    @abstractmethod
    def support(self) -> tuple[Array, Array]:
        """Lower and upper limit of x, each broadcastable to ``(*plate, *event)``."""

    @property
    @abstractmethod
    def is_proper(self) -> Array:
        """``(*plate,)`` bool: whether the message can be normalised."""

    @abstractmethod
    def sufficient_statistics(self, x: Array) -> Array:
        """T(x), ``(*plate, natural)``, for x in the support."""

    @abstractmethod
    def log_base_measure(self, x: Array) -> Array:
        """log h(x), ``(*plate,)``: 0 inside the support of a plain family, -inf outside."""

    @property
    @abstractmethod
    def log_partition(self) -> Array:
        """A(natural) = log of the integral of h exp(natural . T), ``(*plate,)``, nats; nan if improper."""

    @property
    @abstractmethod
    def expectation_parameters(self) -> Array:
        """E[T], the gradient of `log_partition`, ``(*plate, natural)``; nan if improper."""

    @abstractmethod
    def natural_from_expectation(self, expectation: Array) -> Array:
        """Natural parameters ``(*plate, natural)`` whose E[T] is ``expectation``; nan where there are none.

        The fixed fields of this message (limits, bijector) apply; its own natural parameters do not matter.
        """

    @abstractmethod
    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        """Natural parameters with the E[T] of weighted draws: ``draws (n, *plate, *event)``, ``weights (n, *plate)``.

        The draws lie in the support, the weights sum to one over the first axis: see `messages.projection.from_draws`.
        """

    @abstractmethod
    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        """Natural parameters with the mode at ``mode`` and -d^2/dx^2 (natural . T) = ``curvature`` there.

        Mode and curvature are those of exp(natural . T), the density relative to h.
        """

    @property
    @abstractmethod
    def mean(self) -> Array:
        """E[x] in the variable's own coordinate, ``(*plate, *event)``; nan where it does not exist."""

    @property
    @abstractmethod
    def variance(self) -> Array:
        """Var[x] of each component, ``(*plate, *event)``; nan where it does not exist."""

    @abstractmethod
    def quadrature(self) -> tuple[Array, Array]:
        """Nodes and normalised weights, both ``(n, *plate, *event)``, for expectations under each component's marginal.

        They reach into the tails until the density has fallen by exp(-700), or to the limit of the support.
        """

    @abstractmethod
    def sample(self, key: Array | np.random.Generator, shape: tuple[int, ...] = ()) -> Array:
        """Independent draws ``(*shape, *plate, *event)``; nan where improper.

        A JAX key draws with JAX, a NumPy generator with NumPy.
        """

    # What follows; no family overrides it.

    @property
    def plate_shape(self) -> tuple[int, ...]:
        """Shape of the plate."""
        return self.natural_parameters.shape[:-1]

    def with_natural(self, natural: Array) -> Self:
        """The message of the same family and fixed fields with other natural parameters."""
        return replace(self, natural_parameters=natural)  # type: ignore[type-var]

    def product(self, other: Message) -> Self:
        """t(x) u(x); plates broadcast. Raises TypeError or ValueError unless both are of one family."""
        require_same_family(self, other)
        return self.with_natural(self.natural_parameters + other.natural_parameters)

    def quotient(self, other: Message) -> Self:
        """t(x) / u(x), which may be improper; otherwise as `product`."""
        require_same_family(self, other)
        return self.with_natural(self.natural_parameters - other.natural_parameters)

    def power(self, exponent: Array) -> Self:
        """t(x)^exponent, with ``exponent`` a number or ``(*plate,)``."""
        return self.with_natural(self.natural_parameters * namespace(exponent).asarray(exponent)[..., None])

    __mul__, __truediv__, __pow__ = product, quotient, power

    def contains(self, x: Array) -> Array:
        """``(*plate,)`` bool: whether x lies in the support; False for nan."""
        lower, upper = self.support
        inside = (x >= lower) & (x <= upper) if self.support_is_closed else (x > lower) & (x < upper)
        return inside.all(axis=-1) if self.event_ndim else inside

    def log_density(self, x: Array) -> Array:
        """log p(x), ``(*plate,)``, nats: -inf outside the support (with zero gradient), nan where improper."""
        xp = namespace(self.natural_parameters, x)
        inside = self.contains(x)
        x = xp.where(inside[..., None] if self.event_ndim else inside, x, interior_point(*self.support))
        exponent = xp.sum(self.natural_parameters * self.sufficient_statistics(x), axis=-1)
        return xp.where(inside, exponent - self.log_partition + self.log_base_measure(x), -xp.inf)


def log_indicator(message: Message, x: Array) -> Array:
    """0 where x lies in the support of ``message``, -inf elsewhere: the base measure of a plain family."""
    xp = namespace(message.natural_parameters, x)
    return xp.where(message.contains(x), 0.0, -xp.inf)


def interior_point(lower: Array, upper: Array) -> Array:
    """A finite point between two limits, either of which may be infinite."""
    xp = namespace(lower, upper)
    open_below, open_above = xp.isinf(lower), xp.isinf(upper)
    low, high = xp.where(open_below, 0.0, lower), xp.where(open_above, 0.0, upper)
    one_sided = xp.where(open_above, low + 1.0, high - 1.0)
    return xp.where(open_below & open_above, 0.0, xp.where(open_below | open_above, one_sided, 0.5 * (low + high)))


def expected_statistics(message: Message, draws: Array, weights: Array) -> Array:
    """Weighted mean of T over the first axis, ``(*plate, natural)``."""
    return (weights[..., None] * message.sufficient_statistics(draws)).sum(axis=0)


def require_same_family(left: Message, right: Message) -> None:
    """Raise TypeError for two families, ValueError for one family with different fixed fields (limits, bijector).

    Values that JAX traces cannot be compared and are taken to agree.
    """
    if _types(left) != _types(right):
        raise TypeError(
            f"Only messages of one family can be combined; got {_name(left)} and {_name(right)}. "
            "Project one of them first (messages.projection)."
        )
    for ours, theirs in zip(_fixed_values(left), _fixed_values(right), strict=True):
        traced = isinstance(ours, jax.core.Tracer) or isinstance(theirs, jax.core.Tracer)
        if not traced and not np.all(np.asarray(ours) == np.asarray(theirs)):
            raise ValueError(
                f"Two {_name(left)} messages with different fixed values cannot be combined; got {ours} and {theirs}. "
                "Give both the same limits, value or bijector."
            )


def _fixed_values(message: Message) -> list[Array]:
    return jax.tree.leaves(message.with_natural(None))


def _types(part: Any) -> tuple:
    """The type of a message with those of its parts (base and bijector)."""
    parts = [getattr(part, field.name) for field in fields(part)]
    return type(part), *(_types(inner) for inner in parts if is_dataclass(inner))


def _name(message: Message) -> str:
    def spell(types: tuple) -> str:
        outer, *inner = types
        return outer.__name__ + (f"({', '.join(spell(part) for part in inner)})" if inner else "")

    return spell(_types(message))
