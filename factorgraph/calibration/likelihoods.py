"""Log likelihoods of a graph at many values of its unknowns; their sum is a test quantity that depends on all data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.calibration.truths import slot_variables
from factorgraph.graph.density import Signature, log_likelihood
from factorgraph.graph.plates import Plate
from factorgraph.model.variable import Variable

Array = Any


def log_likelihoods(graph: Any, values: Mapping[Variable, np.ndarray]) -> np.ndarray:
    """Sum over all datasets of log L, nats, (n,), where every variable has values (n,)."""
    num = len(next(iter(values.values())))
    return sum((found.sum(axis=1) for found in dataset_log_likelihoods(graph, values).values()), start=np.zeros(num))


def dataset_log_likelihoods(graph: Any, values: Mapping[Variable, np.ndarray]) -> dict[int, np.ndarray]:
    """Log L of every dataset, nats, (n, N) for each plate of N datasets by its number, where every variable has values
    (n,)."""
    found = {}
    for number, (plate, lane) in enumerate(zip(graph.plates, graph.lanes, strict=True)):
        if not plate.signature.analyses:
            continue
        slots = [np.stack([values[v] for v in slot], axis=-1) for slot in slot_variables(plate, graph.terms.shared)]
        constants = plate.arrays.constants[: plate.signature.num_constants]
        with jax.enable_x64(True):
            if lane.name == "jax":
                found[number] = np.asarray(_traced(plate.signature, slots, constants))
            else:
                num = len(next(iter(values.values())))
                found[number] = np.array([_called(plate, [slot[row] for slot in slots]) for row in range(num)])
    return found


@partial(jax.jit, static_argnums=0)
def _traced(signature: Signature, slots: list[Array], constants: tuple[Array, ...]) -> Array:
    """(n, N) of a plate; ``slots`` (n, N) each, ``constants`` (N, ...) each."""

    def dataset(values: list[Array], numbers: tuple[Array, ...]) -> Array:
        return jnp.asarray(log_likelihood(signature, values, numbers), dtype=float)

    def plate(values: list[Array]) -> Array:
        return jax.vmap(dataset)(values, constants)

    return jax.lax.map(plate, slots)


def _called(plate: Plate, slots: list[np.ndarray]) -> np.ndarray:
    """(N,) of a plate by plain calls; ``slots`` (N,) each."""
    structure, found = plate.signature.structure, np.zeros(plate.size)
    for row, term in enumerate(plate.terms):
        values = [float(slot[row]) for slot in slots]
        constants = [
            c[row].item() if c.ndim == 1 else c[row] for c in plate.arrays.constants[: plate.signature.num_constants]
        ]
        if structure.has_assertions and not structure.satisfied(values, constants):
            found[row] = -np.inf
            continue
        instances, _ = structure.build(values, constants)
        for factor, instance in zip(term.factors, instances, strict=True):
            found[row] += float(factor.analysis.log_likelihood_function(instance))
    return found
