"""What the nodes of a model tree have in common: named children, and a hashable recipe that builds an instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from factorgraph.model.expression import Assertion, Relation
from factorgraph.model.relation import OPERATIONS, evaluate
from factorgraph.model.variable import Variable


class Builder(Protocol):
    """Frozen and hashable: equal builders make like instances from like children."""

    def build(self, children: list[Any]) -> Any: ...


class Node(ABC):
    """A branch of a model tree that is no plain list, tuple or dict.

    Its methods have an underscore because a user's names live in the same namespace.
    """

    _assertions: Sequence[tuple[Assertion, dict[Variable, tuple[str, ...]]]] = ()

    @property
    @abstractmethod
    def _label(self) -> str:
        """What `info` calls it."""

    @abstractmethod
    def _children(self) -> list[tuple[str, Any]]:
        """Names and values of the branches, in the order that `_builder` expects."""

    @abstractmethod
    def _builder(self) -> Builder:
        """The recipe for an instance."""

    @abstractmethod
    def _copied(self, memo: dict[int, Any]) -> Node:
        """A copy with the same variables; ``memo`` maps the ids of what is already copied."""


@dataclass(frozen=True, slots=True)
class AsSequence:
    """Builds a list, tuple or named tuple."""

    kind: type

    def build(self, children: list[Any]) -> Any:
        return self.kind(*children) if hasattr(self.kind, "_fields") else self.kind(children)


@dataclass(frozen=True, slots=True)
class AsDict:
    """Builds a dict."""

    keys: tuple[Any, ...]

    def build(self, children: list[Any]) -> dict[Any, Any]:
        return dict(zip(self.keys, children))


@dataclass(frozen=True, slots=True)
class Relate:
    """Evaluates a relation."""

    operation: str

    def build(self, children: list[Any]) -> Any:
        return evaluate(self.operation, tuple(children))


@dataclass(frozen=True, slots=True)
class AsPytree:
    """Builds an object of a class that is registered with JAX."""

    kind: Any  # jax.tree_util.PyTreeDef

    def build(self, children: list[Any]) -> Any:
        return jax.tree_util.tree_unflatten(self.kind, children)


_PLAIN = (int, float, str, bytes, type, np.ndarray, jax.Array)


def branches_of(node: Any) -> tuple[Builder, list[tuple[str, Any]]] | None:
    """Builder and named children of a branch of the tree, or None for a leaf."""
    if isinstance(node, Variable):
        return None
    if isinstance(node, Relation):
        return Relate(node.operation), _operands(node)
    if isinstance(node, Node):
        return node._builder(), node._children()
    if isinstance(node, (list, tuple)):
        return AsSequence(type(node)), [(str(index), value) for index, value in enumerate(node)]
    if node is None or isinstance(node, _PLAIN):
        return None
    if type(node) is not dict and not jax.tree_util.all_leaves([node]):
        leaves, kind = jax.tree_util.tree_flatten(node)
        return AsPytree(kind), [(str(index), leaf) for index, leaf in enumerate(leaves)]
    if isinstance(node, dict):
        return AsDict(tuple(node)), [(str(key), value) for key, value in node.items()]
    return None


def _operands(relation: Relation) -> list[tuple[str, Any]]:
    """Operands as numbers that may be traced; a whole exponent stays whole, for powers of negative numbers."""
    sides = ("left", "right") if len(relation.operands) == 2 else ("operand",)
    named = []
    for side, operand in zip(sides, relation.operands):
        is_exponent = relation.operation == "power" and side == "right"
        if isinstance(operand, int) and not is_exponent:
            operand = float(operand)
        named.append((getattr(operand, "name", None) or side, operand))
    if len(named) == 2 and named[0][0] == named[1][0]:
        named = list(zip(sides, (operand for _, operand in named)))
    return named


def label_of(node: Any) -> str:
    """What `info` calls a branch of the tree."""
    if isinstance(node, Relation):
        return OPERATIONS[node.operation][1]
    return node._label if isinstance(node, Node) else type(node).__name__


def leaves_of(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf with its path, depth first; a variable is met as often as it is used."""
    pending = [(path, tree)]
    while pending:
        path, node = pending.pop()
        branches = branches_of(node)
        if branches is None:
            yield path, node
        else:
            pending.extend(((*path, name), child) for name, child in reversed(branches[1]))


def paths_of(tree: Any) -> dict[Variable, tuple[str, ...]]:
    """First path of every free variable, in depth-first order, such as ``("gaussian", "centre")``."""
    paths: dict[Variable, tuple[str, ...]] = {}
    for path, leaf in leaves_of(tree):
        if isinstance(leaf, Variable):
            paths.setdefault(leaf, path)
    return paths


def follow(tree: Any, path: tuple[str, ...]) -> Any:
    """The node at ``path``, or None where there is none any more."""
    for name in path:
        branches = branches_of(tree)
        tree = dict(branches[1]).get(name) if branches else None
    return tree


def copy_tree(node: Any, memo: dict[int, Any]) -> Any:
    """New branches with the same leaves and relations; a branch that is used twice stays one branch."""
    if id(node) not in memo:
        memo[id(node)] = _copied(node, memo)
    return memo[id(node)]


def _copied(node: Any, memo: dict[int, Any]) -> Any:
    if isinstance(node, Node):
        return node._copied(memo)
    if isinstance(node, dict):
        return {key: copy_tree(value, memo) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return AsSequence(type(node)).build([copy_tree(value, memo) for value in node])
    return node
