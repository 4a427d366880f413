"""Arithmetic and comparisons on unknowns, written with Python's operators.

An expression is a description: nothing is evaluated here (see `relation` and `assertion`), and no model is known.
"""

from __future__ import annotations

from typing import Any

from factorgraph.errors import ModelError


class Expression:
    """Anything that stands for an unknown number: a variable or a relation between variables.

    ``+ - * / // % **``, ``abs`` and negation (numbers on either side) give a `Relation`, ``< <= > >=`` an `Assertion`.
    Equality and hash are those of the object: two expressions are the same only if they are one object.
    """

    name: str | None = None

    def __add__(self, other: Any) -> Relation:
        return Relation("add", (self, other))

    def __radd__(self, other: Any) -> Relation:
        return Relation("add", (other, self))

    def __sub__(self, other: Any) -> Relation:
        return Relation("subtract", (self, other))

    def __rsub__(self, other: Any) -> Relation:
        return Relation("subtract", (other, self))

    def __mul__(self, other: Any) -> Relation:
        return Relation("multiply", (self, other))

    def __rmul__(self, other: Any) -> Relation:
        return Relation("multiply", (other, self))

    def __truediv__(self, other: Any) -> Relation:
        return Relation("divide", (self, other))

    def __rtruediv__(self, other: Any) -> Relation:
        return Relation("divide", (other, self))

    def __floordiv__(self, other: Any) -> Relation:
        return Relation("floor_divide", (self, other))

    def __rfloordiv__(self, other: Any) -> Relation:
        return Relation("floor_divide", (other, self))

    def __mod__(self, other: Any) -> Relation:
        return Relation("remainder", (self, other))

    def __rmod__(self, other: Any) -> Relation:
        return Relation("remainder", (other, self))

    def __pow__(self, other: Any) -> Relation:
        return Relation("power", (self, other))

    def __rpow__(self, other: Any) -> Relation:
        return Relation("power", (other, self))

    def __neg__(self) -> Relation:
        return Relation("negative", (self,))

    def __abs__(self) -> Relation:
        return Relation("absolute", (self,))

    def __lt__(self, other: Any) -> Assertion:
        return Assertion(self, "<", other)

    def __le__(self, other: Any) -> Assertion:
        return Assertion(self, "<=", other)

    def __gt__(self, other: Any) -> Assertion:
        return Assertion(self, ">", other)

    def __ge__(self, other: Any) -> Assertion:
        return Assertion(self, ">=", other)

    # NumPy would otherwise take `array * variable` apart element by element.
    __array_ufunc__ = None

    def __float__(self) -> float:
        raise ModelError(f"{self!r} is an unknown, it has no value yet. Use fg.Log, fg.Exp, ... for functions of it.")


class Relation(Expression):
    """An operation applied to expressions and numbers, evaluated when a model is built.

    Parameters
    ----------
    operation
        A key of `relation.OPERATIONS`, for instance ``"add"``.
    operands
        Expressions, numbers or numeric arrays, at least one of them an expression.
    name
        What `info` and diagrams call it.
    """

    def __init__(self, operation: str, operands: tuple[Any, ...], name: str | None = None):
        for operand in operands:
            if not isinstance(operand, Expression) and not is_number(operand):
                raise ModelError(
                    f"{operation}: got {operand!r} of type {type(operand).__name__}; operands are priors, relations, "
                    "numbers or numeric arrays."
                )
        self.operation = operation
        self.operands = tuple(operands)
        self.name = name

    def __repr__(self) -> str:
        return f"{self.operation}({', '.join(_short(operand) for operand in self.operands)})"


class Assertion:
    """A comparison that every instance must satisfy; ``(a < b) < c`` chains.

    Parameters
    ----------
    left, right
        Expressions or numbers. If ``left`` is an `Assertion`, both it and ``left.right operator right`` must hold.
    operator
        One of ``< <= > >=``.
    name
        Shown where a violated assertion is reported.
    """

    def __init__(self, left: Any, operator: str, right: Any, name: str | None = None):
        if operator not in ("<", "<=", ">", ">="):
            raise ModelError(f"Assertion: got operator {operator!r}; allowed: '<', '<=', '>', '>='.")
        for side in (left, right):
            if not isinstance(side, (Expression, Assertion)) and not is_number(side):
                raise ModelError(f"Assertion: got {side!r}; both sides are priors, relations or numbers.")
        if isinstance(right, Assertion):
            raise ModelError("Assertion: chain from the left, as in (a < b) < c.")
        self.left, self.operator, self.right, self.name = left, operator, right, name

    def __lt__(self, other: Any) -> Assertion:
        return Assertion(self, "<", other)

    def __le__(self, other: Any) -> Assertion:
        return Assertion(self, "<=", other)

    def __gt__(self, other: Any) -> Assertion:
        return Assertion(self, ">", other)

    def __ge__(self, other: Any) -> Assertion:
        return Assertion(self, ">=", other)

    def __bool__(self) -> bool:
        raise ModelError(
            f"{self!r} is not true or false until the unknowns have values. Pass it to add_assertion; "
            "write a < b < c as (a < b) < c, and one add_assertion for each part of an `and`."
        )

    def __repr__(self) -> str:
        left = f"({self.left!r})" if isinstance(self.left, Assertion) else _short(self.left)
        return f"{left} {self.operator} {_short(self.right)}"


def is_number(value: Any) -> bool:
    """Is it a real number or an array of them (NumPy, JAX or a tracer), and no bool?"""
    if isinstance(value, (int, float)):
        return not isinstance(value, bool)
    return is_array(value, kinds="iuf")


def is_array(value: Any, kinds: str = "biufc") -> bool:
    """Is it an array, or array scalar, whose dtype is of one of the ``kinds``?"""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return isinstance(kind, str) and kind != "" and kind in kinds and hasattr(value, "shape")


def _short(operand: Any) -> str:
    return operand.name if isinstance(operand, Expression) and operand.name else repr(operand)
