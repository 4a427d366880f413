"""The pieces of a run in a folder: found by their key, written some at a time.

Any number of processes may add to a folder; nothing that is there is ever changed.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.checkpoint.archive import DamagedFile, Entry, Place, packed, places_in, read, unpacked, write

SUFFIX = ".pieces"
_SHORTEST, _LONGEST, _SHARE = 0.5, 30.0, 0.02  # seconds between two files; of the time so far
_MOST_BYTES = 2**26  # that wait for being written
_TOLERANCE = 1e-9  # of numbers that another kind of processor may round differently


class Store:
    """The pieces in a folder; any number of processes may add to it at a time.

    Parameters
    ----------
    classes
        The named tuples in the results.
    """

    def __init__(self, folder: Path, classes: Sequence[type]) -> None:
        self.folder = folder
        self.classes: Mapping[str, type] = {cls.__name__: cls for cls in classes}
        self.is_open = True
        self.num_found, self.num_made = 0, 0
        self._places: dict[str, list[Place]] = {}
        self._known: set[str] = set()
        self._waiting: list[Entry] = []
        self._bytes = 0
        self._began = self._written = time.monotonic()
        self._is_full = False
        self.look_again()

    def look_again(self) -> None:
        """Read the headers of files that are new."""
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path.name in self._known:
                continue
            self._known.add(path.name)
            try:
                for key, place in places_in(path):
                    self._places.setdefault(key, []).append(place)
            except DamagedFile as error:
                self._put_aside(path, str(error))
            except OSError as error:
                warnings.warn(f"checkpoint: {path.name} cannot be read ({error}); it is left out.", stacklevel=2)

    def find(self, key: str, near: tuple[np.ndarray, ...]) -> tuple[bool, Any]:
        """Whether there is a result under ``key``, made from numbers ``near`` these; and the result."""
        for place in list(self._places.get(key, ())):
            try:
                kept, result = unpacked(place.tree, read(place), self.classes)
            except DamagedFile as error:
                self._put_aside(place.path, str(error))
            except OSError as error:
                warnings.warn(f"checkpoint: {place.path.name} cannot be read ({error}).", stacklevel=4)
                self._forget(place.path)
            else:
                if _agree(kept, near):
                    self.num_found += 1
                    return True, result
        return False, None

    def keep(self, key: str, near: tuple[np.ndarray, ...], result: Any) -> None:
        """Write the result, at once or together with the next ones."""
        self.num_made += 1
        if not self.is_open:
            return
        self._waiting.append(packed(key, (near, result)))  # the bytes: the arrays may be written to
        self._bytes += len(self._waiting[-1].data)
        now = time.monotonic()
        least = min(max(_SHARE * (now - self._began), _SHORTEST), _LONGEST)
        if now - self._written >= least or self._bytes >= _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits. A disk that is full is said once; the run goes on, and later pieces are tried again."""
        self._written = time.monotonic()
        if not self._waiting:
            return
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        path = self.folder / f"{int(time.time() * 1e3):015d}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        self._known.add(path.name)
        try:
            write(path, waiting)
        except OSError as error:
            if not self._is_full:
                warnings.warn(
                    f"checkpoint: {self.folder} cannot be written to ({error.strerror or error}). The run goes on; "
                    "what is not kept will be computed again if it has to be resumed.",
                    stacklevel=4,
                )
            self._is_full = True
            return
        self._is_full = False
        self._written = time.monotonic()
        for key, place in places_in(path):
            self._places.setdefault(key, []).append(place)

    def close(self) -> None:
        self.flush()
        self.is_open = False

    def _put_aside(self, path: Path, reason: str) -> None:
        self._forget(path)
        warnings.warn(
            f"checkpoint: {path.name} is damaged ({reason}). It is renamed to {path.name}.damaged, and what was in it "
            "is computed again.",
            stacklevel=5,
        )
        try:
            path.rename(path.with_name(f"{path.name}.damaged"))
        except OSError:  # it is not read again in any case
            return

    def _forget(self, path: Path) -> None:
        for key, places in list(self._places.items()):
            self._places[key] = [place for place in places if place.path != path]


def _agree(kept: Sequence[np.ndarray], near: Sequence[np.ndarray]) -> bool:
    return len(kept) == len(near) and all(_is_near(a, b) for a, b in zip(kept, near, strict=True))


def _is_near(kept: np.ndarray, now: np.ndarray) -> bool:
    if kept.shape != now.shape:
        return False
    finite = np.isfinite(now)
    largest = float(np.max(np.abs(now), where=finite, initial=0.0))
    return bool(np.allclose(kept, now, rtol=0.0, atol=_TOLERANCE * largest, equal_nan=True))
