"""A copy of a model tree with other leaves in place of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from factorgraph.model.expression import Expression, Relation
from factorgraph.model.relation import evaluate
from factorgraph.model.tree import branches_of, copy_tree


def substituted(tree: Any, values: Mapping[Any, Any], *, fold: bool = True) -> Any:
    """``tree`` with ``values`` in place of variables and covariates, in its relations too.

    With ``fold``, a relation of numbers alone becomes a number; without, the copy has the structure of the tree.
    Relations that are one object stay one.
    """
    memo: dict[int, Any] = {id(leaf): value for leaf, value in values.items()}
    for relation in _relations(tree):
        _resolved(relation, memo, fold)
    return copy_tree(tree, memo)


def _relations(tree: Any) -> Iterator[Relation]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Relation):
            yield node
            continue
        branches = branches_of(node)
        if branches is not None:
            pending.extend(child for _, child in branches[1])


def _resolved(operand: Any, memo: dict[int, Any], fold: bool) -> Any:
    if not isinstance(operand, Expression) or id(operand) in memo:
        return memo.get(id(operand), operand)
    if not isinstance(operand, Relation):
        return operand
    operands = tuple(_resolved(each, memo, fold) for each in operand.operands)
    found: Any = operand
    if fold and not any(isinstance(each, Expression) for each in operands):
        found = float(evaluate(operand.operation, operands))
    elif any(new is not old for new, old in zip(operands, operand.operands, strict=True)):
        found = Relation(operand.operation, operands, operand.name)
    memo[id(operand)] = found
    return found
