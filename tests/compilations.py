"""Count what XLA compiles inside a block of code, so that a test can bound it.

Every jitted function counts once per distinct signature, and so does every operation that JAX runs eagerly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jax import monitoring

BACKEND_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


@dataclass
class Compilations:
    """Number of compilations seen so far and the seconds they took."""

    count: int = 0
    seconds: float = 0.0


@contextmanager
def count_compilations() -> Iterator[Compilations]:
    """Count the compilations inside a ``with`` block.

    Examples
    --------
    >>> with count_compilations() as compilations:
    ...     result = graph.optimise(seed=0)
    >>> assert compilations.count <= 8
    """
    seen = Compilations()

    def listener(event: str, duration: float, **_: object) -> None:
        if event == BACKEND_COMPILE_EVENT:
            seen.count += 1
            seen.seconds += duration

    monitoring.register_event_duration_secs_listener(listener)
    try:
        yield seen
    finally:
        monitoring.unregister_event_duration_listener(listener)
