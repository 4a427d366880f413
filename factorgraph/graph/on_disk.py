"""A column of data larger than memory: rows are read when they are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

ROWS_AT_ONCE = 1024
_READERS = ("dask", "h5netcdf", "h5py", "netCDF4", "tensorstore", "zarr")
_MOST_WASTE = 4  # rows read for one that is asked for; beyond, runs of rows are read one by one


class OnDisk:
    """Looks like an array (N, ...) to those who take rows of it.

    Parameters
    ----------
    source
        Has ``shape`` and ``dtype``, and gives a contiguous part for a slice of the first axis: a variable of an opened
        ``xarray.Dataset``, a dask array, a dataset of h5py or zarr, a ``numpy.memmap``.
    index
        (N,) which of its rows; all by default.

    Notes
    -----
    Floats become float64 when they are read, so that a file in single precision takes half the space.
    """

    def __init__(self, source: Any, index: np.ndarray | None = None) -> None:
        self._source, self._index = source, index
        self.shape = (int(source.shape[0]) if index is None else len(index), *map(int, source.shape[1:]))
        self.dtype = np.dtype(float) if np.dtype(source.dtype).kind == "f" else np.dtype(source.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of what would be in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of a slice, of an array of row numbers (sorted or not), or one row."""
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(rows, slice):
            found = self._run(*rows.indices(len(self))[:2])[:: rows.step or 1]
        elif np.ndim(rows) == 0:
            found = self._run(int(rows), int(rows) + 1)[0]
            return found[rest] if rest and rest != (...,) else found
        else:
            found = self._rows(np.asarray(rows) if self._index is None else self._index[rows])
        return found[(slice(None), *rest)] if rest and rest != (...,) else found

    def take(self, rows: np.ndarray) -> OnDisk:
        """Some of the rows, not read yet."""
        return OnDisk(self._source, rows if self._index is None else self._index[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"OnDisk({self.shape}, {type(self._source).__name__})"

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        wanted, place = np.unique(rows, return_inverse=True)
        if not len(wanted):
            return np.zeros((0, *self.shape[1:]), self.dtype)
        first, last = int(wanted[0]), int(wanted[-1])
        if last + 1 - first <= _MOST_WASTE * len(wanted):
            return self._read(first, last + 1)[wanted[place] - first]
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        return np.concatenate([self._read(int(run[0]), int(run[-1]) + 1) for run in runs])[place]

    def _run(self, start: int, stop: int) -> np.ndarray:
        if self._index is not None:
            return self._rows(self._index[start:stop])
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._source[start:stop], dtype=self.dtype)


def is_on_disk(values: Any) -> bool:
    """Whether a file, or something that is yet to be computed, gives these values."""
    module = type(values).__module__.partition(".")[0]
    return isinstance(values, OnDisk | np.memmap) or (module in _READERS and len(getattr(values, "shape", ())) > 1)


def parts_of(size: int) -> Iterator[slice]:
    """Row numbers up to ``size`` in parts that may be in memory together."""
    return (slice(start, min(start + ROWS_AT_ONCE, size)) for start in range(0, size, ROWS_AT_ONCE))
