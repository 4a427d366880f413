"""Digests of what a run is made of: equal for the same script in another process, different once anything changed.

Numbers count by their bits, classes and functions of the user's own by what they do: bytecode, defaults, closures and
the functions and constants they name, but neither comments nor where the file lies. Code of installed packages counts
by its name, since their versions are compared anyway.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

_OURS = ("factorgraph", "messages", "searches")
_SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_NUMERICAL = ("factorgraph/graph", "factorgraph/model", "factorgraph/propagation", "messages", "searches")
_CONTAINERS = (tuple, list, dict, set, frozenset, types.CodeType)
_STEADY = (*_SIMPLE, tuple, frozenset, np.ndarray, np.generic, type, enum.Enum, functools.partial, types.FunctionType)


def digest_of(*things: Any) -> str:
    """32 hex digits of the content of ``things``: numbers, arrays, containers, functions, classes, and objects of
    these."""
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return walk.hash.hexdigest()


@functools.cache
def digest_of_source() -> str:
    """16 hex digits of the source of this distribution that makes numbers: two states of it may have one version."""
    found = hashlib.blake2b(digest_size=8)
    root = Path(__file__).resolve().parent.parent.parent
    for package in _NUMERICAL:
        for path in sorted((root / package).rglob("*.py")):
            found.update(str(path.relative_to(root)).encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def is_library(module: str) -> bool:
    """Whether a module is installed, not the user's own."""
    top = module.partition(".")[0]
    if top in _OURS or top in sys.stdlib_module_names:
        return top != "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and bool({"site-packages", "dist-packages"} & set(Path(file).parts))


class _Walk:
    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, tuple[int, Any]] = {}  # the object too: an id may be used again
        self._within: set[int] = set()  # containers that are being walked

    def add(self, thing: Any) -> None:
        if isinstance(thing, enum.Enum):
            self._say("enum", type(thing).__qualname__, thing.name)
        elif isinstance(thing, _SIMPLE):
            self._say(type(thing).__name__, thing.hex() if isinstance(thing, float) else repr(thing))
        elif isinstance(thing, (np.ndarray, np.generic)) or _is_device_array(thing):
            self._add_array(np.asarray(thing))
        elif isinstance(thing, types.ModuleType):
            self._say("module", thing.__name__)
        elif isinstance(thing, _CONTAINERS):  # equal ones may be one object in one process and two in another
            if id(thing) in self._within:
                self._say("within")
                return
            self._within.add(id(thing))
            self._add_compound(thing)
            self._within.discard(id(thing))
        elif id(thing) in self._seen:
            self._say("seen", str(self._seen[id(thing)][0]))
        else:
            self._seen[id(thing)] = (len(self._seen), thing)
            self._add_compound(thing)

    def _say(self, *words: str) -> None:
        for word in words:
            data = word.encode("utf-8", "surrogatepass")
            self.hash.update(len(data).to_bytes(8, "little") + data)

    def _add_array(self, array: np.ndarray) -> None:
        self._say("array", array.dtype.str, repr(array.shape))
        if array.dtype.hasobject:
            for value in array.ravel():
                self.add(value)
        else:
            self.hash.update(np.ascontiguousarray(array).data if array.size and array.dtype.kind in "biufc" else b"")
            if array.dtype.kind not in "biufc":
                self.hash.update(array.tobytes())

    def _add_compound(self, thing: Any) -> None:
        if isinstance(thing, (tuple, list)):
            self._say(type(thing).__qualname__, str(len(thing)))
            for value in thing:
                self.add(value)
        elif isinstance(thing, dict):
            self._say("dict", str(len(thing)))
            for key, value in sorted(((digest_of(k), v) for k, v in thing.items()), key=lambda pair: pair[0]):
                self._say(key)
                self.add(value)
        elif isinstance(thing, (set, frozenset)):
            self._say("set", *sorted(map(digest_of, thing)))
        elif isinstance(thing, type):
            self._add_class(thing)
        elif isinstance(thing, types.FunctionType):
            self._add_function(thing)
        elif isinstance(thing, types.MethodType):
            self.add(thing.__func__)
            self.add(thing.__self__)
        elif isinstance(thing, types.CodeType):
            self._add_code(thing, None)
        elif isinstance(thing, (staticmethod, classmethod, functools.cached_property)):
            self.add(getattr(thing, "__func__", None) or thing.func)  # type: ignore[union-attr]
        elif isinstance(thing, property):
            self.add((thing.fget, thing.fset))
        elif isinstance(getattr(thing, "__wrapped__", None), types.FunctionType):  # a function that was jitted
            self._say("wrapped")
            self.add(thing.__wrapped__)
        else:
            self._add_object(thing)

    def _add_class(self, cls: type) -> None:
        self._say("class", cls.__qualname__)
        if is_library(cls.__module__):
            self._say(cls.__module__)
            return
        for name, value in sorted(vars(cls).items()):
            described = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
            if isinstance(value, (*described, *_SIMPLE)) and name not in _UNSAID:
                self._say(name)
                self.add(value)
        for base in cls.__bases__:
            self.add(base)

    def _add_function(self, function: types.FunctionType) -> None:
        self._say("function", function.__qualname__)
        if is_library(function.__module__ or ""):
            self._say(function.__module__ or "")
            return
        self._add_code(function.__code__, function.__doc__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self._add_steady(cell.cell_contents)
            except ValueError:  # nothing in it yet
                self._say("empty")
        for name in sorted(_names_in(function.__code__)):
            if name in function.__globals__:
                self._say(name)
                self._add_steady(function.__globals__[name])

    def _add_steady(self, value: Any) -> None:
        """What a function refers to, unless it is meant to change: a list that collects is no part of the model."""
        is_wrapped = isinstance(getattr(value, "__wrapped__", None), types.FunctionType)
        if isinstance(value, _STEADY) or _is_device_array(value) or is_wrapped:
            self.add(value)
        else:
            self._say(type(value).__qualname__)

    def _add_code(self, code: types.CodeType, doc: str | None) -> None:
        self._say("code", *code.co_names, *code.co_varnames, *code.co_freevars)
        self.hash.update(code.co_code)
        for constant in code.co_consts:
            if doc is None or constant != doc:
                self.add(constant)

    def _add_object(self, thing: Any) -> None:
        self.add(type(thing))
        self._say(str(getattr(thing, "__name__", "")))  # of what is compiled
        parameters = getattr(thing, "parameters", None)
        if hasattr(thing, "token") and hasattr(thing, "name"):  # a variable, whose token is new in every process
            self.add((getattr(thing, "family", None), parameters))
            return
        try:
            reduced = thing.__reduce_ex__(4)
        except Exception:  # whatever an object of the user's says to being taken apart: its class must do
            return
        if isinstance(reduced, str):  # found by its name
            self._say(reduced)
            return
        self.add(tuple(list(part) if hasattr(part, "__next__") else part for part in reduced[1:5]))


_UNSAID = ("__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__")


def _is_device_array(thing: Any) -> bool:
    return hasattr(thing, "__array__") and type(thing).__module__.partition(".")[0] in ("jax", "jaxlib")


def _names_in(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names
