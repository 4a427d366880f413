"""The global way: a whole graph as one target, its unknowns whitened and the log likelihoods of all datasets summed.

Every unknown is a transformed standard normal: theta = F^-1(Phi(x)) through the density it is drawn from, its own prior
or its parent given the parent's parameters (parents first, the non-centred form), so that the prior over x is N(0, I)
and no parent is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

import jax
import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.coordinate import kind_for_support, unit_coordinate
from factorgraph.graph.plates import Plate
from factorgraph.graph.program import (
    Datasets,
    DatasetsArrays,
    DrawArrays,
    DrawGroup,
    Draws,
    GenerationArrays,
    Program,
    ProgramArrays,
    Reading,
    SummedLogLikelihood,
    collapsed,
    densities_of,
    values_at,
)
from factorgraph.graph.selection import selection
from factorgraph.graph.terms import Draw, Terms
from factorgraph.model.family import Flat
from factorgraph.model.structure import Structure, structure_of
from factorgraph.model.variable import Variable
from searches.target import Target, standard_normal_log_density

Array = Any
Shapes = tuple[tuple[int, ...], ...]
Row = tuple[Variable, tuple[Variable, ...], tuple[Any, ...]]  # what is drawn, its parents, the constants
Read = Callable[[Sequence[int] | np.ndarray], tuple[Reading, np.ndarray | None]]
Generation = dict[tuple[DrawGroup, Shapes], list[Row]]

_UNROLLED_GENERATIONS = 8  # longer chains of draws are scanned


class Lane(Protocol):
    """How a plate's likelihood is evaluated: ``"jax"`` or ``"host"``."""

    @property
    def name(self) -> str: ...


class Graph(Protocol):
    """What is asked of a graph: see `FactorGraphModel`."""

    @property
    def terms(self) -> Terms: ...
    @property
    def plates(self) -> tuple[Plate, ...]: ...
    @property
    def lanes(self) -> tuple[Lane, ...]: ...
    @property
    def names(self) -> dict[Variable, str]: ...
    @property
    def global_prior_model(self) -> Any: ...


def target_of(graph: Graph) -> Target:
    """The graph as a target over all its unknowns, in the order of `global_variables`, whitened.

    An improper prior (`FlatPrior`) is kept in the coordinate of its support, and the target then says that it has no
    unit cube.

    Raises
    ------
    GraphError
        Variables are drawn from one another in a circle, or from a flat density.
    """
    variables = global_variables(graph)
    generations = generations_of(graph.terms.draws, variables)
    position = {row[0]: i for i, row in enumerate(row for g in generations for rows in g.values() for row in rows)}
    lanes = zip(graph.plates, graph.lanes, strict=True)
    likelihoods = [(plate, lane.name == "jax") for plate, lane in lanes if plate.signature.analyses]
    called = [plate for plate, is_traced in likelihoods if not is_traced]
    program, data = program_of(
        graph, [p for p, is_traced in likelihoods if is_traced], variables, generations, position
    )
    summed, log_prior = densities_of(program)
    host = HostLogLikelihood(summed, [(p, np.stack(_slot_positions(graph, p, position), axis=1)) for p in called])
    proper = data.proper is None
    return Target(
        names=global_names(graph, variables),
        log_likelihood=host if called else summed,
        log_prior=standard_normal_log_density if proper else log_prior,
        data=data,
        is_jax=not called,
        proper_prior=proper,
        to_parameters=ToParameters(program, data, np.array([position[v] for v in variables], dtype=int)),
    )


def global_variables(graph: Graph) -> tuple[Variable, ...]:
    """All unknowns in the order of the target's parameters: that of the vectors of ``graph.global_prior_model``."""
    ordered = dict.fromkeys(graph.global_prior_model.variables)
    unknown = {v: None for term in graph.terms.terms for v in term.local} | dict.fromkeys(graph.terms.shared)
    return tuple(v for v in ordered | unknown if v in unknown)


def global_names(graph: Graph, variables: Sequence[Variable]) -> tuple[str, ...]:
    """Unique names: those of the graph, with the dataset's in front where several private variables have one name."""
    names = [graph.names[variable] for variable in variables]
    count = Counter(names)
    owner = {variable: term.name for term in graph.terms.terms for variable in term.local}
    return tuple(f"{owner[v]}.{n}" if count[n] > 1 and v in owner else n for v, n in zip(variables, names, strict=True))


class HostLogLikelihood:
    """(x (P,), data) -> the sum where some likelihoods are plain calls; what JAX can trace stays one jitted call.

    An exception of the user's code is passed on: the guard of the search meets it.
    """

    def __init__(self, traced: SummedLogLikelihood, plates: Sequence[tuple[Plate, np.ndarray]]) -> None:
        self._traced = traced
        self._plates = tuple(plates)

    def __call__(self, x: np.ndarray, data: ProgramArrays) -> float:
        theta = values_at(self._traced.program, x, data)
        rows = [(plate, row, theta[slots[row]].tolist()) for plate, slots in self._plates for row in range(plate.size)]
        if not all(_satisfied(*each) for each in rows):
            return -np.inf
        total = _on_device(self._traced, x, data).item() if self._traced.program.plates else 0.0
        for plate, row, values in rows:
            instances, _ = plate.signature.structure.build(values, _constants(plate, row))
            for factor, instance in zip(plate.terms[row].factors, instances, strict=True):
                total = total + factor.analysis.log_likelihood_function(instance)
        return total


@partial(jax.jit, static_argnums=0)
def _on_device(function: SummedLogLikelihood, x: Array, data: ProgramArrays) -> Array:
    return function(x, data)


def _satisfied(plate: Plate, row: int, values: list[float]) -> bool:
    structure = plate.signature.structure
    return not structure.has_assertions or bool(structure.satisfied(values, _constants(plate, row)))


def _constants(plate: Plate, row: int) -> tuple[Any, ...]:
    constants = plate.arrays.constants[: plate.signature.num_constants]
    return tuple(c[row].item() if c.ndim == 1 else c[row] for c in constants)


class ToParameters:
    """(n, P) x to the user's coordinates, on the host."""

    def __init__(self, program: Program, data: ProgramArrays, positions: np.ndarray) -> None:
        self._program, self._data, self._positions = program, data, positions

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return values_at(self._program, np.asarray(x, dtype=np.float64), self._data)[..., self._positions]


# --- from a graph to its program ---


def generations_of(draws: dict[Variable, Draw], variables: Sequence[Variable]) -> list[Generation]:
    """Rows of like draws by generation: every parent is in an earlier one."""
    distinct = {id(draw.parameters): draw.parameters for draw in draws.values()}
    recipes = {key: structure_of(parameters) for key, parameters in distinct.items()}
    depth = _depths({v: recipes[id(draws[v].parameters)][1] if v in draws else () for v in variables})
    generations: list[Generation] = [{} for _ in range(1 + max(depth.values(), default=0))]
    for variable in variables:
        if variable in draws:
            family = draws[variable].family
            structure, parents, constants = recipes[id(draws[variable].parameters)]
        else:
            family, constants = variable.family, tuple(variable.parameters)  # type: ignore[attr-defined]
            structure, parents = _numbers_only(len(constants)), ()
        kind = kind_for_support(family.support_kind) if isinstance(family, Flat) else None
        if kind is not None and parents:
            raise GraphError(f"{variable!r} is drawn from a flat density with unknown limits: give them numbers.")
        key = (DrawGroup(family, structure, kind), tuple(np.shape(c) for c in constants))
        generations[depth[variable]].setdefault(key, []).append((variable, parents, constants))
    return generations


def _depths(parents: dict[Variable, tuple[Variable, ...]]) -> dict[Variable, int]:
    depth: dict[Variable, int] = {}
    try:
        for variable in TopologicalSorter(parents).static_order():
            depth[variable] = 1 + max((depth[parent] for parent in parents[variable]), default=-1)
    except CycleError as error:
        circle = ", ".join(variable.name or repr(variable) for variable in error.args[1])
        raise GraphError(f"Variables are drawn from one another in a circle: {circle}. Give one a prior.") from None
    return depth


@lru_cache(maxsize=16)
def _numbers_only(num_parameters: int) -> Structure:
    return structure_of((0.0,) * num_parameters)[0]


def program_of(
    graph: Graph,
    plates: Sequence[Plate],
    variables: Sequence[Variable],
    generations: Sequence[Generation],
    position: dict[Variable, int],
) -> tuple[Program, ProgramArrays]:
    column = {variable: i for i, variable in enumerate(variables)}
    num_unrolled = len(generations) if len(generations) <= _UNROLLED_GENERATIONS else 1
    sizes = [len(rows) for g in generations[:num_unrolled] for rows in g.values()]
    firsts = np.cumsum([0, *sizes])[:-1] if num_unrolled == len(generations) else np.zeros(0, dtype=int)
    read = partial(_reading, firsts)
    numbers = Numbers()
    unrolled = [
        [_draws(numbers, k[0], rows, column, position, read) for k, rows in g.items()]
        for g in generations[:num_unrolled]
    ]
    scanned = list(dict.fromkeys(key for g in generations[num_unrolled:] for key in g))
    later = [_scanned([g.get(k, []) for g in generations[num_unrolled:]], column, position) for k in scanned]
    datasets = [_datasets(graph, plate, position, read) for plate in plates]
    program = Program(
        tuple(tuple(static for static, _ in generation) for generation in unrolled),
        tuple(group for group, _ in scanned),
        tuple(static for static, _ in datasets),
    )
    return program, ProgramArrays(
        numbers.joined(),
        tuple(tuple(arrays for _, arrays in generation) for generation in unrolled),
        tuple(later),
        tuple(arrays for _, arrays in datasets),
        _proper(generations[0], column),
    )


def _proper(roots: Generation, column: dict[Variable, int]) -> np.ndarray | None:
    improper = [column[row[0]] for (group, _), rows in roots.items() if group.kind is not None for row in rows]
    proper = np.ones(len(column))
    proper[improper] = 0.0
    return proper if improper else None


def _reading(firsts: np.ndarray, positions: Sequence[int] | np.ndarray) -> tuple[Reading, np.ndarray | None]:
    """How to read ``positions`` of theta, given the first position of each group (none: they are in one piece)."""
    positions = np.asarray(positions, dtype=int)
    owners = np.searchsorted(firsts, positions, side="right") - 1
    one_group = len(firsts) > 0 and bool(np.all(owners == owners[0]))
    slices, index = selection(positions - firsts[owners[0]] if one_group else positions)
    return Reading(int(owners[0]) if one_group else None, slices), index


class Numbers:
    """Constants, one after the other in one array."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = [np.zeros(0)]
        self._size = 0

    def add(self, constant: np.ndarray) -> tuple[int, int, tuple[int, ...]]:
        """Where it is, and its shape."""
        start, self._size = self._size, self._size + constant.size
        self._parts.append(constant.ravel())
        return start, self._size, constant.shape

    def joined(self) -> np.ndarray:
        return np.concatenate(self._parts)


def _draws(
    numbers: Numbers,
    group: DrawGroup,
    rows: Sequence[Row],
    column: dict[Variable, int],
    position: dict[Variable, int],
    read: Read,
) -> tuple[Draws, DrawArrays]:
    variables, parents, constants = zip(*rows, strict=True)
    columns = selection([column[v] for v in variables])
    readings = [read([position[v] for v in slot]) for slot in zip(*parents, strict=True)]
    columnwise = tuple(collapsed(np.array(c, dtype=np.float64)) for c in zip(*constants, strict=True))
    return (
        Draws(group, columns[0], tuple(reading for reading, _ in readings), tuple(map(numbers.add, columnwise))),
        DrawArrays(columns[1], tuple(index for _, index in readings), _coordinates(group, columnwise, len(rows))),
    )


def _coordinates(group: DrawGroup, constants: tuple[np.ndarray, ...], size: int) -> np.ndarray | None:
    if group.kind is None:
        return None
    limits = group.family.support(*group.parents.build((), constants))
    lower, upper = (np.broadcast_to(limit, size) for limit in limits)
    return np.array([unit_coordinate(group.family.support_kind, a, b) for a, b in zip(lower, upper, strict=True)])


def _scanned(
    generations: Sequence[list[Row]], column: dict[Variable, int], position: dict[Variable, int]
) -> GenerationArrays:
    """``(generations, width)``: short generations are padded with rows whose result is dropped."""
    filler = next(rows[0] for rows in generations if rows)
    width = max(len(rows) for rows in generations)
    padded = [row for rows in generations for row in (*rows, *[filler] * (width - len(rows)))]
    place = [
        position[r[0]] if i < len(rows) else len(position) for rows in generations for i, r in _numbered(rows, width)
    ]
    variables, parents, constants = zip(*padded, strict=True)

    def table(numbers: Any) -> np.ndarray:
        return np.array(numbers).reshape(len(generations), width)

    return GenerationArrays(
        table([column[v] for v in variables]),
        table(place),
        tuple(table([position[v] for v in slot]) for slot in zip(*parents, strict=True)),
        tuple(table(c) for c in zip(*constants, strict=True)),
    )


def _numbered(rows: list[Row], width: int) -> list[tuple[int, Row]]:
    return [(i, rows[i] if i < len(rows) else rows[0] if rows else ()) for i in range(width)]  # type: ignore[misc]


def _datasets(graph: Graph, plate: Plate, position: dict[Variable, int], read: Read) -> tuple[Datasets, DatasetsArrays]:
    positions = _slot_positions(graph, plate, position)
    slots = [read(p) for p in positions]
    constants = tuple(collapsed(np.asarray(c)) for c in plate.arrays.constants[: plate.signature.num_constants])
    static = Datasets(
        plate.signature,
        plate.size,
        tuple(reading for reading, _ in slots),
        tuple(len(p) > 1 and bool(np.all(p == p[0])) for p in positions),
        tuple(len(constant) < plate.size for constant in constants),
    )
    return static, DatasetsArrays(tuple(index for _, index in slots), constants)


def _slot_positions(graph: Graph, plate: Plate, position: dict[Variable, int]) -> list[np.ndarray]:
    """Positions in theta, (N,) each, of what the slots of the plate's structure read."""
    shared = np.array([position[v] for v in graph.terms.shared], dtype=int)
    return [
        shared[plate.shared_index[:, role.position]]
        if role.shared
        else np.array([position[local[role.position]] for local in plate.local], dtype=int)
        for role in plate.signature.roles[: plate.signature.structure.num_variables]
    ]
