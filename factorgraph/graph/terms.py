"""From factors to terms: which unknowns are shared, which are private to a dataset, and who is drawn from whom.

A *term* is one factor of the contracted graph: a dataset's likelihoods times the densities of its private variables,
as a function of the shared variables it touches; or the density of one shared variable under its parent; or the prior
of a shared variable that is not whitened. A variable is *local* to a dataset when models of that dataset alone read
it and whatever is drawn from it is local there too; everything else is *shared*.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.graph.message_families import check_families
from factorgraph.model.family import Family
from factorgraph.model.prior import Prior
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

_LARGEST_MERGED_DATASET = 8  # factors that read one drawn variable; beyond, that variable is shared instead


@dataclass(frozen=True, eq=False, slots=True)
class Draw:
    """``variable ~ family(*parameters)``; parameters are numbers, variables or relations, see `Drawn`."""

    variable: Variable
    family: Family
    parameters: tuple[Any, ...]
    parent: HierarchicalFactor | Prior
    reads: tuple[Variable, ...] = ()
    template: Any = None


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """One factor of the contracted graph. ``factors`` is empty for the density of a shared variable."""

    name: str
    factors: tuple[AnalysisFactor, ...]
    draws: tuple[Draw, ...]
    local: tuple[Variable, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Terms:
    """The contracted graph: shared variables in order of first appearance, and the terms over them."""

    shared: tuple[Variable, ...]
    terms: tuple[Term, ...]
    draws: dict[Variable, Draw]
    families: dict[Variable, str] = field(default_factory=dict)  # of messages, where one was chosen


@dataclass(eq=False, slots=True)
class _Dataset:
    name: str
    factors: list[AnalysisFactor]
    variables: list[Variable]


def terms_of(
    factors: Sequence[AnalysisFactor],
    parents: Sequence[HierarchicalFactor],
    families: Mapping[Variable, str] | None = None,
) -> Terms:
    """Classify the variables of a graph and gather its terms.

    ``families`` are the families of messages that were chosen for shared variables, see `message_families`; the own
    prior of such a variable is a term like others.

    Raises
    ------
    GraphError
        A name is given twice, a variable is drawn twice, is read by no factor, or has no prior; or a family cannot be
        chosen.
    """
    draws = _draws_of(parents)
    datasets = _datasets_of(factors)
    _check_read(draws, parents, datasets)
    datasets, linked = _merge_by_drawn_variables(datasets, draws)
    home = _homes(datasets, draws, linked)
    shared = _ordered_shared(datasets, draws, home)
    _check_priors(datasets, draws, shared)
    terms = [_dataset_term(dataset, draws, home) for dataset in datasets]
    families = dict(families or {})
    support_of = {v: (draws[v].family if v in draws else v.family).support_kind for v in shared}  # type: ignore[attr-defined]
    check_families(families, shared, support_of)
    terms += [_shared_draw(v, draws) for v in shared if v in families or _needs_term(v, draws)]
    return Terms(tuple(shared), tuple(terms), draws, families)


def variables_in(tree: Any) -> tuple[Variable, ...]:
    """The unknowns of a model, a relation or any tree of them."""
    return structure_of(tree)[1]


def _draws_of(parents: Iterable[HierarchicalFactor]) -> dict[Variable, Draw]:
    draws: dict[Variable, Draw] = {}
    known: dict[int, tuple[Variable, ...]] = {}
    for parent in parents:
        if not parent.drawn_variables:
            raise GraphError(
                f"{parent!r} draws nothing: call add_drawn_variable(...) for each variable of its population."
            )
        for variable, drawn in parent.draws.items():
            if variable in draws:
                raise GraphError(
                    f"{_label(variable)} is drawn from two parents ({draws[variable].parent!r} and {parent!r}); "
                    "it can have one."
                )
            parameters, reads = drawn.parameters, drawn.reads
            if reads is None:
                reads = known[id(parameters)] if id(parameters) in known else variables_in(parameters)
                known[id(parameters)] = reads
            draws[variable] = Draw(variable, drawn.family, parameters, parent, reads, drawn.template)
        if parent.discrete is None:
            _warn_of_lost_limits(parent)
    return draws


def _warn_of_lost_limits(parent: HierarchicalFactor) -> None:
    """The limits that the user gave a replaced prior go with it; say so where the parent has mass outside them."""
    lost = []
    for variable in parent.drawn_variables:
        if isinstance(variable, Prior) and not variable.is_default:
            lower, upper = (float(limit) for limit in variable.family.support(*variable.parameters))
            lost += [variable] if (lower > -np.inf or upper < np.inf) and parent.family.support_kind == "real" else []
    if lost:
        warnings.warn(
            f"{len(lost)} variable(s) drawn from {parent!r} had a prior with limits ({_label(lost[0])}); the "
            "parent replaces that "
            "prior and its limits. Choose a parent with limits (fg.TruncatedGaussianPrior) or an assertion to "
            "keep them.",
            stacklevel=5,
        )


def _datasets_of(factors: Sequence[AnalysisFactor]) -> list[_Dataset]:
    datasets: dict[tuple[str, str], _Dataset] = {}
    names: set[str] = set()
    for index, factor in enumerate(factors):
        name = factor.name or (factor.dataset if factor.dataset is not None else f"dataset_{index}")
        if factor.dataset is None or factor.name is not None:
            if name in names:
                raise GraphError(f"Two AnalysisFactors are named {name!r}; names must differ, or be left out.")
            names.add(name)
        dataset = datasets.setdefault(
            ("dataset", factor.dataset) if factor.dataset is not None else ("factor", name),
            _Dataset(factor.dataset if factor.dataset is not None else name, [], []),
        )
        dataset.factors.append(factor)
        seen = set(dataset.variables)
        dataset.variables += [v for v in factor.variables if v not in seen]
    return list(datasets.values())


def _check_read(draws: dict[Variable, Draw], parents: Sequence[HierarchicalFactor], datasets: list[_Dataset]) -> None:
    read = {v for dataset in datasets for v in dataset.variables}
    read |= {v for parent in parents for v in variables_in(parent.parameters)}
    unread = [v for v in draws if v not in read]
    if unread:
        raise GraphError(
            f"{len(unread)} drawn variable(s) are read by no factor of the graph "
            f"({', '.join(map(_label, unread[:5]))}): pass the "
            "AnalysisFactor whose model has the variable, or do not draw it."
        )


def _merge_by_drawn_variables(
    datasets: list[_Dataset], draws: dict[Variable, Draw]
) -> tuple[list[_Dataset], set[Variable]]:
    """Datasets that read one drawn variable become one; a drawn variable that links datasets into a chain stays
    shared."""
    readers: dict[Variable, list[int]] = {}
    for index, dataset in enumerate(datasets):
        for variable in dataset.variables:
            if variable in draws:
                readers.setdefault(variable, []).append(index)
    several = {variable: tuple(found) for variable, found in readers.items() if len(found) > 1}
    touching: dict[int, set[tuple[int, ...]]] = {}
    for found in several.values():
        for index in found:
            touching.setdefault(index, set()).add(found)
    linked = {
        v
        for v, found in several.items()
        if len(found) > _LARGEST_MERGED_DATASET or any(len(touching[i]) > 1 for i in found)
    }
    merged = {found for v, found in several.items() if v not in linked}
    absorbed = {i for found in merged for i in found[1:]}
    for found in merged:
        first = datasets[found[0]]
        for index in found[1:]:
            first.factors += datasets[index].factors
            first.variables += [v for v in datasets[index].variables if v not in set(first.variables)]
    return [d for i, d in enumerate(datasets) if i not in absorbed], linked


def _homes(datasets: list[_Dataset], draws: dict[Variable, Draw], linked: set[Variable]) -> dict[Variable, int]:
    """Dataset index of every local variable."""
    home: dict[Variable, int] = {}
    shared = set(linked)
    for index, dataset in enumerate(datasets):
        for variable in dataset.variables:
            if home.setdefault(variable, index) != index:
                shared.add(variable)
    children: dict[Variable, list[Variable]] = {}
    for variable, draw in draws.items():
        for parameter in draw.reads:
            children.setdefault(parameter, []).append(variable)
    pending = True
    while pending:  # what is drawn from a local variable must be local to the same dataset
        pending = False
        for variable, drawn in children.items():
            if variable in shared or variable not in home:
                continue
            if any(child in shared or home.get(child) != home[variable] for child in drawn):
                shared.add(variable)
                pending = True
    return {variable: index for variable, index in home.items() if variable not in shared}


def _ordered_shared(datasets: list[_Dataset], draws: dict[Variable, Draw], home: dict[Variable, int]) -> list[Variable]:
    ordered: dict[Variable, None] = {}
    seen: set[int] = set()

    def visit(variable: Variable) -> None:
        if variable not in home and variable not in ordered:
            ordered[variable] = None
        if variable in draws and variable not in visited:
            visited.add(variable)
            draw = draws[variable]
            if id(draw.parameters) not in seen:
                seen.add(id(draw.parameters))
                for parameter in draw.reads:
                    visit(parameter)

    visited: set[Variable] = set()
    for dataset in datasets:
        for variable in dataset.variables:
            visit(variable)
    for variable in draws:
        visit(variable)
    return list(ordered)


def _check_priors(datasets: list[_Dataset], draws: dict[Variable, Draw], shared: list[Variable]) -> None:
    unset = {v: None for d in datasets for v in d.variables if v not in draws and not isinstance(v, Prior)}
    unset |= {v: None for v in shared if v not in draws and not isinstance(v, Prior)}
    if unset:
        raise GraphError(
            f"{len(unset)} variable(s) have no prior and are drawn from no parent: "
            f"{', '.join(map(_label, list(unset)[:20]))}. "
            "Assign each a prior or a number (model.name = fg.UniformPrior(...)), or draw it from a HierarchicalFactor."
        )


def _needs_term(variable: Variable, draws: dict[Variable, Draw]) -> bool:
    return variable in draws or not variable.family.is_whitened  # type: ignore[attr-defined]


def _dataset_term(dataset: _Dataset, draws: dict[Variable, Draw], home: dict[Variable, int]) -> Term:
    local = tuple(v for v in dataset.variables if v in home)
    private = tuple(draws[v] if v in draws else _own_draw(v) for v in local if _needs_term(v, draws))
    return Term(dataset.name, tuple(dataset.factors), private, local)


def _shared_draw(variable: Variable, draws: dict[Variable, Draw]) -> Term:
    draw = draws[variable] if variable in draws else _own_draw(variable)
    kind = "drawn" if variable in draws else "prior"
    return Term(f"{kind} {_label(variable)}", (), (draw,), ())


def _own_draw(variable: Any) -> Draw:
    return Draw(variable, variable.family, tuple(variable.parameters), variable)


def _label(variable: Any) -> str:
    return variable.name or repr(variable)
