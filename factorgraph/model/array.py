"""An array of unknowns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.errors import ModelError
from factorgraph.model.composition import AbstractPriorModel
from factorgraph.model.expression import Expression, is_number
from factorgraph.model.model import as_node
from factorgraph.model.prior import Prior
from factorgraph.model.variable import Variable
from messages.array_namespace import namespace

Index = int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """Builds an array."""

    shape: tuple[int, ...]

    def build(self, children: list[Any]) -> Any:
        xp = namespace(*children)
        return xp.stack([xp.asarray(child) for child in children]).reshape(self.shape)


class Array(AbstractPriorModel):
    """An array whose elements are unknowns or numbers; instances are NumPy (or, traced, JAX) arrays.

    ``array[0, 1] = 2.0`` fixes an element, a prior, relation or variable of elsewhere sets or links it.

    Parameters
    ----------
    shape
        One or more axes, none of them empty.
    prior
        Its distribution is given to every element, each an unknown of its own. Without it they start without a prior.

    Raises
    ------
    ModelError
        A shape without elements, or an index outside of it.
    """

    def __init__(self, shape: int | tuple[int, ...], prior: Prior | None = None):
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        if not shape or any(length < 1 for length in shape):
            raise ModelError(f"Array: shape = {shape}; every axis needs at least one element.")
        prior = as_node(prior)
        if prior is not None and not isinstance(prior, Prior):
            raise ModelError(f"Array: prior = {prior!r}; it must be a prior, such as fg.GaussianPrior(0.0, 1.0).")
        self._shape = shape
        self._elements: dict[tuple[int, ...], Any] = {
            index: prior.renewed() if prior is not None else Variable(_name(index))
            for index in itertools.product(*map(range, shape))
        }
        self._assertions = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def _label(self) -> str:
        return "Array"

    def _children(self) -> list[tuple[str, Any]]:
        return [(_name(index), value) for index, value in self._elements.items()]

    def _builder(self) -> Stack:
        return Stack(self._shape)

    def _copied(self, memo: dict[int, Any]) -> Array:
        twin = Array(self._shape)
        twin._elements.update(self._elements)
        twin._assertions = list(self._assertions)
        return twin

    def __getitem__(self, index: Index) -> Any:
        return self._elements[self._checked(index)]

    def __setitem__(self, index: Index, value: Any) -> None:
        value = as_node(value)
        if not isinstance(value, Expression) and not (is_number(value) and np.ndim(value) == 0):
            raise ModelError(f"Array: element {index} = {value!r}; it must be a number, a prior or a relation.")
        self._elements[self._checked(index)] = float(value) if isinstance(value, int) else value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements.values())

    def __len__(self) -> int:
        return math.prod(self._shape)

    def __repr__(self) -> str:
        return f"Array(shape={self._shape})"

    def _checked(self, index: Index) -> tuple[int, ...]:
        given = index if isinstance(index, tuple) else (index,)
        if len(given) == len(self._shape):
            wrapped = tuple(i + length if i < 0 else i for i, length in zip(given, self._shape))
            if wrapped in self._elements:
                return wrapped
        raise ModelError(f"Array: index {index}; it must name one element of the shape {self._shape}.")


def _name(index: tuple[int, ...]) -> str:
    return "element_" + "_".join(map(str, index))
