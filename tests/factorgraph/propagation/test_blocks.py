"""Blocks cover every dataset once, whatever N is, and what is padding is not worked on."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from factorgraph.propagation.blocks import LANES, block_size, blocks_of, gathered, over_datasets


@pytest.mark.parametrize(("num_bytes", "size"), [(0, 256), (800, 256), (10**6, 64), (10**8, 8)])
def test_block_size(num_bytes, size):
    assert block_size(num_bytes, num_datasets=100) == size
    assert block_size(num_bytes, num_datasets=LANES) == LANES
    assert size % LANES == 0


@pytest.mark.parametrize("num", [1, 7, 16, 17, 40])
def test_blocks_cover_every_row_once(num):
    rows = 3 * np.arange(num)
    blocks = blocks_of(rows, 16)
    assert {block.rows.shape for block in blocks} == {(16,)}
    np.testing.assert_array_equal(gathered([block.rows for block in blocks], blocks), rows)


@pytest.mark.parametrize("num", [0, 1, 8, 9, 24])
def test_only_what_counts_is_worked_on(num):
    """Entries beyond the last batch stay zero, and one compilation serves every number."""
    values = np.arange(1.0, 25.0)
    found = np.asarray(_doubled(values, np.int64(num)))
    worked = -(-num // LANES) * LANES
    np.testing.assert_array_equal(found[:worked], 2.0 * values[:worked])
    np.testing.assert_array_equal(found[worked:], 0.0)
    assert _doubled._cache_size() == 1


@jax.jit
def _doubled(values, num):
    return over_datasets(lambda value: 2.0 * value, values, num)
