"""The graph with its locals integrated out, as a target over the shared variables that any search takes.

Every dataset is explored once, as for expectation propagation; log f is then the same frozen, deterministic function
that the sweeps see. The shared variables are whitened, parents first, as in `graph.global_target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.coordinate import coordinate_from_value
from factorgraph.graph.density import DatasetArrays, Signature
from factorgraph.graph.global_target import Graph as GlobalGraph
from factorgraph.graph.global_target import ToParameters, generations_of, program_of
from factorgraph.graph.plates import SharedVariable
from factorgraph.graph.program import Program, ProgramArrays, densities_of, values_at
from factorgraph.propagation.blocks import LANES
from factorgraph.propagation.contracted import ContractedPlate, Lane
from factorgraph.propagation.inner import LOG_FACTORS
from factorgraph.propagation.preparation import prepare
from factorgraph.propagation.state import quarantined
from searches.target import Target, standard_normal_log_density

Array = Any


class Graph(GlobalGraph, Protocol):
    """What is asked of a graph: see `FactorGraphModel`."""

    @property
    def shared(self) -> tuple[SharedVariable, ...]: ...
    @property
    def lanes(self) -> tuple[Lane, ...]: ...


class PlateArrays(NamedTuple):
    """Of one plate, in batches of `LANES`, the last padded with repeats of weight zero."""

    arrays: DatasetArrays  # (batches, LANES, ...)
    rule: Any  # (batches, LANES, ...)
    index: Array  # (batches, LANES, shared)
    weight: Array  # (batches, LANES)
    uniform: Array


class TargetArrays(NamedTuple):
    """The numbers of a contracted target; ``coordinates`` (D, 4) are those of the shared variables."""

    program: ProgramArrays
    coordinates: Array
    plates: tuple[PlateArrays, ...]


@dataclass(frozen=True, slots=True)
class SummedLogFactors:
    """(x (D,), data) -> sum over the datasets of log f, nats; hashable, equal for like graphs.

    ``kinds`` are those of the shared variables' coordinates, None where whitened; ``positions`` where each is among the
    program's values; ``plates`` the signature and the inner method of each plate.
    """

    program: Program
    kinds: tuple[str | None, ...]
    positions: tuple[int, ...]
    plates: tuple[tuple[Signature, str], ...]

    def __call__(self, x: Array, data: TargetArrays) -> Array:
        theta = values_at(self.program, x, data.program)
        t = [
            x[i] if kind is None else coordinate_from_value(kind, theta[position], data.coordinates[i])
            for i, (kind, position) in enumerate(zip(self.kinds, self.positions, strict=True))
        ]
        phi, total = jnp.stack(t), jnp.zeros(())
        for (signature, method), plate in zip(self.plates, data.plates, strict=True):

            def batch(pack: tuple, signature: Signature = signature, method: str = method, uniform=plate.uniform):
                arrays, rule, index, weight = pack
                value, _ = jax.vmap(lambda a, r, i: LOG_FACTORS[method](signature, uniform, a, r, phi[i]))(
                    arrays, rule, index
                )
                return jnp.sum(jnp.where(weight > 0.0, jnp.where(jnp.isnan(value), -jnp.inf, value), 0.0))

            total = total + jnp.sum(jax.lax.map(batch, (plate.arrays, plate.rule, plate.index, plate.weight)))
        return total


@dataclass(frozen=True, slots=True)
class ImproperPrior:
    """(x (D,), data) -> log prior of the shared variables where some of it is improper, nats."""

    program: Program

    def __call__(self, x: Array, data: TargetArrays) -> Array:
        return densities_of(self.program)[1](x, data.program)


def plate_arrays(plate: ContractedPlate, kept: np.ndarray) -> PlateArrays:
    """The ``kept`` rows (n,) of a plate, from which log f is evaluated."""
    num = -(-len(kept) // LANES) * LANES
    rows = kept[np.minimum(np.arange(num), len(kept) - 1)]
    frozen = plate.frozen(rows)

    def batched(array: np.ndarray) -> np.ndarray:
        return np.asarray(array).reshape(num // LANES, LANES, *np.shape(array)[1:])

    weight = (np.arange(num) < len(kept)).astype(float)
    arrays, rule = jax.tree.map(batched, (frozen.arrays, frozen.rule))
    return PlateArrays(arrays, rule, batched(plate.plate.shared_index[rows]), batched(weight), frozen.uniform)


class Doubts(NamedTuple):
    """What should be known of the datasets of a contracted graph.

    ``left_out`` are the names of those whose log f is finite nowhere near the mode, ``unreached`` of those whose own
    likelihood the points of the integral never quite reached; ``search_failures`` says by name how the user's search
    failed, importance sampling having taken its place.
    """

    left_out: tuple[str, ...]
    unreached: tuple[str, ...]
    search_failures: dict[str, str]


def contracted_target(graph: Graph, seed: int, optimiser: Any) -> tuple[Target, Doubts]:
    """The target over ``graph.shared``, in that order, and what should be known of the datasets.

    Raises
    ------
    GraphError
        Nothing is shared, or log f calls a likelihood that JAX cannot trace.
    """
    shared = graph.shared
    if not shared:
        raise GraphError("The contracted graph has no unknown: no variable of this graph is shared or a parent's.")
    variables = tuple(s.variable for s in shared)
    generations = generations_of(graph.terms.draws, variables)
    order = [row[0] for generation in generations for rows in generation.values() for row in rows]
    position = {variable: i for i, variable in enumerate(order)}
    program, numbers = program_of(graph, [], variables, generations, position)
    positions = tuple(position[variable] for variable in variables)
    with jax.enable_x64(True):
        contracted, start = prepare(shared, graph.plates, graph.lanes, seed, optimiser)
        plates: list[tuple[ContractedPlate, PlateArrays]] = []
        doubts = Doubts((), (), {})
        for plate in contracted.plates:
            if plate.plate.terms[0].factors:  # the densities of shared variables are the prior of the target
                values, _ = plate.log_factors(start.mean[None])
                lost = quarantined(values, plate)
                names = np.array(plate.plate.names, dtype=object)
                doubts = Doubts(
                    (*doubts.left_out, *names[lost]),
                    (*doubts.unreached, *names[~lost & ~plate.is_explored]),
                    {**doubts.search_failures, **{names[row]: why for row, why in plate.search_failures.items()}},
                )
                if not np.all(lost):
                    plates.append((plate, plate_arrays(plate, np.flatnonzero(~lost))))
    proper = numbers.proper is None
    target = Target(
        names=tuple(graph.names[variable] for variable in variables),
        log_likelihood=SummedLogFactors(
            program,
            tuple(None if s.whitened else s.role.kind or "real" for s in shared),
            positions,
            tuple((plate.plate.signature, plate.method) for plate, _ in plates),
        ),
        log_prior=standard_normal_log_density if proper else ImproperPrior(program),
        data=TargetArrays(numbers, np.stack([s.parameters for s in shared]), tuple(arrays for _, arrays in plates)),
        proper_prior=proper,
        to_parameters=ToParameters(program, numbers, np.array(positions)),
    )
    return target, doubts
