"""What a class says about its parameters: names, defaults, annotations and declared priors."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any

from factorgraph.errors import ModelError, UnknownArgument, name_hint
from factorgraph.model.expression import is_number
from factorgraph.model.prior import Prior
from factorgraph.model.tuple_prior import TuplePrior
from factorgraph.model.variable import Variable

_LIBRARIES = sys.stdlib_module_names | {"numpy", "scipy", "jax", "jaxlib", "xarray", "pandas"}  # define no user's class


def signature_of(cls: type) -> dict[str, inspect.Parameter]:
    """Constructor parameters by name, without ``*args``; annotations are evaluated where they can be.

    Raises
    ------
    ModelError
        ``cls`` is no class, or one whose constructor Python cannot describe.
    """
    if not isinstance(cls, type):
        raise ModelError(f"Model: got {cls!r}; it must be a class. An instance can be put into a Collection as it is.")
    try:
        signature = inspect.signature(cls, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):  # an annotation that cannot be evaluated
        try:
            signature = inspect.signature(cls)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"Model: Python knows no constructor arguments of {cls!r}; write a class that wraps it."
            ) from error
    except ValueError as error:
        raise ModelError(
            f"Model: Python knows no constructor arguments of {cls!r}; write a class that wraps it."
        ) from error
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    }


def declared_priors(cls: type, names: typing.Iterable[str]) -> dict[str, Any]:
    """Priors (or numbers) in the class attribute ``priors`` of ``cls`` and its parents, the nearest first.

    Raises
    ------
    UnknownArgument
        ``cls`` itself declares a prior for an argument that it does not have.
    """
    names = list(names)
    found: dict[str, Any] = {}
    for parent in cls.__mro__:
        declared = vars(parent).get("priors")
        if not isinstance(declared, dict) or not all(
            isinstance(p, Variable) or is_number(p) for p in declared.values()
        ):
            continue
        for name, prior in declared.items():
            if name in names:
                found.setdefault(name, prior)
            elif parent is cls:
                raise UnknownArgument(
                    f"{cls.__name__}.priors: no constructor argument {name!r}.{name_hint(name, names)}"
                )
    return {name: p.renewed(is_default=True) if isinstance(p, Prior) else p for name, p in found.items()}


def initial_value(cls: type, parameter: inspect.Parameter, child: Callable[[type], Any]) -> Any:
    """What a constructor argument is before anything is assigned; ``inspect.Parameter.empty``: leave it to the class.

    Parameters
    ----------
    child
        Makes the model of a class.
    """
    name, default, annotation = parameter.name, parameter.default, parameter.annotation
    for note in (annotation, *getattr(annotation, "__metadata__", ())):
        if isinstance(note, Prior):
            return note.renewed()
    if default is inspect.Parameter.empty:
        if length := _tuple_length(annotation):
            return _tuple_of_variables(name, length)
        return child(annotation) if _is_user_class(annotation) else Variable(name)
    if isinstance(default, type):
        return child(default)
    if isinstance(default, Prior):  # evaluated once by Python, but each model has an unknown of its own
        return default.renewed(is_default=True)
    if _has_default_factory(cls, name):
        return inspect.Parameter.empty
    if isinstance(default, tuple) and default and all(map(is_number, default)) and not hasattr(default, "_fields"):
        return _tuple_of_variables(name, len(default))
    return Variable(name) if isinstance(default, (int, float)) and is_number(default) else default


def takes_floats(parameter: inspect.Parameter) -> bool:
    """Is a whole number assigned to this argument meant as a float?"""
    return isinstance(parameter.default, float) or parameter.annotation is float


def _tuple_of_variables(name: str, length: int) -> TuplePrior:
    names = [f"{name}_{index}" for index in range(length)]
    return TuplePrior({element: Variable(element) for element in names})


def _tuple_length(annotation: Any) -> int:
    """Number of elements of ``tuple[float, ...]`` with each written out, else 0."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else ()
    return len(members) if all(member in (int, float) for member in members) else 0


def _is_user_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation.__module__.split(".")[0] not in _LIBRARIES


def _has_default_factory(cls: type, name: str) -> bool:
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return any(field.name == name and field.default_factory is not dataclasses.MISSING for field in fields)
