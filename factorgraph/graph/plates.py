"""Like terms are found without being asked and stacked into plates: one kernel a plate, whatever its size."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.analysis import data_of
from factorgraph.graph.coordinate import kind_for_support, unit_coordinate
from factorgraph.graph.density import DatasetArrays, Role, Signature
from factorgraph.graph.message_families import KIND_OF, coordinate_of_family
from factorgraph.graph.on_disk import parts_of
from factorgraph.graph.recipe import Recipe, likeness_of
from factorgraph.graph.terms import Draw, Term, Terms
from factorgraph.model.family import Flat
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

_MANY_PLATES = 20


@dataclass(frozen=True, eq=False, slots=True)
class SharedVariable:
    """A shared unknown and the coordinate it is seen in; ``whitened`` means its prior is N(0, 1) there."""

    variable: Variable
    role: Role
    parameters: np.ndarray  # (4,)

    @property
    def whitened(self) -> bool:
        return self.role.family is not None

    def value(self, t: Any) -> Any:
        return self.role.value(t, self.parameters)


@dataclass(frozen=True, eq=False, slots=True)
class Plate:
    """Like terms with their numbers stacked on the first axis.

    Attributes
    ----------
    arrays
        Host arrays with leading axis N (the number of terms).
    shared_index
        ``(N, shared)``: which of the graph's shared variables each term touches.
    """

    signature: Signature
    terms: tuple[Term, ...]
    arrays: DatasetArrays
    shared_index: np.ndarray
    local: tuple[tuple[Variable, ...], ...]  # local variables of each term, by position

    @property
    def size(self) -> int:
        return len(self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    def take(self, rows: np.ndarray) -> Plate:
        """The plate of some of its terms."""
        arrays = DatasetArrays(
            tuple(c[rows] for c in self.arrays.constants), self.arrays.shared[rows], self.arrays.local[rows]
        )
        chosen = [int(row) for row in rows]
        return Plate(
            self.signature,
            tuple(self.terms[row] for row in chosen),
            arrays,
            self.shared_index[rows],
            tuple(self.local[row] for row in chosen),
        )

    def fingerprints(self) -> np.ndarray:
        """``(N,)`` unsigned integers that depend on each term's numbers alone, not on its place or name."""
        digests = []
        for part in parts_of(self.size):
            rows = [np.ascontiguousarray(c[part].reshape(len(c[part]), -1)) for c in self.arrays.constants]
            digests += [
                hashlib.blake2b(b"".join(r[i].tobytes() for r in rows), digest_size=8).digest()
                for i in range(min(part.stop, self.size) - part.start)
            ]
        return np.frombuffer(b"".join(digests), dtype=np.uint64)


def shared_variables_of(terms: Terms) -> tuple[SharedVariable, ...]:
    """The shared variables with their coordinates: whitened where the prior allows, otherwise by support."""
    return tuple(
        _shared_variable(variable, terms.draws.get(variable), terms.families.get(variable)) for variable in terms.shared
    )


def _shared_variable(variable: Any, draw: Draw | None, chosen: str | None) -> SharedVariable:
    family, parameters = (draw.family, draw.parameters) if draw is not None else (variable.family, variable.parameters)
    if chosen is None and draw is None and family.is_whitened:
        return SharedVariable(variable, Role(True, 0, family=family), _padded(parameters))
    kind, numbers = _coordinate_of(family, parameters, chosen=chosen)
    return SharedVariable(variable, Role(True, 0, kind=kind), numbers)


def _coordinate_of(
    family: Any, parameters: Sequence[Any], decades: bool = False, chosen: str | None = None
) -> tuple[str, np.ndarray]:
    """Kind and numbers of the coordinate of a variable with this density; the scale is the density's own where it has
    one."""
    numbers = [p if isinstance(p, (int, float, np.number)) else np.nan for p in parameters]
    lower, upper = (float(limit) for limit in family.support(*numbers)) if family.support_kind != "real" else (0.0, 0.0)
    scale = dict(zip(family.parameter_names, numbers, strict=True)).get("scale", np.nan)
    scale = float(scale) if np.isfinite(scale) and scale > 0 else 1.0
    if family.support_kind == "lower" and not np.isfinite(lower):
        lower = 0.0
    if chosen is not None:
        return KIND_OF[chosen], coordinate_of_family(chosen, family.support_kind, lower, upper, scale)
    return kind_for_support(family.support_kind, decades), unit_coordinate(family.support_kind, lower, upper, scale)


def _padded(parameters: Sequence[float]) -> np.ndarray:
    numbers = np.zeros(4)
    numbers[: len(parameters)] = parameters
    return numbers


def plates_of(terms: Terms, shared: Sequence[SharedVariable]) -> tuple[Plate, ...]:
    """Stack like terms, in order of first appearance."""
    position = {s.variable: i for i, s in enumerate(shared)}
    groups: dict[Any, list[tuple[Term, tuple, tuple, tuple, np.ndarray]]] = {}
    recipes: dict[Any, Recipe] = {}
    for term in terms.terms:
        likeness = likeness_of(term, shared, position)
        if likeness is None or likeness not in recipes:
            key, row = _describe(term, shared, position)
            if likeness is not None:
                key = (*key, len(recipes))  # its constants are columns of a plate that was declared
                recipes[likeness] = Recipe(term, key, row, shared)
        else:
            key, row = recipes[likeness].row_of(term, position)
        groups.setdefault(key, []).append(row)
    _warn_of_many_plates(groups)
    declared = {recipe.key: recipe for recipe in recipes.values()}
    return tuple(
        _stack(key[0], rows, shared, declared[key].constants(rows) if key in declared else None)
        for key, rows in groups.items()
    )


def _describe(term: Term, shared: Sequence[SharedVariable], position: dict[Variable, int]) -> tuple[Any, tuple]:
    models = tuple(factor.prior_model for factor in term.factors)
    data = tuple(data_of(factor.analysis) for factor in term.factors)
    structure, variables, constants = structure_of((models, data))
    parents, parent_variables, parent_constants = structure_of(tuple(draw.parameters for draw in term.draws))
    read = set(variables)
    variables = _unique((*variables, *(draw.variable for draw in term.draws), *parent_variables))
    drawn = {draw.variable: draw for draw in term.draws}
    roles: list[Role] = []
    touched: list[int] = []
    local: list[Variable] = []
    numbers: list[np.ndarray] = []
    for variable in variables:
        if variable in position:
            known = shared[position[variable]].role
            roles.append(Role(True, len(touched), known.family, known.kind))
            touched.append(position[variable])
        else:
            role, parameters = _local_role(variable, drawn, len(local))
            roles.append(role)
            local.append(variable)
            numbers.append(parameters)
    slots = {variable: slot for slot, variable in enumerate(variables)}
    fixed = tuple(k for k, draw in enumerate(term.draws) if _is_fixed(draw, position))
    varying = tuple(draw for k, draw in enumerate(term.draws) if k not in fixed)
    involved = {*parent_variables, *(draw.variable for draw in varying)}
    signature = Signature(
        structure,
        parents,
        tuple(slots[variable] for variable in parent_variables),
        len(constants),
        tuple(roles),
        tuple((slots[draw.variable], draw.family) for draw in term.draws),
        tuple(type(factor.analysis) for factor in term.factors),
        any(variable in position for variable in read),
        tuple(sorted(roles[slots[v]].position for v in involved if v not in position)),
        fixed,
    )
    constants = tuple(np.asarray(constant, dtype=_dtype(constant)) for constant in (*constants, *parent_constants))
    optimisers = tuple(id(factor.optimiser) for factor in term.factors)
    key = (signature, tuple((c.shape, c.dtype.kind) for c in constants), optimisers)
    return key, (term, tuple(touched), tuple(local), constants, np.array(numbers).reshape(len(local), 4))


def _is_fixed(draw: Draw, shared: Mapping[Variable, int]) -> bool:
    """Whether a draw is the normalised prior of a local variable, whatever the others are."""
    _, parents, _ = structure_of(draw.parameters)
    return not parents and draw.variable not in shared and not isinstance(draw.family, Flat)


def _unique(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    return tuple(dict.fromkeys(variables))


def _dtype(constant: Any) -> Any:
    kind = np.asarray(constant).dtype.kind
    return np.float64 if kind == "f" else None


def _local_role(variable: Any, drawn: dict[Variable, Draw], place: int) -> tuple[Role, np.ndarray]:
    if variable not in drawn:
        return Role(False, place, family=variable.family), _padded(variable.parameters)
    kind, numbers = _coordinate_of(drawn[variable].family, drawn[variable].parameters, decades=True)
    return Role(False, place, kind=kind), numbers


def _stack(
    signature: Signature, rows: list[tuple], shared: Sequence[SharedVariable], columns: tuple[np.ndarray, ...] | None
) -> Plate:
    terms, touched, local, constants, numbers = zip(*rows, strict=True)
    if columns is None:
        columns = tuple(np.stack(column) for column in zip(*constants, strict=True))
    index = np.array(touched, dtype=int).reshape(len(rows), signature.num_shared)
    coordinates = np.array([s.parameters for s in shared]).reshape(len(shared), 4)
    arrays = DatasetArrays(columns, coordinates[index], np.stack(numbers))
    return Plate(signature, terms, arrays, index, local)


def _warn_of_many_plates(groups: dict[Any, list]) -> None:
    counts: dict[tuple[type, ...], list[Any]] = {}
    for signature, shapes, *_ in groups:
        if signature.analyses:
            counts.setdefault(signature.analyses, []).append((signature, shapes))
    for analyses, keys in counts.items():
        if len(keys) > _MANY_PLATES:
            reason = (
                "the shapes of their arrays differ (pad them to one length, with a mask)"
                if len({shapes for _, shapes in keys}) > _MANY_PLATES
                else "their settings (integers, strings, other objects) or model structures differ"
            )
            warnings.warn(
                f"{len(keys)} plates were made of datasets of class {analyses[0].__name__}, each compiled by "
                f"itself: {reason}. "
                "Give arrays equal shapes, and store numbers that vary as floats, to compile once.",
                stacklevel=4,
            )
