"""Selections are indices, whatever form they take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factorgraph.graph.selection import select, selection


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_a_selection_reads_what_the_index_reads(positions):
    array = np.random.default_rng(0).normal(size=(2, 41))
    slices, index = selection(positions)
    expected = array[:, positions[:1] if len(set(positions)) == 1 else positions]
    np.testing.assert_array_equal(select(array, slices, index), expected)
    assert bool(slices) == (index is None)


@pytest.mark.parametrize("positions", [np.arange(3, 900, 3), np.r_[0, np.arange(5, 500, 2)], np.full(100, 7)])
def test_regular_positions_need_no_index(positions):
    slices, index = selection(positions)
    assert index is None
    assert len(slices) <= 2
