"""Which entries of a vector: a few strided slices where they are regular, otherwise an index array.

A slice is free and so is its gradient; the gradient of an index is a scatter, which on a CPU costs more than a
likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from messages.array_namespace import namespace

Array = Any
Slices = tuple[tuple[int, int, int], ...]  # (start, stop, step); none: an index array is used instead

_MOST_SLICES = 4


def selection(positions: Sequence[int] | np.ndarray) -> tuple[Slices, np.ndarray | None]:
    """Slices and no index, or no slices and an index, for ``positions`` (n,), non-negative.

    Where all positions are the same, one entry is selected in place of n.
    """
    positions = np.asarray(positions, dtype=int)
    if len(positions) > 1 and np.all(positions == positions[0]):
        positions = positions[:1]
    slices: list[tuple[int, int, int]] = []
    while len(positions) and len(slices) < _MOST_SLICES:
        step = int(positions[1] - positions[0]) if len(positions) > 1 else 1
        if step <= 0:
            break
        run = int(np.argmax(np.append(np.diff(positions) != step, True))) + 1
        slices.append((int(positions[0]), int(positions[run - 1]) + 1, step))
        positions = positions[run:]
    return (tuple(slices), None) if not len(positions) else ((), _whole(slices, positions))


def _whole(slices: list[tuple[int, int, int]], rest: np.ndarray) -> np.ndarray:
    return np.concatenate([*(np.arange(*s) for s in slices), rest])


def select(array: Array, slices: Slices, index: Array | None) -> Array:
    """The selected entries of the last axis of ``array``."""
    if not slices:
        return array[..., index]
    parts = [array[..., start:stop:step] for start, stop, step in slices]
    return parts[0] if len(parts) == 1 else namespace(array).concatenate(parts, axis=-1)
