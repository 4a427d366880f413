"""What is made once is found afterwards, also where many pieces are made at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from factorgraph.checkpoint.journal import NOTHING_KEPT, Journal, Piece
from factorgraph.checkpoint.store import Store


class Counted:
    """Makes squares, and counts how many."""

    def __init__(self):
        self.made = []

    def square(self, x):
        self.made.append(x)
        return np.float64(x) ** 2

    def pieces(self, numbers, near=0.0):
        return [Piece((x,), (np.array([near, 1.0]),), lambda x=x: self.square(x)) for x in numbers]


def one_by_one(journal, pieces):
    return journal.each("squares", pieces)


def at_once(journal, pieces):
    with ThreadPoolExecutor(3) as executor:
        return journal.each("squares", pieces, run=lambda makes: executor.map(lambda make: make(), makes))


@pytest.mark.parametrize("each", [one_by_one, at_once])
def test_what_is_there_is_not_made_again(each, tmp_path):
    counted = Counted()
    assert each(NOTHING_KEPT, counted.pieces([1, 2])) == [1.0, 4.0]
    first = Store(tmp_path, ())
    assert each(Journal(first), counted.pieces([2, 1])) == [4.0, 1.0]
    first.close()
    again = Journal(Store(tmp_path, ()))
    assert each(again, counted.pieces([1, 2, 3])) == [1.0, 4.0, 9.0]
    assert sorted(counted.made) == [1, 1, 2, 2, 3]


def test_parts_of_a_run_and_what_is_asked_are_apart(tmp_path):
    journal, counted = Journal(Store(tmp_path, ())), Counted()
    (piece,) = counted.pieces([3])
    for one in (journal.of(0), journal.of(1), journal.of(0, 1)):
        one.each("a", [piece])
        one.each("b", [piece])
    assert len(counted.made) == 6


@pytest.mark.parametrize(("near", "is_found"), [(0.5, True), (0.5 + 1e-12, True), (0.5 + 1e-6, False), (np.nan, False)])
def test_numbers_that_are_rounded_differently_are_the_same(near, is_found, tmp_path):
    store, counted = Store(tmp_path, ()), Counted()
    Journal(store).each("a", counted.pieces([3], near=0.5))
    store.flush()
    Journal(store).each("a", counted.pieces([3], near=near))
    assert len(counted.made) == (1 if is_found else 2)


def test_a_piece_can_be_changed_after_it_was_kept(tmp_path):
    """What is written is what it was when it was made."""
    store = Store(tmp_path, ())
    (made,) = Journal(store).each("a", [Piece((), (), lambda: np.zeros(3))])
    made[:] = 1.0
    store.close()
    (found,) = Journal(Store(tmp_path, ())).each("a", [Piece((), (), lambda: None)])
    np.testing.assert_array_equal(found, 0.0)
