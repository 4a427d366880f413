"""Likelihoods in single precision: half the memory of the data on a device, and faster; with its error measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.density import Signature, log_likelihood
from factorgraph.graph.plates import Plate
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.kernel import kernel

Array = Any

_MOST_DATASETS, _MOST_DRAWS = 256, 16


class PrecisionError(NamedTuple):
    """What single precision does, measured at posterior draws of up to 256 datasets a plate; nats.

    ``log_likelihood`` is the largest standard deviation, over draws, of a dataset's log likelihood from that in double
    precision: what deforms its posterior. ``log_evidence`` is the sum over all datasets of the mean deviation.
    """

    log_likelihood: float
    log_evidence: float


def in_single(plate: Plate) -> Plate:
    """The plate with its likelihood computed in single precision."""
    return replace(plate, signature=replace(plate.signature, single=True))


def precision_error(
    plates: Sequence[ContractedPlate], local: Sequence[LocalPosterior | None], draws: np.ndarray
) -> PrecisionError:
    """Compare both precisions at posterior ``draws`` (M, D) of the shared variables, in the user's coordinates."""
    largest, total = 0.0, 0.0
    for contracted, found in zip(plates, local, strict=True):
        plate = contracted.plate
        if not plate.signature.single or not plate.signature.analyses:
            continue
        rows = np.unique(np.linspace(0, plate.size - 1, min(plate.size, _MOST_DATASETS)).astype(int))
        num = min(_MOST_DRAWS, len(draws), np.inf if found is None else found.draws.shape[1])
        values = []
        for role in plate.signature.roles:
            if role.shared:
                values.append(draws[: int(num), plate.shared_index[rows, role.position]].T)
            else:
                assert found is not None
                values.append(found.draws[rows, : int(num), role.position])
        constants = tuple(c[rows] for c in plate.arrays.constants[: plate.signature.num_constants])
        deviation = np.asarray(_deviations(plate.signature, tuple(values), constants))
        known = deviation[np.all(np.isfinite(deviation), axis=1)]
        if len(known):
            largest = max(largest, float(np.max(np.std(known, axis=1))))
            total += plate.size * float(np.mean(known))
    return PrecisionError(largest, total)


@kernel("signature")
def _deviations(signature: Signature, values: tuple[Array, ...], constants: tuple[Array, ...]) -> Array:
    """log L in single less that in double precision, (n, M), at ``values`` (n, M) of each slot."""
    double = replace(signature, single=False)

    def one(values: tuple[Array, ...], constants: tuple[Array, ...]) -> Array:
        return jnp.asarray(log_likelihood(signature, list(values), constants)) - log_likelihood(
            double, list(values), constants
        )

    return jax.vmap(jax.vmap(one, in_axes=(0, None)))(values, constants)
