"""Datasets go through the kernels of `inner` in blocks of a few sizes, so that graphs of any N share them.

The last block of a plate is padded with repeats; a kernel is told how many of its datasets count, and leaves the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = Any

LANES = 8  # datasets of a block that are worked on side by side
_SIZES = (256, 64, 16, 8)
_MOST_BYTES = 2**26


class Block(NamedTuple):
    """``rows`` (B,) of a plate, of which the first ``num`` are not repeats."""

    rows: np.ndarray
    num: np.int64


def block_size(num_bytes: int, num_datasets: int) -> int:
    """How many datasets of ``num_bytes`` each make a block: few sizes, whatever the number of datasets, and no more
    data than 64 MB where possible. A handful of datasets is not padded to more."""
    if num_datasets <= LANES:
        return LANES
    return next((size for size in _SIZES if size * num_bytes <= _MOST_BYTES), _SIZES[-1])


def blocks_of(rows: np.ndarray, size: int) -> list[Block]:
    """``rows`` (n,) in blocks of ``size``."""
    starts = range(0, len(rows), size)
    return [
        Block(rows[np.minimum(np.arange(start, start + size), len(rows) - 1)], np.int64(min(size, len(rows) - start)))
        for start in starts
    ]


def gathered(parts: Sequence[Any], blocks: Sequence[Block]) -> Any:
    """Trees of arrays (B, ...), one a block, in one tree (n, ...) on the host."""
    counts = [int(block.num) for block in blocks]
    return jax.tree.map(
        lambda *arrays: np.concatenate([np.asarray(a)[:count] for a, count in zip(arrays, counts, strict=True)]), *parts
    )


def over_datasets(function: Callable[[Any], Any], arrays: Any, count: Array, lanes: int = LANES) -> Any:
    """``function`` of the first ``count`` entries of a tree of ``arrays`` (B, ...), ``lanes`` at a time; traced.

    Where entries were left out the result (B, ...) is zero. The last lanes work on repeats: where one dataset keeps a
    processor busy, one lane wastes nothing.
    """
    size = jax.tree.leaves(arrays)[0].shape[0]
    batches = jax.tree.map(lambda a: a.reshape(size // lanes, lanes, *a.shape[1:]), arrays)
    batched = jax.jit(jax.vmap(function), inline=True)  # traced once, for its shapes and in the loop
    shapes = jax.eval_shape(batched, jax.tree.map(lambda a: a[0], batches))
    empty = jax.tree.map(lambda s: jnp.zeros((size // lanes, *s.shape), s.dtype), shapes)

    def one_batch(index: Array, found: Any) -> Any:
        part = batched(jax.tree.map(lambda a: a[index], batches))
        return jax.tree.map(lambda whole, value: whole.at[index].set(value), found, part)

    found = jax.lax.fori_loop(0, -(-count // lanes), one_batch, empty)
    return jax.tree.map(lambda a: a.reshape(size, *a.shape[2:]), found)
