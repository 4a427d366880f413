"""One measurement, one process: on one core, with what it printed as its last line, and an end to its time.

CPU seconds are of all threads, but a thread that waits for others in a loop burns them too: on one core there is
nobody to wait for.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class OutOfTime(Exception):
    """``seconds``: CPU seconds that were spent in vain."""

    def __init__(self, seconds: float):
        super().__init__(f"unfinished after {seconds:.0f} CPU seconds")
        self.seconds = seconds


def measure(command: Sequence[str], *, limit: float = 3600.0) -> dict[str, Any]:
    """Run ``command`` in an empty folder and read the JSON of its last line.

    Raises
    ------
    OutOfTime
        After ``limit`` CPU seconds.
    RuntimeError
        It failed; with the end of what it said.
    """
    before = _children()
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: _confine(limit),
        )
    spent = _children() - before
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if spent >= 0.95 * limit:
        raise OutOfTime(spent)
    raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2_000:]}")


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _confine(limit: float) -> None:
    """To one core, where the system can do that, and to its CPU seconds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
