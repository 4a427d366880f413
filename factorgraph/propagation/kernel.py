"""How the kernels of propagation are compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

Kernel = TypeVar("Kernel", bound=Callable)

_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


def kernel(*static: str, options: dict[str, Any] = _OPTIONS) -> Callable[[Kernel], Kernel]:
    """``jax.jit``, with the arguments named in ``static``, of a function that no other jitted function calls.

    On CPUs XLA's older code generator is chosen: a hierarchy of one-dimensional profiles compiles in two thirds of the
    time and half the memory, and runs as fast. An XLA that does not know the option compiles without it.
    """

    def decorate(function: Kernel) -> Kernel:
        jitted = [jax.jit(function, static_argnames=static)]
        jitted.append(jax.jit(function, static_argnames=static, compiler_options=options))

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            try:
                return jitted[-1](*args)
            except jax.errors.JaxRuntimeError as error:
                if len(jitted) == 1 or "No such compile option" not in str(error):
                    raise
            jitted.pop()
            return jitted[0](*args)

        return cast(Kernel, call)

    return decorate
