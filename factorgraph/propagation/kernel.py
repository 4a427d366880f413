"""How the kernels of propagation are compiled, for one device or for several that divide the datasets among them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_OPTIONS = {"xla_cpu_use_fusion_emitters": False}
_COUNT = "count"
_AXIS = "datasets"


def kernel(
    *static: str, over: Sequence[str] = (), options: dict[str, Any] = _OPTIONS
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``jax.jit``, with the arguments named in ``static``, of a function that no other jitted function calls.

    On CPUs XLA's older code generator is chosen: a hierarchy of one-dimensional profiles compiles in two thirds of the
    time and half the memory, and runs as fast. An XLA that does not know the option compiles without it.

    Parameters
    ----------
    over
        Arguments whose leading axis, as that of all results, runs over datasets. Where a call names several
        ``devices``, each has an equal part of that axis, and of ``count``, the number of datasets that count, too.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def jitted(devices: tuple[Any, ...]) -> list[Any]:
            run = function if len(devices) < 2 else _divided(function, static, (*over, _COUNT), devices)
            return [
                jax.jit(run, static_argnames=static),
                jax.jit(run, static_argnames=static, compiler_options=options),
            ]

        @functools.wraps(function)
        def call(*args: Any, devices: tuple[Any, ...] = ()) -> Any:
            ways = jitted(devices)
            try:
                return ways[-1](*args)
            except jax.errors.JaxRuntimeError as error:
                if len(ways) == 1 or "No such compile option" not in str(error):
                    raise
            ways.pop()
            return ways[0](*args)

        return call

    return decorate


def over_devices(devices: Sequence[Any]) -> NamedSharding | None:
    """Where an array whose leading axis runs over datasets lies; None: on the default device."""
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec(_AXIS)) if len(devices) > 1 else None


def _divided(
    function: Callable, static: Sequence[str], divided: Sequence[str], devices: tuple[Any, ...]
) -> Callable[..., Any]:
    """``function`` with the arguments named in ``divided`` spread over ``devices``."""
    signature = inspect.signature(function)
    mesh = Mesh(np.array(devices), (_AXIS,))

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        given = signature.bind(*args).arguments
        fixed = {name: given.pop(name) for name in static}

        def part(*arrays: Any) -> Any:
            mine = dict(zip(given, arrays, strict=True))
            mine[_COUNT] = mine[_COUNT][0]
            return function(**fixed, **mine)

        specs = tuple(PartitionSpec(_AXIS) if name in divided else PartitionSpec() for name in given)
        spread = jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(_AXIS), check_vma=False)
        return spread(*given.values())

    return run


def counts(num: np.int64, size: int, devices: Sequence[Any]) -> np.int64 | np.ndarray:
    """How many datasets count on each of the ``devices``, of a block of ``size`` of which the first ``num`` do; a
    number where there is one device."""
    if len(devices) < 2:
        return num
    share = size // len(devices)
    return np.clip(num - share * np.arange(len(devices)), 0, share).astype(np.int64)
