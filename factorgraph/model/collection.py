"""A collection of models, unknowns and numbers, by name or by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from factorgraph.errors import ModelError, UnknownAttribute, name_hint
from factorgraph.model.composition import AbstractPriorModel
from factorgraph.model.model import as_node
from factorgraph.model.tree import copy_tree


class Instance:
    """What a `Collection` builds: its members by attribute, key or position, iterated in order."""

    def __init__(self, members: dict[str, Any]):
        self.__dict__.update(members)

    def __getitem__(self, key: str | int | slice) -> Any:
        return vars(self)[key] if isinstance(key, str) else list(vars(self).values())[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(vars(self).values())

    def __len__(self) -> int:
        return len(vars(self))

    def __repr__(self) -> str:
        return f"Instance({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


@dataclass(frozen=True, slots=True)
class Gather:
    """Builds an `Instance`."""

    keys: tuple[str, ...]

    def build(self, children: list[Any]) -> Instance:
        return Instance(dict(zip(self.keys, children)))


class Collection(AbstractPriorModel):
    """Members by keyword, by position (keys "0", "1", ...) or from one list or dict; all of them are kept.

    Classes become models, lists and dicts collections; anything else stays what it is.

    Raises
    ------
    ModelError
        Two members with one key, or a key that is a method of every collection.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if len(args) == 1 and isinstance(args[0], dict):
            positional = {str(key): value for key, value in args[0].items()}
        else:
            members = args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args
            positional = {str(index): value for index, value in enumerate(members)}
        if twice := positional.keys() & kwargs.keys():
            raise ModelError(f"Collection: {', '.join(sorted(twice))} was given twice.")
        vars(self).update(_members={}, _assertions=[])
        for key, value in {**positional, **kwargs}.items():
            self._put(key, value)

    @property
    def _label(self) -> str:
        return "Collection"

    def _children(self) -> list[tuple[str, Any]]:
        return list(self._members.items())

    def _builder(self) -> Gather:
        return Gather(tuple(self._members))

    def _copied(self, memo: dict[int, Any]) -> Collection:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        members = {key: copy_tree(value, memo) for key, value in self._members.items()}
        vars(twin).update(_members=members, _assertions=list(self._assertions))
        return twin

    def append(self, value: Any) -> None:
        """Add a member under the next free number."""
        index = len(self._members)
        while str(index) in self._members:
            index += 1
        self._put(str(index), value)

    def keys(self) -> list[str]:
        return list(self._members)

    def values(self) -> list[Any]:
        return list(self._members.values())

    def items(self) -> list[tuple[str, Any]]:
        return list(self._members.items())

    def __getattr__(self, name: str) -> Any:
        members = vars(self).get("_members", {})
        if name.startswith("__") or name not in members:
            raise UnknownAttribute(f"Collection has no {name!r}.{name_hint(name, members)}")
        return members[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            vars(self)[name] = value
        else:
            self._put(name, value)

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._members[key] if isinstance(key, str) else self.values()[key]

    def __setitem__(self, key: str | int, value: Any) -> None:
        self._put(key if isinstance(key, str) else list(self._members)[key], value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: Any) -> bool:
        return any(value is member for value in self._members.values()) or (
            isinstance(member, str) and member in self._members
        )

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._members})

    def __repr__(self) -> str:
        return f"Collection({', '.join(f'{key}={value!r}' for key, value in self.items())})"

    def _put(self, key: str, value: Any) -> None:
        if hasattr(type(self), key) or key in vars(self):
            raise ModelError(f"Collection: {key!r} is a method or property of every collection; choose another name.")
        node = as_node(value)
        self._members[key] = Collection(node) if type(node) in (list, dict) else node
