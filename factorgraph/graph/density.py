"""The joint density of one dataset, as a pure function that a kernel can trace.

A `Signature` is everything static about a dataset: the shape of its models and analyses, and the role of each unknown.
It is hashable and equal for like datasets, whatever graph they belong to, so it is the key under which kernels are
compiled. The numbers that go with it are a `DatasetArrays`. Positions: ``phi`` holds the coordinates of the shared
variables the dataset touches, shape ``(shared,)``; ``z`` those of its local variables, shape ``(local,)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from factorgraph.analysis import analysis_from
from factorgraph.graph.coordinate import log_jacobian, value_from_coordinate
from factorgraph.model.family import Family
from factorgraph.model.structure import Structure
from messages.array_namespace import namespace

Array = Any
LOG_SQRT_2PI = 0.9189385332046727


@dataclass(frozen=True, slots=True)
class Role:
    """Where the value of one unknown comes from: a position in ``phi`` or ``z``, and the coordinate it is seen in.

    ``family`` is set for a whitened variable, ``kind`` otherwise.
    """

    shared: bool
    position: int
    family: Family | None = None
    kind: str | None = None

    def value(self, t: Array, parameters: Array) -> Array:
        """The unknown in the user's coordinates; ``parameters`` has shape ``(4,)``."""
        if self.family is not None:
            return self.family.from_normal(t, *(parameters[..., i] for i in range(len(self.family.parameter_names))))
        return value_from_coordinate(self.kind or "real", t, parameters)


class DatasetArrays(NamedTuple):
    """The numbers of one dataset (or, with a leading axis, of a plate)."""

    constants: tuple[Array, ...]  # data, fixed values and hyper-parameters, in the structure's order
    shared: Array  # (shared, 4) parameters of the shared variables' coordinates
    local: Array  # (local, 4) parameters of the local variables' coordinates


@dataclass(frozen=True, slots=True)
class Signature:
    """What is static about a dataset; see the module's docstring.

    ``structure`` builds ``(instances, data)``: one instance and one dictionary of attributes an analysis. ``parents``
    builds the parameters of each draw; its slots and constants are numbered by themselves, ``parent_slots`` says
    which of the dataset's slots they are, and its constants follow those of ``structure``.
    """

    structure: Structure
    parents: Structure
    parent_slots: tuple[int, ...]
    num_constants: int  # of ``structure``; those of ``parents`` come after
    roles: tuple[Role, ...]
    draws: tuple[tuple[int, Family], ...]  # (slot of the drawn variable, family)
    analyses: tuple[type, ...]
    reads_shared: bool  # a model, not only a parent's parameter, reads a shared variable
    interface: tuple[int, ...]  # local positions that the draws involve, less those of ``fixed`` ones
    fixed: tuple[int, ...]  # draws that involve their own variable alone: normalised priors of local variables
    single: bool = False  # the likelihood is computed in single precision

    @property
    def num_shared(self) -> int:
        return sum(role.shared for role in self.roles)

    @property
    def num_local(self) -> int:
        return sum(not role.shared for role in self.roles)

    @property
    def whitened(self) -> tuple[int, ...]:
        """Local positions whose prior is N(0, 1)."""
        return tuple(role.position for role in self.roles if not role.shared and role.family is not None)


def values_of(signature: Signature, phi: Array, z: Array, arrays: DatasetArrays) -> list[Array]:
    """The unknowns in the user's coordinates, one a slot of the structure."""
    return [
        role.value(phi[role.position], arrays.shared[role.position])
        if role.shared
        else role.value(z[role.position], arrays.local[role.position])
        for role in signature.roles
    ]


def log_likelihood(signature: Signature, values: list[Array], constants: tuple[Array, ...]) -> Array:
    """Sum of the analyses' log likelihoods at ``values``, -inf where an assertion fails; nats."""
    if signature.single:
        values = [jnp.asarray(value, jnp.float32) for value in values]
        constants = tuple(jnp.asarray(c, jnp.float32) if c.dtype.kind == "f" else c for c in constants)
    instances, data = signature.structure.build(values, constants)
    total = 0.0
    for cls, attributes, instance in zip(signature.analyses, data, instances, strict=True):
        total = total + analysis_from(cls, attributes).log_likelihood_function(instance)
    if signature.structure.has_assertions:
        satisfied = signature.structure.satisfied(values, constants)
        total = namespace(total, satisfied).where(satisfied, total, -float("inf"))
    return jnp.asarray(total, float) if signature.single else total


def log_draws(signature: Signature, phi: Array, z: Array, arrays: DatasetArrays, fixed: bool | None = None) -> Array:
    """Log density, in coordinates, of what is drawn in this dataset given the parents' parameters; nats.

    With ``fixed``, of the draws that are; with False, of those that are not.
    """
    values = values_of(signature, phi, z, arrays)
    total = 0.0
    for k, parameters in enumerate(parameters_of(signature, values, arrays.constants)):
        if fixed is not None and fixed != (k in signature.fixed):
            continue
        slot, family = signature.draws[k]
        role = signature.roles[slot]
        t, coordinate = (phi, arrays.shared) if role.shared else (z, arrays.local)
        total = total + family.log_density(values[slot], *parameters)
        total = total + log_jacobian(role.kind or "real", t[role.position], coordinate[role.position])
    return total


def parameters_of(
    signature: Signature, values: list[Array], constants: tuple[Array, ...]
) -> tuple[tuple[Array, ...], ...]:
    """The parameters of each draw's family, given the unknowns of the dataset."""
    slots = [values[slot] for slot in signature.parent_slots]
    return signature.parents.build(slots, constants[signature.num_constants :])


def log_whitened(signature: Signature, z: Array) -> Array:
    """Log density of the local variables that have a whitened prior of their own: N(0, 1) each."""
    total = 0.0
    for position in signature.whitened:
        total = total - 0.5 * z[position] ** 2 - LOG_SQRT_2PI
    return total


def log_joint(signature: Signature, phi: Array, z: Array, arrays: DatasetArrays) -> Array:
    """log [ L(data | phi, z) p(z | phi) ] with respect to dz: what the inner methods integrate over z."""
    total = log_draws(signature, phi, z, arrays) + log_whitened(signature, z)
    if signature.analyses:
        total = total + log_likelihood(
            signature, values_of(signature, phi, z, arrays), arrays.constants[: signature.num_constants]
        )
    return total
