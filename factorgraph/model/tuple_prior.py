"""A constructor argument that is a tuple of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from factorgraph.errors import ModelError, UnknownAttribute, name_hint
from factorgraph.model.tree import AsSequence, Node


class TuplePrior(Node):
    """A tuple of unknowns or numbers, reached by index or by exact name (``centre_0``); instances get a tuple.

    Parameters
    ----------
    elements
        Name and value of each element, in order.
    """

    def __init__(self, elements: dict[str, Any]):
        object.__setattr__(self, "_elements", dict(elements))

    @property
    def _label(self) -> str:
        return "TuplePrior"

    def _children(self) -> list[tuple[str, Any]]:
        return list(self._elements.items())

    def _builder(self) -> AsSequence:
        return AsSequence(tuple)

    def _copied(self, memo: dict[int, Any]) -> TuplePrior:
        return TuplePrior(self._elements)

    def replace_all(self, values: Any) -> None:
        """Assign every element at once.

        Raises
        ------
        ModelError
            Not as many values as elements.
        """
        if len(values) != len(self._elements):
            raise ModelError(f"got {len(values)} values for the {len(self._elements)} elements {list(self._elements)}.")
        self._elements.update(zip(self._elements, values))

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements.values())

    def __getitem__(self, index: int) -> Any:
        return list(self._elements.values())[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._elements[list(self._elements)[index]] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._elements:
            raise UnknownAttribute(
                f"the tuple has no element {name!r}." + name_hint(name, self.__dict__.get("_elements", ()))
            )
        return self._elements[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._elements:
            raise UnknownAttribute(f"the tuple has no element {name!r}.{name_hint(name, self._elements)}")
        self._elements[name] = value

    def __repr__(self) -> str:
        return f"TuplePrior({', '.join(f'{name}={value!r}' for name, value in self._elements.items())})"
