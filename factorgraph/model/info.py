"""The text by which a model shows itself.

First the branches with their classes and numbers of free variables, then the leaves with their priors and values.
Equal entries of consecutive items of a list are printed once, under ``first - last``. Variables are numbered within
the text, so that sharing shows.
"""

from __future__ import annotations

from typing import Any

from factorgraph.model.prior import Prior
from factorgraph.model.tree import branches_of, label_of, leaves_of
from factorgraph.model.variable import Variable

_WIDTH = 80
_INDENT = 4

Entry = tuple[tuple[str, ...], str]  # path, text


def info_of(tree: Any, title: str | None = None) -> str:
    """Text of a model tree.

    Parameters
    ----------
    tree
        A model, or dicts and lists of them.
    title
        Printed as the class of the root instead of its own.
    """
    numbers: dict[Variable, int] = {}
    leaves: list[Entry] = []
    for path, leaf in leaves_of(tree):
        if isinstance(leaf, Variable):
            numbers.setdefault(leaf, len(numbers))
        if leaf is not None:
            leaves.append((path, _leaf_text(leaf, numbers)))
    branches: list[Entry] = []
    _collect_branches(tree, ("model",), title, branches)
    parts = [f"Total Free Parameters = {len(numbers)}", _layout(_merged(branches)), _layout(_merged(leaves))]
    return "\n\n".join(part for part in parts if part)


def _leaf_text(leaf: Any, numbers: dict[Variable, int]) -> str:
    if isinstance(leaf, Prior):
        shown = leaf.printed or tuple(leaf.arguments)
        numbered = f"{type(leaf).__name__} [{numbers[leaf]}]"
        return ", ".join([numbered, *(f"{name} = {getattr(leaf, name)}" for name in shown)])
    if isinstance(leaf, Variable):
        return f"Variable [{numbers[leaf]}], no prior"
    return leaf.__name__ if isinstance(leaf, type) else str(leaf)


def _collect_branches(node: Any, path: tuple[str, ...], label: str | None, entries: list[Entry]) -> set[Variable]:
    """Append ``class (N=free variables)`` of every branch, parents first; returns the free variables below ``node``."""
    if isinstance(node, Variable):
        return {node}
    branches = branches_of(node)
    if branches is None:
        return set()
    place = len(entries)
    entries.append((path, ""))
    below: set[Variable] = set()
    for name, child in branches[1]:
        below |= _collect_branches(child, (*path, name), None, entries)
    entries[place] = (path, f"{label or label_of(node)} (N={len(below)})")
    return below


def _merged(entries: list[Entry]) -> list[Entry]:
    """Merge entries that differ only in one list index, where the indices are consecutive."""
    for depth in range(max((len(path) for path, _ in entries), default=0)):
        indices: dict[Any, list[int]] = {}
        for path, text in entries:
            if depth < len(path) and path[depth].isdecimal():
                indices.setdefault((path[:depth], path[depth + 1 :], text), []).append(int(path[depth]))
        runs = {group: _runs(members) for group, members in indices.items()}
        merged: dict[Entry, None] = {}
        for path, text in entries:
            if depth < len(path) and path[depth].isdecimal():
                run = runs[path[:depth], path[depth + 1 :], text][int(path[depth])]
                path = (*path[:depth], run, *path[depth + 1 :])
            merged[path, text] = None
        entries = list(merged)
    return entries


def _runs(indices: list[int]) -> dict[int, str]:
    """``first - last`` of the run of consecutive integers that each index is in."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return {index: str(index) if len(run) == 1 else f"{run[0]} - {run[-1]}" for run in runs for index in run}


def _layout(entries: list[Entry]) -> str:
    """Indent the paths as a tree and pad the texts to one column."""
    root: dict[str, Any] = {}
    texts: dict[tuple[str, ...], str] = {}
    for path, text in entries:
        branch = root
        for name in path:
            branch = branch.setdefault(name, {})
        texts[path] = text
    lines: list[str] = []
    _append_lines(root, (), texts, lines)
    return "\n".join(lines)


def _append_lines(
    branch: dict[str, Any], path: tuple[str, ...], texts: dict[tuple[str, ...], str], lines: list[str]
) -> None:
    for name, children in branch.items():
        here = (*path, name)
        start = " " * (_INDENT * len(path)) + name
        text = texts.get(here)
        lines.append(start if text is None else f"{start:<{_WIDTH - 1}} {text}")
        _append_lines(children, here, texts, lines)
