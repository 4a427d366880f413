"""Declared plates as datasets: each row with unknowns of its own, each parent drawing one for every row.

Nothing is done here a dataset that need not be: rows keep to their `Template`, and numbers stay in the plate's columns.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from factorgraph.errors import GraphError
from factorgraph.graph.factors import AnalysisFactor, Drawn, HierarchicalFactor
from factorgraph.graph.survey import Plate, PlateRow, Template
from factorgraph.model.covariate import Covariate, covariates_in
from factorgraph.model.structure import structure_of
from factorgraph.model.substitution import substituted
from factorgraph.model.variable import Variable


class Expansion(NamedTuple):
    """What the plates of a graph became.

    Attributes
    ----------
    factors
        Datasets in the order in which they, or their plates, were given.
    parents
        Those that draw a plate's variable draw the unknown of every row in its place.
    rows
        For each variable of a plate's model that every dataset has of its own, these unknowns by dataset.
    """

    factors: tuple[AnalysisFactor, ...]
    parents: tuple[HierarchicalFactor, ...]
    rows: dict[Variable, tuple[Variable, ...]]


def expanded_plates(factors: Sequence[AnalysisFactor | Plate], parents: Sequence[HierarchicalFactor]) -> Expansion:
    """Replace plates by their rows.

    Raises
    ------
    GraphError
        A plate given twice, plates of the same objects without names, or a covariate where no plate gives it a value.
    """
    plates = [factor for factor in factors if isinstance(factor, Plate)]
    if not plates:
        for parent in parents:
            _check_without_covariates(parent)
        return Expansion(tuple(factors), tuple(parents), {})  # type: ignore[arg-type]
    if len(set(map(id, plates))) < len(plates):
        raise GraphError("FactorGraphModel: one Plate was given twice.")
    templates = [Template(plate) for plate in plates]
    outside = _outside([f for f in factors if isinstance(f, AnalysisFactor)], parents, templates)
    own = [[v for v in t.variables if v not in t.plate.shared and v not in outside] for t in templates]
    groups = _groups(own)
    cells: dict[Variable, dict[str, Variable]] = {}
    for members in groups:
        _check_named([plates[k] for k in members])
        for variable in dict.fromkeys(v for k in members for v in own[k]):
            readers = [plates[k] for k in members if variable in own[k]]
            cells[variable] = {name: _copied(variable) for plate in readers for name in plate.names}
    joined = {k for members in groups if len(members) > 1 for k in members}
    titles = _dataset_titles(plates)
    rows_of = {
        id(template.plate): _rows(template, cells, titles[k], is_joined=k in joined)
        for k, template in enumerate(templates)
    }
    found: list[AnalysisFactor] = []
    for factor in factors:
        if isinstance(factor, Plate):
            found.extend(rows_of[id(factor)])
        else:
            found.append(factor)
    drawn_here = tuple(_expanded_parent(parent, cells) for parent in parents)
    return Expansion(tuple(found), drawn_here, {v: tuple(of.values()) for v, of in cells.items()})


def _outside(
    factors: Iterable[AnalysisFactor], parents: Iterable[HierarchicalFactor], templates: Sequence[Template]
) -> set[Variable]:
    """The unknowns that the graph uses outside of plates: by objects, they are one."""
    in_plates = {v for template in templates for v in template.variables}
    found = {v for factor in factors for v in factor.variables}
    for parent in parents:
        drawn = parent.drawn_variables
        if not drawn or any(v not in in_plates for v in drawn):
            found.update(structure_of(parent.parameters)[1])
    return found


def _groups(own: Sequence[Sequence[Variable]]) -> list[list[int]]:
    """Plates that have variables in common, directly or by way of others."""
    groups: list[tuple[set[Variable], list[int]]] = []
    for k, variables in enumerate(own):
        together = (set(variables), [k])
        rest = []
        for group in groups:
            if group[0] & together[0]:
                together = (group[0] | together[0], group[1] + together[1])
            else:
                rest.append(group)
        groups = [*rest, together]
    return [members for _, members in groups]


def _check_named(plates: Sequence[Plate]) -> None:
    if len(plates) > 1 and not all(plate.has_names for plate in plates):
        raise GraphError(
            f"{', '.join(map(repr, plates))} have variables in common, so their datasets are joined by name: give "
            "each its names=. If the variable is one unknown for all datasets, say shared=[...] in each plate."
        )


def _copied(variable: Variable) -> Variable:
    twin: Variable = object.__new__(type(variable))
    vars(twin).update(vars(variable), token=uuid.uuid4().hex)
    return twin


def _dataset_titles(plates: Sequence[Plate]) -> list[Sequence[str]]:
    """Names of the datasets of each plate, with that of the plate where they alone would not tell them apart."""
    names = [plate.name for plate in plates]
    titles = [n if names.count(n) == 1 else f"{n}_{k}" for k, n in enumerate(names)]
    found: list[Sequence[str]] = []
    for k, plate in enumerate(plates):
        others = {name for m, other in enumerate(plates) if m != k and other.has_names for name in other.names}
        if not plate.has_names:
            found.append([f"{titles[k]}_{row}" for row in range(plate.size)])
        elif others.isdisjoint(plate.names):
            found.append(plate.names)
        else:
            found.append([f"{name} {titles[k]}" for name in plate.names])
    return found


def _rows(
    template: Template, cells: Mapping[Variable, Mapping[str, Variable]], titles: Sequence[str], *, is_joined: bool
) -> list[PlateRow]:
    plate = template.plate
    columns = [[cells[v][name] for name in plate.names] if v in cells else [v] * plate.size for v in template.variables]
    variables = list(zip(*columns, strict=True)) if columns else [()] * plate.size
    found: list[Any] = [None] * plate.size
    for part in plate.parts:
        for place, row in enumerate(part.rows):
            dataset = plate.names[row] if is_joined else None
            found[row] = PlateRow(template, part, place, variables[row], titles[row], dataset)
    return found


# --- parents ---


def _check_without_covariates(parent: HierarchicalFactor) -> None:
    found = covariates_in(structure_of(parent.parameters)[2])
    if found:
        raise GraphError(
            f"{parent!r}: its parameters have {found[0]!r}, a number of each dataset of a plate, but it draws what is "
            "in no plate of this graph. Pass the plate to FactorGraphModel, and draw a variable of its model with "
            "over(...)."
        )


def _expanded_parent(
    parent: HierarchicalFactor, cells: Mapping[Variable, Mapping[str, Variable]]
) -> HierarchicalFactor:
    if not any(variable in cells for variable in parent.drawn_variables):
        _check_without_covariates(parent)
        return parent
    drawn: dict[Variable, Drawn] = {}
    for variables in _together(parent):
        if not any(v in cells for v in variables):
            _check_without_covariates(parent)
            drawn.update({v: parent.drawn[v] for v in variables})
            continue
        drawn.update(_drawn_in_rows(parent, variables, cells))
    return parent.drawing(drawn)


def _together(parent: HierarchicalFactor) -> list[tuple[Variable, ...]]:
    """Variables that are drawn at once."""
    size = 1 if parent.joint is None else parent.joint.dimension
    variables = parent.drawn_variables
    return [variables[k : k + size] for k in range(0, len(variables), size)]


def _drawn_in_rows(
    parent: HierarchicalFactor, variables: Sequence[Variable], cells: Mapping[Variable, Mapping[str, Variable]]
) -> dict[Variable, Drawn]:
    """How each dataset's own unknown is drawn."""
    templates = [parent.drawn[v] for v in variables]
    _, reads, constants = structure_of([t.parameters for t in templates])
    each = [structure_of(t.parameters)[1] for t in templates]
    local = [v for v in reads if v in cells]
    covariates = covariates_in(constants)
    rows = [cells.get(v) for v in variables]
    if any(row is None for row in rows):
        raise GraphError(
            f"{parent!r}: it draws variables of a plate together with others; those of one plate are needed."
        )
    names = list(rows[0] or ())
    values = [_by_name(covariate) for covariate in covariates]
    _check_known(parent, names, [*values, *(cells[v] for v in local)], [*covariates, *local])
    found: dict[Variable, Drawn] = {}
    if not local and not covariates:
        for variable, template, read in zip(variables, templates, each, strict=True):
            for row in cells[variable].values():
                found[row] = Drawn(template.family, template.parameters, template.parameters, read)
        return found
    for name in names:
        mine = {v: cells[v][name] for v in local}
        known: dict[Any, Any] = {**mine, **{c: of[name] for c, of in zip(covariates, values, strict=True)}}
        parameters = substituted([t.parameters for t in templates], known, fold=False)
        for variable, template, read, own in zip(variables, templates, each, parameters, strict=True):
            found[cells[variable][name]] = Drawn(
                template.family, own, template.parameters, tuple(mine.get(v, v) for v in read)
            )
    return found


def _by_name(covariate: Covariate) -> dict[str, float]:
    return dict(zip(covariate.names, covariate.values.tolist(), strict=True))


def _check_known(
    parent: HierarchicalFactor, names: Sequence[str], tables: Sequence[Mapping[str, Any]], labels: Sequence[Any]
) -> None:
    for table, label in zip(tables, labels, strict=True):
        missing = [name for name in names if name not in table]
        if missing:
            raise GraphError(
                f"{parent!r}: {len(missing)} of {len(names)} datasets have no {label!r}, such as {missing[0]!r}; a "
                "covariate or variable in the parameters must be that of a plate with all datasets drawn."
            )
