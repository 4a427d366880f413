"""The process at the other end of a `SpawnPool`: takes a call, answers it, until nobody asks any more."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

ONE_THREAD = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ),
        "1",
    ),
    "JAX_PLATFORMS": "cpu",  # one accelerator cannot be had by several processes
}
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"

READY, BEGUN, RETURNED, RAISED = b"ready", b"begun", b"returned", b"raised"


def serve(connection: Connection) -> None:
    """Answer calls until the other end is closed, or its process is gone."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C is the parent's; and what a likelihood starts is killed with its worker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    connection.send_bytes(READY)
    while True:
        try:
            payload = connection.recv_bytes()
        except (EOFError, OSError):
            return
        word, answer = _answered(payload, connection)
        try:
            connection.send_bytes(word)
            connection.send_bytes(answer)
        except OSError:
            return


def _answered(payload: bytes, connection: Connection) -> tuple[bytes, bytes]:
    try:
        function, arguments, keywords = pickle.loads(payload)
        connection.send_bytes(BEGUN)
        return RETURNED, pickle.dumps(function(*arguments, **keywords))
    except BaseException as error:  # also SystemExit: a call does not end its worker by raising
        return RAISED, _packed(error)


def _packed(error: BaseException) -> bytes:
    said = traceback.format_exc(limit=-8)
    with contextlib.suppress(Exception):
        error.add_note(f"In a worker:\n{said}")
        packed = pickle.dumps(error)
        if isinstance(pickle.loads(packed), type(error)):
            return packed
    return pickle.dumps(RuntimeError(said))


def _leave_with_parent() -> None:
    parent: Any = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
