"""Functions of unknowns, and the evaluation of any relation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph.model.expression import Expression, Relation
from messages.array_namespace import namespace

# operation -> (name of the function in numpy and jax.numpy, what `info` prints)
OPERATIONS: dict[str, tuple[str, str]] = {
    "add": ("add", "SumPrior"),
    "subtract": ("subtract", "DifferencePrior"),
    "multiply": ("multiply", "MultiplePrior"),
    "divide": ("true_divide", "DivisionPrior"),
    "floor_divide": ("floor_divide", "FloorDivPrior"),
    "remainder": ("remainder", "ModPrior"),
    "power": ("power", "PowerPrior"),
    "negative": ("negative", "NegativePrior"),
    "absolute": ("absolute", "AbsolutePrior"),
    "minimum": ("minimum", "Minimum"),
    "maximum": ("maximum", "Maximum"),
    "arctan2": ("arctan2", "Arctan2"),
    **{
        name: (name, name.capitalize())
        for name in ("log", "log10", "log2", "log1p", "exp", "expm1", "sqrt", "square", "sin", "cos", "tan")
        + ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh")
    },
}


def evaluate(operation: str, operands: tuple[Any, ...]) -> Any:
    """Value of ``operation`` at numbers or arrays; outside its domain nan or inf, in NumPy as in JAX."""
    function = getattr(namespace(*operands), OPERATIONS[operation][0])
    with np.errstate(all="ignore"):
        return function(*operands)


def _function(operation: str) -> Callable[..., Relation]:
    class_name = OPERATIONS[operation][1]

    def relate(*operands: Expression | float, name: str | None = None) -> Relation:
        return Relation(operation, operands, name)

    relate.__name__ = relate.__qualname__ = class_name
    relate.__doc__ = f"The relation {operation}(...) of unknowns or numbers; ``name`` is what `info` prints."
    return relate


Log, Log10, Log2, Log1p = _function("log"), _function("log10"), _function("log2"), _function("log1p")
Exp, Expm1, Sqrt, Square = _function("exp"), _function("expm1"), _function("sqrt"), _function("square")
Sin, Cos, Tan = _function("sin"), _function("cos"), _function("tan")
Arcsin, Arccos, Arctan, Arctan2 = _function("arcsin"), _function("arccos"), _function("arctan"), _function("arctan2")
Sinh, Cosh, Tanh = _function("sinh"), _function("cosh"), _function("tanh")
Minimum, Maximum = _function("minimum"), _function("maximum")
