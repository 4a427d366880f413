"""Several processes that solve one graph, each a share of the pieces: what one has made the others take.

Nobody is in charge. Every process runs the whole, so that all ask for the same pieces in the same order; of each list
it makes its own share first, and then waits for those of the others. A process that is not there, not yet or not any
more, holds up nobody: its pieces are made by whoever needs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from factorgraph.checkpoint.lock import is_held
from factorgraph.checkpoint.store import Store
from factorgraph.distributed.workers import Lost
from factorgraph.errors import CheckpointError


@dataclass(frozen=True)
class Share:
    """Process ``number`` of ``of`` that share a folder, counted from zero.

    Attributes
    ----------
    patience
        Seconds without anything new in the folder after which a piece is made though another process should: it may
        hang, or be of a kind that rounds differently.
    """

    folder: Path
    number: int
    of: int
    patience: float = 300.0
    pause: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise CheckpointError(
                f"checkpoint {str(self.folder)!r}: share {self.number} of {self.of} does not exist; they are counted "
                f"from 0 to {self.of - 1}."
            )

    @property
    def lock(self) -> str:
        return lock_of(self.number, self.of)

    def is_at_work(self, number: int) -> bool:
        return is_held(self.folder / lock_of(number, self.of))


def lock_of(number: int, of: int) -> str:
    """The name of a share's lock."""
    return f"shard-{number}-of-{of}.lock"


class Asked(NamedTuple):
    """A piece by its ``key``; see `journal.Piece`."""

    key: str
    near: tuple[np.ndarray, ...]
    make: Callable[[], Any]


Run = Callable[[Sequence[Callable[[], Any]]], Iterable[Any]]


def make_missing(store: Store, asked: Sequence[Asked], places: Iterable[int], run: Run) -> list[Any]:
    """The results of what is asked for at ``places``: found, or made many at a time and kept one by one,
    unless they are `Lost`."""
    places = list(places)
    results: dict[int, Any] = {}
    missing = [place for place in places if not _found(store, asked, place, results)]
    for place, result in zip(missing, run([asked[place].make for place in missing]), strict=True):
        results[place] = result
        if not isinstance(result, Lost):
            store.keep(asked[place].key, asked[place].near, result)
    return [results[place] for place in places]


def shared_out(store: Store, share: Share, asked: Sequence[Asked], run: Run | None = None) -> list[Any]:
    """The results of all pieces that are ``asked`` for, its own share of them made by this process; by ``run``, see
    `journal.Journal.each`."""
    results: dict[int, Any] = {}
    own = range(share.number, len(asked), share.of)
    if run is not None:
        store.look_again()
        results.update(zip(own, make_missing(store, asked, own, run), strict=True))
    for place in own if run is None else ():
        if not _found(store, asked, place, results):
            store.look_again()  # somebody may have thought that nobody is here
            if not _found(store, asked, place, results):
                _make(store, asked, place, results)
    since = time.monotonic()
    while len(results) < len(asked):
        store.flush()
        store.look_again()
        missing = [place for place in range(len(asked)) if place not in results]
        left = [place for place in missing if not _found(store, asked, place, results)]
        if len(left) < len(missing):
            since = time.monotonic()
        if not left:
            break
        at_work = [share.is_at_work(number) for number in range(share.of)]
        orphans = [place for place in left if not at_work[place % share.of]]
        if not orphans and time.monotonic() - since < share.patience:
            time.sleep(share.pause)
            continue
        free = (orphans or left)[::-1]  # if the one whose they are turns up, it begins at the other end
        _make(store, asked, free[share.number * len(free) // share.of], results)
    return [results[place] for place in range(len(asked))]


def _found(store: Store, asked: Sequence[Asked], place: int, results: dict[int, Any]) -> bool:
    is_there, result = store.find(asked[place].key, asked[place].near)
    if is_there:
        results[place] = result
    return is_there


def _make(store: Store, asked: Sequence[Asked], place: int, results: dict[int, Any]) -> None:
    results[place] = asked[place].make()
    store.keep(asked[place].key, asked[place].near, results[place])
