"""The summed log likelihood of a graph at many values of its unknowns: the test quantity that depends on all data."""

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
    total = np.zeros(len(next(iter(values.values()))))
    for plate, lane in zip(graph.plates, graph.lanes, strict=True):
        if not plate.signature.analyses:
            continue
        slots = [np.stack([values[v] for v in slot], axis=-1) for slot in slot_variables(plate, graph.terms.shared)]
        constants = plate.arrays.constants[: plate.signature.num_constants]
        with jax.enable_x64(True):
            if lane.name == "jax":
                total = total + np.asarray(_traced(plate.signature, slots, constants))
            else:
                total = total + [_called(plate, [slot[row] for slot in slots]) for row in range(len(total))]
    return total


@partial(jax.jit, static_argnums=0)
def _traced(signature: Signature, slots: list[Array], constants: tuple[Array, ...]) -> Array:
    """(n,) sums over a plate; ``slots`` (n, N) each, ``constants`` (N, ...) each."""

    def dataset(values: list[Array], numbers: tuple[Array, ...]) -> Array:
        return jnp.asarray(log_likelihood(signature, values, numbers), dtype=float)

    def plate(values: list[Array]) -> Array:
        return jnp.sum(jax.vmap(dataset)(values, constants))

    return jax.lax.map(plate, slots)


def _called(plate: Plate, slots: list[np.ndarray]) -> float:
    """The sum over a plate by plain calls; ``slots`` (N,) each."""
    structure, total = plate.signature.structure, 0.0
    for row, term in enumerate(plate.terms):
        values = [float(slot[row]) for slot in slots]
        constants = [
            c[row].item() if c.ndim == 1 else c[row] for c in plate.arrays.constants[: plate.signature.num_constants]
        ]
        if structure.has_assertions and not structure.satisfied(values, constants):
            return -np.inf
        instances, _ = structure.build(values, constants)
        for factor, instance in zip(term.factors, instances, strict=True):
            total += float(factor.analysis.log_likelihood_function(instance))
    return total
