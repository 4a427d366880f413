"""One run a folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from factorgraph.errors import CheckpointError

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 2.0  # seconds: somebody may be looking whether it is held


class Lock:
    """Holds ``path`` from `acquire` to `release`.

    The system's own lock on the file says who holds it, since that ends with the process. Where the file system knows
    none, the file holds machine and process, and one whose process is gone is taken over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def acquire(self) -> None:
        """Raises `CheckpointError` where another process has it."""
        end = time.monotonic() + _PATIENCE
        while not self._try():
            if time.monotonic() > end:
                holder = _holder(self.path)
                who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
                raise CheckpointError(
                    f"checkpoint {str(self.path.parent)!r}: {who} is running in this folder. Wait for it or stop it, "
                    "or give this run another folder."
                )
            time.sleep(0.1)

    def _try(self) -> bool:
        file = open(self.path, "a+b")  # noqa: SIM115 (it is held as long as the lock)
        held = _locked(file)
        if held is False or held is None and _is_alive(_holder(self.path)):
            file.close()
            return False
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at ``path``."""
    try:
        with open(path, "rb") as file:
            free = _locked(file, shared=True)
    except OSError:
        return False
    return not free if free is not None else _is_alive(_holder(path))


def _locked(file: Any, *, shared: bool = False) -> bool | None:
    """Whether the system's lock on the file could be had; None where there is no such thing."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes() or b"{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"pid", "host"} <= set(found) else {}


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process runs; one on another machine is believed to."""
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return int(holder["pid"]) != os.getpid()
