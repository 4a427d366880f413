"""Results of costly pieces of a run, kept in a folder under a digest of what they were made from.

A run is deterministic, so nothing else need be kept: it is simply run again, and takes each piece that is there in
place of making it. What it took and what it makes are the same bits.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from factorgraph.checkpoint.archive import DamagedFile, Entry, Place, packed, places_in, read, unpacked, write
from factorgraph.checkpoint.digest import digest_of

SUFFIX = ".pieces"
_SHORTEST, _LONGEST, _SHARE = 0.5, 30.0, 0.02  # seconds between two files; of the time so far
_MOST_BYTES = 2**26  # that wait for being written
_TOLERANCE = 1e-9  # of numbers that another kind of processor may round differently


class Piece(NamedTuple):
    """A call whose result is worth keeping.

    Attributes
    ----------
    exact
        What identifies it: numbers, arrays, and trees of these, compared bit by bit.
    near
        Arrays that have to agree to nine digits of the largest number of each: what follows from a sum over all
        datasets, which another kind of processor rounds differently.
    make
        Makes the result: a tree of arrays, see `archive.packed`.
    """

    exact: Any
    near: tuple[Any, ...]
    make: Callable[[], Any]


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


class Journal:
    """The pieces of one part of a run, such as a plate.

    Parameters
    ----------
    store
        None: nothing is kept.
    scope
        Which part.
    """

    def __init__(self, store: Store | None = None, scope: tuple[Any, ...] = ()) -> None:
        self._store, self._scope = store, scope

    def of(self, *part: Any) -> Journal:
        """The journal of a part of this one."""
        return Journal(self._store, (*self._scope, *part))

    def each(self, what: str, pieces: Iterable[Piece]) -> list[Any]:
        """The results of the ``pieces``, made or found. Where one is found it is an equal tree of new arrays."""
        store = self._store
        if store is None or not store.is_open:
            return [piece.make() for piece in pieces]
        return [self._found_or_made(store, what, piece) for piece in pieces]

    def kept(self, what: str, exact: Any, near: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        return self.each(what, [Piece(exact, near, make)])[0]

    def _found_or_made(self, store: Store, what: str, piece: Piece) -> Any:
        near = tuple(np.asarray(array, dtype=float) for array in piece.near)
        key = digest_of(self._scope, what, piece.exact, [array.shape for array in near])
        is_there, result = store.find(key, near)
        if not is_there:
            result = piece.make()
            store.keep(key, near, result)
        return result


NOTHING_KEPT = Journal()


def _agree(kept: Sequence[np.ndarray], near: Sequence[np.ndarray]) -> bool:
    return len(kept) == len(near) and all(_is_near(a, b) for a, b in zip(kept, near, strict=True))


def _is_near(kept: np.ndarray, now: np.ndarray) -> bool:
    if kept.shape != now.shape:
        return False
    finite = np.isfinite(now)
    largest = float(np.max(np.abs(now), where=finite, initial=0.0))
    return bool(np.allclose(kept, now, rtol=0.0, atol=_TOLERANCE * largest, equal_nan=True))
