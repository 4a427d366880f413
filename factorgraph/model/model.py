"""A model of one class: its constructor arguments are the parameters."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from factorgraph.errors import ModelError, UnknownArgument, UnknownAttribute, name_hint
from factorgraph.model.composition import AbstractPriorModel
from factorgraph.model.constructor import declared_priors, initial_value, signature_of, takes_floats
from factorgraph.model.expression import Expression, is_number
from factorgraph.model.scipy_priors import is_frozen, prior_from_scipy
from factorgraph.model.tree import Node, copy_tree
from factorgraph.model.tuple_prior import TuplePrior


@dataclass(frozen=True, slots=True)
class Construct:
    """Calls the class with its arguments, then sets the extra attributes."""

    cls: type
    positional: int
    arguments: tuple[str, ...]
    extras: tuple[str, ...]

    def build(self, children: list[Any]) -> Any:
        keywords = dict(zip(self.arguments[self.positional :], children[self.positional :]))
        instance = self.cls(*children[: self.positional], **keywords)
        for name, value in zip(self.extras, children[len(self.arguments) :]):
            setattr(instance, name, value)
        return instance


class Model(AbstractPriorModel):
    """Model of a class whose constructor arguments are unknowns, numbers or models themselves.

    An argument whose default is a number, or that has none, starts as a variable without a prior; a tuple of numbers
    as a `TuplePrior` (``model.centre[0]`` is ``model.centre_0``); a class as its model; anything else keeps its
    default. A class declares priors for its arguments by a class attribute, ``priors = {"centre": UniformPrior(0.0,
    100.0)}``, by annotation, ``centre: Annotated[float, UniformPrior(0.0, 100.0)]``, or as their defaults, ``centre =
    UniformPrior(0.0, 100.0)``; every model of it gets its own copies.

    Attributes are read and assigned by name. What is no constructor argument can be assigned too if it is a class, a
    model or an object of a user's class (or a list of such): it becomes an attribute of the instances.

    Parameters
    ----------
    cls
        Instances are made by ``cls(**arguments)``.
    **kwargs
        Assigned as attributes are.

    Raises
    ------
    UnknownArgument
        A number, prior, text or array under a name that is no constructor argument.
    ModelError
        ``cls`` is no class.
    """

    def __init__(self, cls: type, /, **kwargs: Any):
        parameters = signature_of(cls)
        open_ended = [p.name for p in parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = {name: p for name, p in parameters.items() if name not in open_ended}
        declared = declared_priors(cls, parameters)
        arguments = {
            name: declared[name] if name in declared else initial_value(cls, parameter, Model)
            for name, parameter in parameters.items()
        }
        vars(self).update(
            _cls=cls,
            _positional=sum(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in parameters.values()),
            _arguments={name: value for name, value in arguments.items() if value is not inspect.Parameter.empty},
            _names=tuple(parameters),
            _floats=frozenset(name for name, parameter in parameters.items() if takes_floats(parameter)),
            _open_ended=bool(open_ended),
            _extras={},
            _assertions=[],
        )
        for name, value in kwargs.items():
            self._assign(name, value, UnknownArgument)

    @property
    def cls(self) -> type:
        """The class of the instances."""
        return self._cls

    @property
    def _label(self) -> str:
        return self._cls.__name__

    def _children(self) -> list[tuple[str, Any]]:
        return [*self._arguments.items(), *self._extras.items()]

    def _builder(self) -> Construct:
        return Construct(self._cls, self._positional, tuple(self._arguments), tuple(self._extras))

    def _copied(self, memo: dict[int, Any]) -> Model:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        for branch in ("_arguments", "_extras"):
            copies = {name: copy_tree(value, memo) for name, value in vars(self)[branch].items()}
            vars(twin)[branch] = copies
        vars(twin)["_assertions"] = list(self._assertions)
        return twin

    def __getattr__(self, name: str) -> Any:
        found = _MISSING if name.startswith("__") else self._find(name)
        if found is _MISSING:
            owner = vars(self).get("_cls", type(self)).__name__
            raise UnknownAttribute(f"Model of {owner} has no {name!r}.{name_hint(name, self._known_names())}")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) and name not in self._names:
            vars(self)[name] = value
        else:
            self._assign(name, value, UnknownAttribute)

    def __getitem__(self, name: str) -> Any:
        """The argument or attribute ``name``, also where a method of `Model` has the same name."""
        return self.__getattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._known_names()})

    def __repr__(self) -> str:
        return f"Model({self._cls.__name__}, {', '.join(f'{name}={value!r}' for name, value in self._children())})"

    def _find(self, name: str) -> Any:
        for place in ("_arguments", "_extras"):
            if name in vars(self).get(place, {}):
                return vars(self)[place][name]
        owner = self._tuple_with(name)
        return _MISSING if owner is None else getattr(owner, name)

    def _tuple_with(self, name: str) -> TuplePrior | None:
        tuples = (value for value in vars(self).get("_arguments", {}).values() if isinstance(value, TuplePrior))
        return next((value for value in tuples if name in dict(value._children())), None)

    def _known_names(self) -> list[str]:
        elements = [
            name
            for value in vars(self).get("_arguments", {}).values()
            if isinstance(value, TuplePrior)
            for name, _ in value._children()
        ]
        return [*vars(self).get("_names", ()), *elements, *vars(self).get("_extras", {})]

    def _assign(self, name: str, value: Any, unknown: type[Exception]) -> None:
        value = as_node(value)
        if name in self._names:
            self._assign_argument(name, value)
        elif (owner := self._tuple_with(name)) is not None:
            setattr(owner, name, value)
        elif self._open_ended and not name.startswith("_"):
            self._arguments[name] = value
        elif hasattr(type(self), name):
            raise ModelError(
                f"Model of {self._label}: {name!r} is a method or property of every model; choose another name."
            )
        elif is_component(value):
            self._extras[name] = value
        else:
            raise unknown(
                f"{self._label} has no constructor argument {name!r}, to which {value!r} was assigned."
                + name_hint(name, self._known_names())
            )

    def _assign_argument(self, name: str, value: Any) -> None:
        current = self._arguments.get(name)
        if isinstance(current, TuplePrior) and isinstance(value, (tuple, list, TuplePrior)):
            current.replace_all(tuple(value))
            return
        if name in self._floats and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        self._arguments[name] = value


_MISSING = object()


def as_node(value: Any) -> Any:
    """``value`` as it stands in a tree: classes become models, frozen scipy.stats distributions become priors."""
    if isinstance(value, type):
        return Model(value)
    if is_frozen(value):
        return prior_from_scipy(value)
    if isinstance(value, dict):
        return {key: as_node(member) for key, member in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(as_node, value))
    return type(value)(map(as_node, value)) if type(value) in (list, tuple) else value


def is_component(value: Any) -> bool:
    """May it become an attribute of instances under a name that the class does not know?"""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_component, value))
    if isinstance(value, dict):
        return bool(value) and all(map(is_component, value.values()))
    if isinstance(value, Node):
        return True
    plain = isinstance(value, (Expression, str, bytes, complex, bool, type(None))) or is_number(value)
    return not plain and type(value).__module__.split(".")[0] not in ("builtins", "numpy", "jax", "jaxlib")
