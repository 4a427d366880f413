"""A graph as a program: whitened coordinates to the user's, parents first, then the summed log likelihood.

A program is static, hashable and equal for like graphs; its numbers travel beside it in `ProgramArrays`. It consists of
groups of like draws and of plates of like datasets, so that what is traced does not grow with the number of datasets.
The functions are namespace-agnostic but for the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.coordinate import log_jacobian, value_from_coordinate
from factorgraph.graph.density import LOG_SQRT_2PI, Signature, log_likelihood
from factorgraph.graph.selection import Slices, select
from factorgraph.model.family import Family
from factorgraph.model.structure import Structure
from messages.array_namespace import namespace

Array = Any


@dataclass(frozen=True, slots=True)
class DrawGroup:
    """Like draws: ``parents`` builds the family's parameters; ``kind`` is the coordinate of an improper density."""

    family: Family
    parents: Structure
    kind: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Which values a slot reads: entries of one group's values, or of theta, which is all of them in a row."""

    group: int | None
    slices: Slices


@dataclass(frozen=True, slots=True)
class Draws:
    """A group, the entries of x it transforms, what its parameters read, slot by slot, and where its constants are.

    A constant is a range of ``ProgramArrays.numbers`` and a shape, ``(n, ...)`` or ``(1, ...)``.
    """

    group: DrawGroup
    columns: Slices
    parents: tuple[Reading, ...]
    constants: tuple[tuple[int, int, tuple[int, ...]], ...]

    def constants_in(self, numbers: Array) -> tuple[Array, ...]:
        return tuple(numbers[start:stop].reshape(shape) for start, stop, shape in self.constants)


@dataclass(frozen=True, slots=True)
class Datasets:
    """Like datasets and what their slots read; slots and constants that all have in common are not mapped over."""

    signature: Signature
    size: int
    slots: tuple[Reading, ...]
    common_slots: tuple[bool, ...]
    common_constants: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Generations of draws, parents first (``scanned``: the later ones where there are many); then the likelihoods."""

    generations: tuple[tuple[Draws, ...], ...]
    scanned: tuple[DrawGroup, ...]
    plates: tuple[Datasets, ...]


class DrawArrays(NamedTuple):
    """Of n like draws: indices where a selection has no slices; ``coordinate`` (n, 4) of an improper density."""

    columns: Array | None
    parents: tuple[Array | None, ...]
    coordinate: Array | None


class GenerationArrays(NamedTuple):
    """Of a scanned group: ``positions`` in theta, what is read there and of x, and constants, all (generations, n)."""

    columns: Array
    positions: Array
    parents: tuple[Array, ...]
    constants: tuple[Array, ...]


class DatasetsArrays(NamedTuple):
    """Of N like datasets: indices of slots as above; ``constants`` (N, ...) or (1, ...)."""

    slots: tuple[Array | None, ...]
    constants: tuple[Array, ...]


class ProgramArrays(NamedTuple):
    """The numbers of a program.

    ``numbers`` are the constants of all draws, in one array because every array costs time at a call; ``proper`` (P,)
    is 1 where the prior is N(0, 1) in x, else 0.
    """

    numbers: Array
    generations: tuple[tuple[DrawArrays, ...], ...]
    scanned: tuple[GenerationArrays, ...]
    plates: tuple[DatasetsArrays, ...]
    proper: Array | None  # None: all are


def values_at(program: Program, x: Array, data: ProgramArrays) -> Array:
    """theta (..., P): all unknowns in the user's coordinates at ``x`` (..., P), in the program's order."""
    return _joined(groups_at(program, x, data), x)


def groups_at(program: Program, x: Array, data: ProgramArrays) -> list[Array]:
    """The values of each group, (..., n); in one piece where generations are scanned.

    They are joined only where something reads across groups: a copy costs as much as a transformation.
    """
    values: list[Array] = []
    for generation, arrays in zip(program.generations, data.generations, strict=True):
        values = values + [
            _drawn(draws, a, x, values, data.numbers) for draws, a in zip(generation, arrays, strict=True)
        ]
    return [_scan(program, x, data, _joined(values, x))] if program.scanned else values


def _drawn(draws: Draws, arrays: DrawArrays, x: Array, values: list[Array], numbers: Array) -> Array:
    parents = [_read(values, reading, index, x) for reading, index in zip(draws.parents, arrays.parents, strict=True)]
    t = select(x, draws.columns, arrays.columns)
    if draws.group.kind is not None:
        return value_from_coordinate(draws.group.kind, t, arrays.coordinate)
    return _values(draws.group, t, parents, draws.constants_in(numbers))


def _read(values: list[Array], reading: Reading, index: Array | None, x: Array) -> Array:
    source = _joined(values, x) if reading.group is None else values[reading.group]
    return select(source, reading.slices, index)


def _joined(values: list[Array], x: Array) -> Array:
    return namespace(x).concatenate([x[..., :0], *values], axis=-1) if len(values) != 1 else values[0]


def _scan(program: Program, x: Array, data: ProgramArrays, theta: Array) -> Array:
    xp = namespace(x)
    theta = xp.concatenate([theta, xp.zeros((*x.shape[:-1], x.shape[-1] - theta.shape[-1]))], axis=-1)
    if xp is jnp:
        return jax.lax.scan(lambda t, arrays: (_next_generation(program, arrays, x, t), None), theta, data.scanned)[0]
    for depth in range(len(data.scanned[0].positions)):
        theta = _next_generation(program, _at_depth(data.scanned, depth), x, theta)
    return theta


def _values(group: DrawGroup, t: Array, parents: list[Array], constants: tuple[Array, ...]) -> Array:
    return group.family.from_normal(t, *group.parents.build(parents, constants))


def _at_depth(scanned: tuple[GenerationArrays, ...], depth: int) -> tuple[GenerationArrays, ...]:
    return jax.tree.map(lambda array: array[depth], scanned)


def _next_generation(program: Program, scanned: tuple[GenerationArrays, ...], x: Array, theta: Array) -> Array:
    """``theta`` with one generation filled in; padded rows, whose position is P, are dropped."""
    new = [
        _values(group, x[..., a.columns], [theta[..., i] for i in a.parents], a.constants)
        for group, a in zip(program.scanned, scanned, strict=True)
    ]
    for values, arrays in zip(new, scanned, strict=True):
        if namespace(theta) is jnp:
            theta = theta.at[..., arrays.positions].set(values, mode="drop")
        else:
            kept = arrays.positions < theta.shape[-1]
            theta[..., arrays.positions[kept]] = values[..., kept]
    return theta


def plate_log_likelihood(plate: Datasets, groups: list[Array], arrays: DatasetsArrays, x: Array) -> Array:
    """Sum over the plate of log L at the values of ``groups``, nats; traced."""

    def one(values: list[Array], constants: list[Array]) -> Array:
        return jnp.asarray(log_likelihood(plate.signature, values, tuple(constants)), dtype=float)

    read = [_read(groups, reading, index, x) for reading, index in zip(plate.slots, arrays.slots, strict=True)]
    values, value_axes = _mapped(read, plate.common_slots)
    constants, constant_axes = _mapped(arrays.constants, plate.common_constants)
    if all(plate.common_slots) and all(plate.common_constants):
        return plate.size * one(values, constants)
    return jax.vmap(one, in_axes=(value_axes, constant_axes))(values, constants).sum(axis=0)


def _mapped(arrays: Sequence[Array], common: tuple[bool, ...]) -> tuple[list[Array], list[int | None]]:
    kept = [array[0] if same else array for array, same in zip(arrays, common, strict=True)]
    return kept, [None if same else 0 for same in common]


class SummedLogLikelihood:
    """(x (P,), data) -> sum of the datasets' log likelihoods, nats."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, x: Array, data: ProgramArrays) -> Array:
        groups, total = groups_at(self.program, x, data), 0.0
        for plate, arrays in zip(self.program.plates, data.plates, strict=True):
            total = total + plate_log_likelihood(plate, groups, arrays, x)
        return total


class LogPrior:
    """(x (P,), data) -> log prior where some of it is improper: N(0, 1), or the density's own with its Jacobian; nats.

    Improper densities are those of the first generation.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, x: Array, data: ProgramArrays) -> Array:
        proper = 1.0 if data.proper is None else data.proper
        total = (-proper * (0.5 * x * x + LOG_SQRT_2PI)).sum()
        for draws, arrays in zip(self.program.generations[0], data.generations[0], strict=True):
            if draws.group.kind is not None:
                total = total + _log_improper(draws, arrays, x, data.numbers)
        return total


def _log_improper(draws: Draws, arrays: DrawArrays, x: Array, numbers: Array) -> Array:
    group, kind = draws.group, draws.group.kind or "real"
    t = select(x, draws.columns, arrays.columns)
    parameters = group.parents.build((), draws.constants_in(numbers))
    log_density = group.family.log_density(value_from_coordinate(kind, t, arrays.coordinate), *parameters)
    return (log_density + log_jacobian(kind, t, arrays.coordinate)).sum()


@lru_cache(maxsize=256)
def densities_of(program: Program) -> tuple[SummedLogLikelihood, LogPrior]:
    """Log likelihood and log prior: one pair of objects for like programs, so that jitted code is found by identity."""
    return SummedLogLikelihood(program), LogPrior(program)


def collapsed(array: np.ndarray) -> np.ndarray:
    """``array`` (n, ...) or, where all n > 1 rows are equal, its first row (1, ...)."""
    return array[:1] if len(array) > 1 and bool(np.all(array == array[:1])) else array
