"""Compilation by JAX: how long it took, and a folder in which it is kept from one run of Python to the next."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache

from factorgraph.errors import FactorGraphError

_EVENTS = frozenset({"/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration"})
_LEAST_SECONDS = 0.2  # what compiles faster is not worth a file


def cache_compilations(folder: str | Path) -> Path:
    """Keep what JAX compiles in ``folder``, for this process from now on and for later ones.

    A first result that took 40 seconds takes a few in the next process. It is JAX's own persistent cache, so that other
    uses of JAX in the process share it. Kernels are those of one machine, one version of JAX and one likelihood:
    anything else is compiled and added. Nothing is ever removed; delete the folder to start afresh.

    Parameters
    ----------
    folder
        Made where it does not exist, readable and writable by its owner alone: whoever can write there can run code in
        this process.

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    FactorGraphError
        The folder belongs to somebody else, or others can write to it.
    """
    path = Path(folder).expanduser().resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise FactorGraphError(
            f"cache_compilations({str(path)!r}): the folder belongs to another user, who could run code in this "
            "process through it. Choose a folder of your own."
        )
    if os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FactorGraphError(
            f"cache_compilations({str(path)!r}): others can write to the folder, and so run code in this process. "
            f"Close it with `chmod 700 {path}`, or choose another."
        )
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # so far it may have been off
    return path


@dataclass
class CompileTime:
    """Seconds that compilation has taken so far."""

    seconds: float = 0.0


@contextmanager
def timed_compilation() -> Iterator[CompileTime]:
    """Measure the compilations of this thread inside a ``with`` block; tracing in Python is not among them."""
    found, thread = CompileTime(), threading.get_ident()

    def listener(event: str, duration_secs: float, **_: object) -> None:
        if event in _EVENTS and threading.get_ident() == thread:
            found.seconds += duration_secs

    monitoring.register_event_duration_secs_listener(listener)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(listener)
