"""A graph with datasets added, or without some: what it is made of is written down anew, names are kept.

Parents are taken as they are now. Of what they draw, that which no dataset of the new graph reads is left out: a survey
that grows draws from one parent all the time, and a graph of part of it has no use for the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from factorgraph.errors import GraphError, name_hint
from factorgraph.graph.enumeration import EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.graph.survey import Plate
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

Given = AnalysisFactor | Plate
Factor = Given | HierarchicalFactor

_MOST_NAMES = 20


def extended(given: Sequence[Factor], names: Sequence[str], new: Any) -> tuple[Factor, ...]:
    """The factors of a graph whose datasets, in order, have these ``names``, with ``new`` ones.

    Raises
    ------
    GraphError
        Nothing new, something that is no factor, or a dataset, or its name, that is there already.
    """
    added = list(new) if isinstance(new, (list, tuple)) else [new]
    for factor in added:
        if not isinstance(factor, (AnalysisFactor, Plate, HierarchicalFactor)):
            raise GraphError(
                f"update: got {type(factor).__name__}; AnalysisFactor, Plate and HierarchicalFactor are allowed, one "
                "or a list of them."
            )
    datasets = [factor for factor in added if not isinstance(factor, HierarchicalFactor)]
    if not datasets:
        raise GraphError("update: there is no new dataset; pass at least one AnalysisFactor or Plate.")
    twice = [f for k, f in enumerate(datasets) if any(f is other for other in [*given, *datasets[:k]])]
    if twice:
        raise GraphError(f"update: {twice[0]!r} is in the graph already; pass the new datasets alone.")
    _check_plates([f for f in given if isinstance(f, Plate)], [f for f in datasets if isinstance(f, Plate)])
    known = {*names, *(f.dataset for f in given if isinstance(f, AnalysisFactor) and f.dataset)}
    there = [name for factor in datasets for name in _names_in(factor) if name in known]
    if there:
        raise GraphError(
            f"update: {len(there)} of the new datasets have the name of one that is in the graph already, such as "
            f"{there[0]!r}. Give them others; more data of a dataset that is there need a graph of their own: "
            "FactorGraphModel(...).optimise(earlier=result)."
        )
    taken, found, number = {*known, *(n for f in datasets for n in _names_in(f))}, [], len(names)
    for factor in added:
        if isinstance(factor, AnalysisFactor) and factor.name is None and factor.dataset is None:
            while f"dataset_{number}" in taken:
                number += 1
            factor = _named(factor, f"dataset_{number}")
            number += 1
        found.append(factor)
    return _with_what_is_read([*_with_names(given, names), *found])


def reduced(
    given: Sequence[Factor], names: Sequence[str], factors: Sequence[AnalysisFactor], without: Iterable[str] | str
) -> tuple[Factor, ...]:
    """The factors of a graph less the datasets ``without``, by name; ``factors`` are what its datasets became.

    Raises
    ------
    GraphError
        A name that there is not, none, or all of them.
    """
    asked = [without] if isinstance(without, str) else list(without)
    alias: dict[str, set[int]] = {name: {place} for place, name in enumerate(names)}
    place = 0
    for factor in given:
        if isinstance(factor, AnalysisFactor) and factor.dataset is not None:
            alias.setdefault(factor.dataset, set()).add(place)
        place += factor.size if isinstance(factor, Plate) else isinstance(factor, AnalysisFactor)
    for factor in factors:
        if isinstance(factor, EnumeratedFactor) and factor.name is not None:
            alias.setdefault(factor.name, set()).update(*(alias.get(n, set()) for n in factor.name.split("+")))
    unknown = [name for name in asked if name not in alias]
    if unknown:
        hint = name_hint(str(unknown[0]), list(alias)) if len(alias) <= _MOST_NAMES else _nearest(unknown[0], alias)
        raise GraphError(f"without: there is no dataset {unknown[0]!r}.{hint}")
    gone = set().union(*(alias[name] for name in asked))
    if not gone:
        raise GraphError("without: no name is given; pass the names of the datasets to leave out.")
    if len(gone) == len(names):
        raise GraphError(f"without: these are all {len(names)} datasets of the graph, and one has to be left.")
    left: list[Factor] = []
    place = 0
    for factor in _with_names(given, names):
        size = factor.size if isinstance(factor, Plate) else int(isinstance(factor, AnalysisFactor))
        rows = [row for row in range(size) if place + row not in gone]
        place += size
        if isinstance(factor, Plate) and 0 < len(rows) < size:
            left.append(factor.take(rows))
        elif len(rows) or isinstance(factor, HierarchicalFactor):
            left.append(factor)
    return _with_what_is_read(left)


def families_left(factors: Sequence[Factor], families: Mapping[Variable, str]) -> dict[Variable, str]:
    """Those of variables that are there."""
    there = {v for factor in factors for v in _reads(factor)} if families else set()
    return {variable: family for variable, family in families.items() if variable in there}


def _nearest(name: str, known: Iterable[str]) -> str:
    hint = name_hint(str(name), known)
    return hint.split(" Allowed:")[0] if hint.startswith(" Did") else " See result.status for their names."


def _named(factor: AnalysisFactor, name: str) -> AnalysisFactor:
    twin = copy.copy(factor)
    twin.name = name
    return twin


def _with_names(given: Sequence[Factor], names: Sequence[str]) -> list[Factor]:
    """Datasets that were numbered keep their number as a name."""
    found: list[Factor] = []
    place = 0
    for factor in given:
        if isinstance(factor, AnalysisFactor):
            is_numbered = factor.name is None and factor.dataset is None
            found.append(_named(factor, names[place]) if is_numbered else factor)
        else:
            found.append(factor)
        place += factor.size if isinstance(factor, Plate) else isinstance(factor, AnalysisFactor)
    return found


def _names_in(factor: Given) -> tuple[str, ...]:
    if isinstance(factor, Plate):
        return factor.names
    return tuple(name for name in (factor.name, factor.dataset) if name is not None)


def _check_plates(old: Sequence[Plate], new: Sequence[Plate]) -> None:
    names = {plate.name for plate in old}
    for plate in new:
        if plate.name in names and not (plate.has_names and all(p.has_names for p in old if p.name == plate.name)):
            raise GraphError(
                f"update: there is a plate {plate.name!r} already, so the datasets of the new one need names: "
                "fg.Plate(..., names=[...]), in both plates."
            )


def _reads(factor: Factor) -> tuple[Variable, ...]:
    """The unknowns of its model, or of a parent's parameters."""
    return structure_of(factor.parameters)[1] if isinstance(factor, HierarchicalFactor) else factor.variables


def _with_what_is_read(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Each parent once, drawing what some dataset reads, directly or by way of other parents."""
    parents = list(dict.fromkeys(f.written for f in factors if isinstance(f, HierarchicalFactor)))
    datasets = [f for f in factors if not isinstance(f, HierarchicalFactor)]
    by_data = {v for factor in datasets for v in _reads(factor)}
    while True:
        read = by_data | {v for parent in parents for v in _reads(parent)}
        left = [twin for parent in parents if (twin := _drawing_what_is(read, parent)) is not None]
        if len(left) == len(parents) and all(a is b for a, b in zip(left, parents, strict=True)):
            return (*datasets, *parents)
        parents = left


def _drawing_what_is(read: set[Variable], parent: HierarchicalFactor) -> HierarchicalFactor | None:
    size, variables = 1 if parent.joint is None else parent.joint.dimension, parent.drawn_variables
    groups = [variables[k : k + size] for k in range(0, len(variables), size)]
    kept = {v for group in groups if any(each in read for each in group) for v in group}
    if len(kept) == len(variables):
        return parent
    return parent.drawing({v: drawn for v, drawn in parent.drawn.items() if v in kept}) if kept else None
