"""Results of costly pieces of a run, kept in a folder under a digest of what they were made from.

A run is deterministic, so nothing else need be kept: it is simply run again, and takes each piece that is there in
place of making it. What it took and what it makes are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from factorgraph.checkpoint.digest import digest_of
from factorgraph.checkpoint.share import Asked, Run, Share, make_missing, shared_out
from factorgraph.checkpoint.store import Store


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


class Journal:
    """The pieces of one part of a run, such as a plate.

    Parameters
    ----------
    store
        None: nothing is kept.
    scope
        Which part.
    share
        Which of several processes this is, that share the work; None: the only one.
    """

    def __init__(self, store: Store | None = None, scope: tuple[Any, ...] = (), share: Share | None = None) -> None:
        self._store, self._scope, self._share = store, scope, share

    def of(self, *part: Any) -> Journal:
        """The journal of a part of this one."""
        return Journal(self._store, (*self._scope, *part), self._share)

    def each(self, what: str, pieces: Iterable[Piece], run: Run | None = None) -> list[Any]:
        """The results of the ``pieces``, made or found. Where one is found it is an equal tree of new arrays.

        Parameters
        ----------
        run
            Makes many at a time, as an executor does: from their ``make``, their results in order, each as soon as it
            is there. By default one is made after the other.
        """
        store = self._store
        if store is None or not store.is_open:
            return [piece.make() for piece in pieces] if run is None else list(run([piece.make for piece in pieces]))
        if self._share is not None:
            return shared_out(store, self._share, [self._asked(what, piece) for piece in pieces], run)
        if run is not None:
            asked = [self._asked(what, piece) for piece in pieces]
            return make_missing(store, asked, range(len(asked)), run)
        return [_found_or_made(store, self._asked(what, piece)) for piece in pieces]

    def kept(self, what: str, exact: Any, near: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The result of one piece, which no other process is expected to make: a part of another one."""
        if self._store is None or not self._store.is_open:
            return make()
        return _found_or_made(self._store, self._asked(what, Piece(exact, near, make)))

    def _asked(self, what: str, piece: Piece) -> Asked:
        near = tuple(np.asarray(array, dtype=float) for array in piece.near)
        return Asked(digest_of(self._scope, what, piece.exact, [array.shape for array in near]), near, piece.make)


def _found_or_made(store: Store, asked: Asked) -> Any:
    is_there, result = store.find(asked.key, asked.near)
    if not is_there:
        result = asked.make()
        store.keep(asked.key, asked.near, result)
    return result


NOTHING_KEPT = Journal()
