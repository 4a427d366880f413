"""Is a likelihood JAX? It is traced, abstractly, without compiling anything; where that fails it is called plainly.

What the likelihood returns is checked here too, before any work is done.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import jax
import numpy as np

from factorgraph.distributed.workers import Lost, Workers
from factorgraph.errors import GraphError, LikelihoodError
from factorgraph.graph.density import log_likelihood
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.graph.samples_factor import SamplesAnalysis
from factorgraph.propagation.contracted import ContractedPlate, Lane
from factorgraph.propagation.field_plate import FieldPlate
from factorgraph.propagation.host import HostPlate
from factorgraph.propagation.linked import FieldComponents
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.sampled import SampledPlate
from factorgraph.propagation.traced import TracedPlate

_LONG_TRACE = 1000  # operations; beyond, something is unrolled
_NUM_TRIALS = 3
IN_PLACE = Workers()


def lane_of(plate: Plate, workers: Workers = IN_PLACE) -> Lane:
    """Try to trace the plate's likelihood; one that cannot be traced is tried by ``workers``.

    Raises
    ------
    LikelihoodError
        It cannot be traced though ``use_jax=True`` insists, returns something that is no real scalar, or raises
        wherever it is called.
    """
    signature, term = plate.signature, plate.terms[0]
    if not signature.analyses:
        return Lane("jax")
    if any(issubclass(cls, SamplesAnalysis) for cls in signature.analyses):
        _check_draws(plate)
        return Lane("draws")
    arrays = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], _traced_dtype(a)), plate.arrays)
    values = [jax.ShapeDtypeStruct((), np.float64)] * len(signature.roles)
    constants = arrays.constants[: signature.num_constants]
    try:
        traced = jax.make_jaxpr(lambda v, c: log_likelihood(signature, v, c))(values, constants)
    except Exception as error:  # user code under abstract values may fail in any way; the reason is kept and reported
        if any(getattr(factor.analysis, "use_jax", False) for factor in term.factors):
            raise LikelihoodError(
                f"{term.name}: {_analysis_name(plate)} has use_jax=True, but its likelihood cannot be traced by "
                f"JAX: {error}. "
                "Use jax.numpy in place of numpy, and jnp.where in place of if; or leave use_jax out."
            ) from error
        _check_plain_calls(plate, workers)
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        _warn_of_mixed_likelihood(plate, reason)
        return Lane("host", reason)
    _check_output(plate, traced.out_avals[0].shape, traced.out_avals[0].dtype)
    _warn_of_long_trace(plate, traced)
    return Lane("jax")


def contracted_plate(
    plate: Plate,
    shared: tuple[SharedVariable, ...],
    seed: int,
    lane: Lane,
    optimiser: Any = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> ContractedPlate:
    """The plate in its lane; a dataset with an optimiser, its own or the graph's, is explored by it."""
    if isinstance(plate, FieldComponents):
        inner = [
            contracted_plate(part.plate, plate.everything, seed, part.lane, optimiser, resources.of(number))
            for number, part in enumerate(plate.parts)
        ]
        return FieldPlate(plate, inner, shared, seed)
    own = [factor.optimiser for factor in plate.terms[0].factors if factor.optimiser is not None]
    chosen = own[0] if own else optimiser
    return _PLATES[lane.name](plate, shared, seed, optimiser=chosen, resources=resources)


_PLATES: dict[str, type[TracedPlate] | type[HostPlate]] = {"jax": TracedPlate, "host": HostPlate, "draws": SampledPlate}


def _check_draws(plate: Plate) -> None:
    """Draws can be re-weighted by the density of a parent, and by nothing else."""
    where = f"{plate.names[0]}: a SamplesFactor"
    if len(plate.signature.analyses) > 1:
        raise GraphError(
            f"{where} and another factor read the same private variable, but there is no density to multiply: draw "
            "from the posterior given all data of the dataset."
        )
    if plate.signature.reads_shared:
        raise GraphError(
            f"{where} reads a shared variable, but draws can be re-weighted only by a parent's density: give every "
            "variable of the factor a prior of its own, and draw it from a HierarchicalFactor."
        )


def _traced_dtype(array: np.ndarray) -> Any:
    return np.float64 if array.dtype.kind == "f" else array.dtype


def _analysis_name(plate: Plate) -> str:
    return " and ".join(cls.__name__ for cls in plate.signature.analyses)


def _check_output(plate: Plate, shape: tuple[int, ...], dtype: Any) -> None:
    where = f"{plate.names[0]}: {_analysis_name(plate)}.log_likelihood_function"
    if shape != ():
        raise LikelihoodError(
            f"{where} returned an array of shape {shape}; return one number, such as the sum over the data."
        )
    if np.dtype(dtype).kind == "c":
        raise LikelihoodError(
            f"{where} returned a complex number; return a real log likelihood, such as its real part."
        )


def _warn_of_long_trace(plate: Plate, traced: Any) -> None:
    length = len(traced.jaxpr.eqns)
    if length > _LONG_TRACE:
        warnings.warn(
            f"{_analysis_name(plate)}.log_likelihood_function unrolls to {length:,} operations and will compile "
            "slowly: Python's "
            "sum() or a loop over the data? Use jax.numpy.sum and array operations.",
            stacklevel=6,
        )


def _warn_of_mixed_likelihood(plate: Plate, reason: str) -> None:
    """A likelihood that calls jax.numpy was meant to be compiled; one that is plain NumPy throughout was not."""
    for cls in plate.signature.analyses:
        function = inspect.unwrap(cls.log_likelihood_function)  # type: ignore[attr-defined]
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        called = [names[name] for name in code.co_names if name in names] if code is not None else []
        if any(getattr(module, "__name__", "").split(".")[0] == "jax" for module in called):
            warnings.warn(
                f"{cls.__name__}.log_likelihood_function uses JAX but cannot be traced ({reason}), so it is called "
                "point by point, which is slow. Call jnp in place of np on whatever depends on the instance or on "
                "the data, and use jnp.where in place of if.",
                stacklevel=6,
            )


def _check_plain_calls(plate: Plate, workers: Workers) -> None:
    """Call the likelihood of the first dataset at a few points: it must answer at one of them, with a real scalar."""
    host = HostPlate(plate, (), 0, resources=Resources(workers=workers))
    (outcome,) = workers.each([host.task(0, "tried", _NUM_TRIALS)])
    if isinstance(outcome, Lost):  # it is tried again, and left out, when datasets are explored
        return
    answers, said = outcome.result
    for answer in answers:
        if answer.dtype.kind not in "fiubc":
            raise LikelihoodError(
                f"{plate.names[0]}: {_analysis_name(plate)}.log_likelihood_function returned {answer.text}; "
                "return a float."
            )
        _check_output(plate, answer.shape, answer.dtype)
    if said:
        raise LikelihoodError(
            f"{plate.names[0]}: {_analysis_name(plate)}.log_likelihood_function raised at every point tried:\n{said}"
        )
