"""Readable names of the variables of a graph: unique for shared ones, the path in their model for private ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factorgraph.graph.enumeration import EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.graph.terms import Terms
from factorgraph.model.tree import paths_of
from factorgraph.model.variable import Variable


def dataset_names_of(factors: Sequence[AnalysisFactor]) -> tuple[str, ...]:
    """One name an AnalysisFactor: its own, its dataset's, or its number."""
    return tuple(factor.name or factor.dataset or f"dataset_{index}" for index, factor in enumerate(factors))


def names_of(
    terms: Terms, factors: Sequence[AnalysisFactor], parents: Sequence[HierarchicalFactor]
) -> dict[Variable, str]:
    """Names of all variables.

    A shared variable's own ``name`` comes first; then, for a parent's parameter, ``parent.mean``; then its path in
    the first model that has it. Shared variables that would have one name are numbered. A private variable is named
    by its path, which its plate has in common.
    """
    shared = set(terms.shared)
    names: dict[Variable, str] = {}
    for number, parent in enumerate(parents):
        title = parent.name or ("parent" if len(parents) == 1 else f"parent_{number}")
        for variable, path in paths_of(parent.named_parameters).items():
            names.setdefault(variable, _own_name(variable) or f"{title}.{'.'.join(path)}")
    for factor in (part for given in factors for part in _as_written(given)):
        for variable, path in factor.paths.items():
            own = _own_name(variable) if variable in shared else None
            names.setdefault(variable, own or ".".join(path))
    for variable in terms.shared:
        names.setdefault(variable, _own_name(variable) or "variable")
    _number_duplicates(names, terms.shared)
    return names


def _as_written(factor: AnalysisFactor) -> tuple[AnalysisFactor, ...]:
    """The factors of the user that a factor stands for."""
    return factor.originals if isinstance(factor, EnumeratedFactor) else (factor,)


def _own_name(variable: Any) -> str | None:
    return variable.name


def _number_duplicates(names: dict[Variable, str], shared: Sequence[Variable]) -> None:
    by_name: dict[str, list[Variable]] = {}
    for variable in shared:
        by_name.setdefault(names[variable], []).append(variable)
    for name, variables in by_name.items():
        if len(variables) > 1:
            names.update({variable: f"{name}_{number}" for number, variable in enumerate(variables)})
