"""The frozen, hashable shape of a model tree: what has to be compiled, apart from the numbers in it.

A tree of Model, Collection, dict, list, tuple, relations, variables, numbers and anything else is split into a
`Structure`, its variables and its constants. Like trees give equal structures, so that one kernel serves a thousand
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.errors import ModelError
from factorgraph.model.assertion import compare
from factorgraph.model.covariate import Covariate
from factorgraph.model.expression import Assertion, Expression, Relation, is_array, is_number
from factorgraph.model.tree import Node, Relate, branches_of, follow, paths_of
from factorgraph.model.variable import Variable

__all__ = ["Structure", "paths_of", "structure_of"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Takes a variable's value."""

    index: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Takes a constant; its shape belongs to the structure, its value does not."""

    index: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Static:
    """A value that is part of the structure: equal by type and ``==`` where hashable, otherwise the same object."""

    value: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or type(self.value) is not type(other.value):
            return False
        return self.value is other.value or (_is_hashable(self.value) and bool(self.value == other.value))

    def __hash__(self) -> int:
        return hash(self.value) if _is_hashable(self.value) else id(self.value)


@dataclass(frozen=True, slots=True)
class Compare:
    """Truth of an assertion; ``chained`` conjoins it with the truth of its left part, the last child."""

    symbol: str
    chained: bool = False

    def build(self, children: list[Any]) -> Any:
        truth = compare(children[0], self.symbol, children[1])
        return truth & children[2] if self.chained else truth


@dataclass(frozen=True, slots=True)
class Structure:
    """A program in post-order: each instruction is a leaf, or a builder with the positions of its children.

    Attributes
    ----------
    instructions : tuple
        ``Slot | Constant | Static | (builder, positions)``.
    root : int
        Position of the instance; what follows it belongs to the assertions.
    assertions : tuple of int
        Positions of their truth values.
    num_variables, num_constants : int
    """

    instructions: tuple[Any, ...]
    root: int
    assertions: tuple[int, ...]
    num_variables: int
    num_constants: int

    @property
    def has_assertions(self) -> bool:
        return bool(self.assertions)

    def build(self, values: Sequence[Any], constants: Sequence[Any]) -> Any:
        """The instance at ``values``, indexed by slot, and the ``constants`` of `structure_of`; both may be traced."""
        results: list[Any] = []
        for instruction in self.instructions[: self.root + 1]:
            results.append(_execute(instruction, results, values, constants))
        return results[self.root]

    def satisfied(self, values: Sequence[Any], constants: Sequence[Any]) -> Any:
        """Whether every assertion in the tree holds: True, or a boolean that is traced where its operands are.

        No class of the user's is constructed.
        """
        if not self.assertions:
            return True
        results: list[Any] = []
        for instruction in self.instructions:
            needed = not isinstance(instruction, tuple) or isinstance(instruction[0], (Relate, Compare))
            results.append(_execute(instruction, results, values, constants) if needed else None)
        truth = results[self.assertions[0]]
        for position in self.assertions[1:]:
            truth = truth & results[position]
        return truth


def _execute(instruction: Any, results: list[Any], values: Sequence[Any], constants: Sequence[Any]) -> Any:
    if isinstance(instruction, Slot):
        return values[instruction.index]
    if isinstance(instruction, Constant):
        return constants[instruction.index]
    if isinstance(instruction, Static):
        return instruction.value
    builder, positions = instruction
    return builder.build([results[position] for position in positions])


def structure_of(tree: Any) -> tuple[Structure, tuple[Variable, ...], tuple[Any, ...]]:
    """Split a tree into its structure, its free variables and its constants.

    Floats, covariates and numeric arrays are constants; int, bool, str, None, callables and other objects are part of
    the structure (within a relation whole numbers are constants too, except exponents).

    Returns
    -------
    structure : Structure
    variables : tuple of Variable
        Unique, in depth-first order of first appearance; those that only assertions mention come last.
    constants : tuple
        Floats and arrays, in depth-first order.
    """
    compiler = _Compiler()
    root = compiler.visit(tree)
    assertions = tuple(compiler.assertion(node, *kept) for node in compiler.asserting for kept in node._assertions)
    structure = Structure(tuple(compiler.instructions), root, assertions, len(compiler.slots), len(compiler.constants))
    return structure, tuple(compiler.slots), tuple(compiler.constants)


class _Compiler:
    """Writes the instructions of one tree; depth is limited by memory, not by Python's stack."""

    def __init__(self) -> None:
        self.instructions: list[Any] = []
        self.slots: dict[Variable, int] = {}  # variable -> position of its Slot
        self.relations: dict[Relation, int] = {}
        self.constants: list[Any] = []
        self.asserting: list[Node] = []

    def visit(self, tree: Any) -> int:
        """Position of the tree's value."""
        finished: list[int] = []  # positions not yet taken by a parent
        pending: list[tuple[Any, Any, int]] = [(tree, None, 0)]
        while pending:
            node, builder, num_children = pending.pop()
            if builder is not None:
                first = len(finished) - num_children
                position = self.emit((builder, tuple(finished[first:])))
                del finished[first:]
                if isinstance(node, Relation):
                    self.relations[node] = position
                finished.append(position)
                continue
            if isinstance(node, Relation) and node in self.relations:
                finished.append(self.relations[node])
                continue
            branches = branches_of(node)
            if branches is None:
                finished.append(self.leaf(node))
                continue
            if isinstance(node, Node) and node._assertions:
                self.asserting.append(node)
            pending.append((node, branches[0], len(branches[1])))
            pending.extend((child, None, 0) for _, child in reversed(branches[1]))
        return finished[0]

    def leaf(self, node: Any) -> int:
        if isinstance(node, Variable):
            if node not in self.slots:
                self.slots[node] = self.emit(Slot(len(self.slots)))
            return self.slots[node]
        if isinstance(node, (float, Covariate)) or (is_array(node) and not isinstance(node, np.integer)):
            self.constants.append(node)
            shape = () if isinstance(node, Covariate) else tuple(np.shape(node))
            return self.emit(Constant(len(self.constants) - 1, shape))
        if isinstance(node, (set, frozenset)) and any(isinstance(member, (Expression, Node)) for member in node):
            raise ModelError(f"A set of unknowns has no order: {node!r}. Use a list.")
        return self.emit(Static(node))

    def emit(self, instruction: Any) -> int:
        self.instructions.append(instruction)
        return len(self.instructions) - 1

    def assertion(self, owner: Node, assertion: Assertion, paths: dict[Variable, tuple[str, ...]]) -> int:
        """Position of the truth of an assertion of ``owner``.

        A variable that was replaced since (`model.copy()` with a new prior) is followed to what is at its path now.
        """

        def resolve(operand: Any) -> Any:
            if isinstance(operand, Relation):
                operands = tuple(map(resolve, operand.operands))
                unchanged = all(new is old for new, old in zip(operands, operand.operands))
                return operand if unchanged else Relation(operand.operation, operands, operand.name)
            if isinstance(operand, Variable) and operand not in self.slots and operand in paths:
                now = follow(owner, paths[operand])
                return now if isinstance(now, Expression) or is_number(now) else operand
            return operand

        def position(operand: Any) -> int:
            operand = resolve(operand)
            return self.visit(float(operand) if isinstance(operand, int) else operand)

        if isinstance(assertion.left, Assertion):
            chained = self.assertion(owner, assertion.left, paths)
            children = (position(assertion.left.right), position(assertion.right), chained)
            return self.emit((Compare(assertion.operator, chained=True), children))
        return self.emit((Compare(assertion.operator), (position(assertion.left), position(assertion.right))))


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
