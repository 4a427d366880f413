"""Like datasets, one array a quantity: what a declared plate reads its data from, and what its analyses hold.

A column has a leading dataset axis. Datasets of unequal length are padded, each with its own last value (one without
data with those of another), and a mask says which values are data; where lengths differ so much that padding would cost
more than it saves, datasets are sorted into buckets of several lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.analysis import data_of
from factorgraph.errors import GraphError
from factorgraph.graph.on_disk import OnDisk, is_on_disk, parts_of
from factorgraph.model.expression import is_array
from factorgraph.model.structure import structure_of

_TOLERATED_PADDING = 3.0  # of what is not padded; beyond, one bucket more
_BUCKET_RATIO = 4  # of the lengths of neighboring buckets
_Ragged = list[np.ndarray]
_Column = np.ndarray | OnDisk


@dataclass(frozen=True, eq=False, slots=True)
class Bucket:
    """Datasets of one shape: their ``rows`` (n,) in the plate, and columns (n, ...) by name."""

    rows: np.ndarray
    columns: Mapping[str, _Column]

    def row(self, place: int) -> dict[str, Any]:
        """Arguments of one dataset's analysis: a float, text, or an array (0-d where it is a whole number)."""
        return {name: _entry(column, place) for name, column in self.columns.items()}

    @property
    def is_on_disk(self) -> bool:
        return any(isinstance(column, OnDisk) for column in self.columns.values())

    def part(self, places: slice) -> Bucket:
        """Some of its datasets, in memory."""
        return Bucket(self.rows[places], {name: column[places] for name, column in self.columns.items()})


def _entry(column: Any, place: int) -> Any:
    if column.ndim == 1 and column.dtype.kind in "fUSO":
        return column[place].item() if column.dtype.kind in "fUS" else column[place]
    return column[place, ...]


def checked_columns(data: Mapping[str, Any], where: str) -> tuple[int, dict[str, _Column | _Ragged]]:
    """The number of datasets, and arrays (N, ...), or lists of N arrays of unequal lengths.

    Raises
    ------
    GraphError
        A column without a dataset axis, or columns of different numbers of datasets.
    """
    columns = {str(name): _column(name, values, where) for name, values in data.items()}
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) != 1:
        raise GraphError(
            f"{where}: the columns have different numbers of datasets: "
            f"{', '.join(f'{name} {size}' for name, size in sizes.items()) or 'there is no column'}. Each has a "
            "leading axis over datasets; what all datasets have in common goes to the analysis with "
            "functools.partial(Analysis, name=value)."
        )
    size = next(iter(sizes.values()))
    if size == 0:
        raise GraphError(f"{where}: there is no dataset.")
    return size, columns


def _column(name: str, values: Any, where: str) -> _Column | _Ragged:
    if isinstance(values, (list, tuple)) or getattr(getattr(values, "dtype", None), "kind", "") == "O":
        rows = [np.asarray(value) for value in values]
        if any(row.ndim for row in rows) and len({row.shape for row in rows}) > 1:
            if len({(row.ndim, row.shape[1:]) for row in rows}) > 1:
                shapes = sorted({row.shape for row in rows})[:4]
                raise GraphError(
                    f"{where}: {name!r} has datasets of shapes {', '.join(map(str, shapes))}; only the first axis may "
                    "differ in length."
                )
            return rows
    if is_on_disk(values):
        return values if isinstance(values, OnDisk) else OnDisk(values)
    array = np.asarray(values)
    if array.ndim == 0:
        raise GraphError(
            f"{where}: {name!r} is {values!r}, without an axis over datasets. What all datasets have in common goes "
            "to the analysis with functools.partial(Analysis, name=value)."
        )
    return array


def buckets_of(columns: Mapping[str, _Column | _Ragged], size: int, mask: str | None, where: str) -> list[Bucket]:
    """The datasets by padded shape, with the column ``mask`` (n, length), True where there are data.

    Raises
    ------
    GraphError
        Datasets of unequal length and no ``mask``, or quantities of one dataset that differ in length.
    """
    ragged = {name: column for name, column in columns.items() if isinstance(column, list)}
    if not ragged:
        if mask is not None and mask not in columns:
            return [Bucket(np.arange(size), _without_gaps(columns, mask, where))]
        return [Bucket(np.arange(size), dict(columns))]  # type: ignore[arg-type]
    if mask is None:
        raise GraphError(
            f"{where}: the datasets differ in length ({', '.join(ragged)}), so they have to be padded. Say which "
            'argument of the analysis takes the mask, mask="mask": an array that is True where there are data. The '
            "likelihood sums over these alone, such as jnp.sum(jnp.where(mask, terms, 0.0))."
        )
    lengths = np.array([[len(row) for row in column] for column in ragged.values()])
    if np.any(lengths != lengths[0]):
        row = int(np.argmax(np.any(lengths != lengths[0], axis=0)))
        raise GraphError(
            f"{where}: dataset {row} has {', '.join(f'{n} {k}' for n, k in zip(ragged, lengths[:, row]))} values; "
            "quantities of unequal length must have one length in a dataset."
        )
    found = []
    for rows, length in _by_length(lengths[0]):
        chosen = {
            name: _padded(column, rows, length) if isinstance(column, list) else column[rows]
            for name, column in columns.items()
        }
        chosen[mask] = np.arange(length) < lengths[0][rows, None]
        found.append(Bucket(rows, chosen))
    return found


def _by_length(lengths: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Rows and padded length of each bucket: as few as keep the padding within bounds."""
    longest = max(int(lengths.max()), 1)
    edges = [longest]
    while True:
        padded = np.array(edges)[::-1][np.searchsorted(edges[::-1], lengths)]
        if padded.sum() <= _TOLERATED_PADDING * max(lengths.sum(), 1) or edges[-1] <= 1:
            break
        edges.append(max(edges[-1] // _BUCKET_RATIO, 1))
    return [(np.flatnonzero(padded == edge), edge) for edge in edges if np.any(padded == edge)]


def _padded(column: _Ragged, rows: np.ndarray, length: int) -> np.ndarray:
    first = column[0]
    values = np.zeros((len(rows), length, *first.shape[1:]), dtype=np.result_type(*{column[row].dtype for row in rows}))
    filling = next((row[-1] for row in column if len(row)), 0)  # of datasets without data
    for place, row in enumerate(rows):
        num = len(column[row])
        values[place, :num] = column[row]
        values[place, num:] = column[row][-1] if num else filling
    return values


def _without_gaps(columns: Mapping[str, Any], mask: str, where: str) -> dict[str, np.ndarray]:
    """Columns (N, length) whose nan were replaced by a neighbor, and the mask of what had none."""
    columns = {name: np.asarray(column) for name, column in columns.items()}
    long = {name: c for name, c in columns.items() if c.ndim == 2 and c.dtype.kind in "fiub"}
    if len({column.shape for column in long.values()}) != 1:
        raise GraphError(
            f"{where}: mask={mask!r} is no column, and cannot be made from gaps (nan): that needs columns of one "
            f"shape (datasets, length), and there are "
            f"{', '.join(f'{n} {c.shape}' for n, c in long.items()) or 'none'}. Pass the mask as a column."
        )
    gaps = np.any([np.isnan(c) for c in long.values() if c.dtype.kind == "f"], axis=0)
    gaps = np.broadcast_to(gaps, next(iter(long.values())).shape)
    place = np.where(gaps, -1, np.arange(gaps.shape[1]))
    before = np.maximum.accumulate(place, axis=1)
    first = np.argmax(~gaps, axis=1)[:, None]
    nearest = np.where(before < 0, first, before)
    is_empty = np.all(gaps, axis=1)
    filled = dict(columns)
    for name, column in long.items():
        filled[name] = np.take_along_axis(column, nearest, axis=1)
        if np.any(is_empty) and not np.all(is_empty):
            filled[name][is_empty] = filled[name][~is_empty][0]
    return {**filled, mask: ~gaps}


# --- what the analyses hold ---


def attributes_of(bucket: Bucket, make: Callable[..., Any], names: Sequence[str]) -> tuple[_Column, ...]:
    """The constants of `structure_of` the attributes of the analyses that ``make`` makes, each with a leading axis.

    Of a bucket on disk a part is in memory at a time; an attribute that is a column stays on disk.

    Raises
    ------
    GraphError
        Analyses whose attributes differ in shape, or in what is no array or float.
    """
    if not bucket.is_on_disk:
        return _attributes_in_memory(bucket, make, names, [])
    first: list[Any] = []
    found: list[list[Any]] = []
    for places in parts_of(len(bucket.rows)):
        part = bucket.part(places)
        whole = {id(part.columns[name]): c for name, c in bucket.columns.items() if isinstance(c, OnDisk)}
        columns = _attributes_in_memory(part, make, names[places], first)
        found.append([whole.get(id(column), column) for column in columns])
    return tuple(_joined(parts, len(bucket.rows)) for parts in zip(*found, strict=True))


def _joined(parts: Sequence[Any], size: int) -> _Column:
    """One column from those of the parts: the whole one on disk, one that all datasets have in common, or a new one."""
    first = parts[0]
    if isinstance(first, OnDisk):
        return first
    if all(part.strides[:1] == (0,) and np.array_equal(part[0], first[0]) for part in parts):
        return np.broadcast_to(first[0], (size, *first.shape[1:]))
    return np.concatenate(parts)


def _attributes_in_memory(
    bucket: Bucket, make: Callable[..., Any], names: Sequence[str], first: list[Any]
) -> tuple[np.ndarray, ...]:
    """``first`` holds the first analysis and its name, once there is one; all others are to be like it."""
    rows = [bucket.row(place) for place in range(len(bucket.rows))]
    analyses = [make(**row) for row in rows]
    if not first:
        first += [analyses[0], names[0]]
    if data_of(first[0]).keys() != data_of(analyses[0]).keys() or (
        analyses[0] is not first[0] and structure_of(data_of(first[0]))[0] != structure_of(data_of(analyses[0]))[0]
    ):
        raise _differing("their attributes", first[1], "one structure", names[0], "another")
    return stacked(analyses, names, bucket, rows)


def stacked(analyses: Sequence[Any], names: Sequence[str], bucket: Bucket, rows: Sequence[dict[str, Any]]) -> tuple:
    """The constants of `structure_of` the attributes of like analyses, each with a leading axis.

    An attribute that is the argument it was made from, in every dataset, is the column itself.

    Raises
    ------
    GraphError
        Analyses whose attributes differ in shape, or in what is no array or float.
    """
    first = data_of(analyses[0])
    structure, _, constants = structure_of(first)
    attributes = [data_of(analysis) for analysis in analyses]
    if len(constants) == sum(_is_constant(value) for value in first.values()):
        return tuple(
            column for name in first if (column := _attribute(name, attributes, names, bucket, rows)) is not None
        )
    found = []
    for row, values in enumerate(attributes):
        other, _, numbers = structure_of(values)
        if other != structure:
            raise _differing("their attributes", names[0], "one structure", names[row], "another")
        found.append(numbers)
    return tuple(np.stack([np.asarray(number) for number in column]) for column in zip(*found, strict=True))


def _is_constant(value: Any) -> bool:
    return isinstance(value, float) or (is_array(value) and not isinstance(value, np.integer))


def _attribute(
    name: str, attributes: Sequence[dict[str, Any]], names: Sequence[str], bucket: Bucket, rows: Sequence[dict]
) -> _Column | None:
    """Column of a constant, None for what all must have in common."""
    first = attributes[0][name]
    for row, each in enumerate(attributes):
        if name not in each:
            raise _differing(f"attribute {name!r}", names[0], repr(first), names[row], "nothing")
    values = [each[name] for each in attributes]
    if not _is_constant(first):
        for row, value in enumerate(values):
            if value is not first and not (type(value) is type(first) and bool(value == first)):
                raise _differing(f"attribute {name!r}", names[0], repr(first), names[row], repr(value))
        return None
    shape = np.shape(first)
    for row, value in enumerate(values):
        if not _is_constant(value) or np.shape(value) != shape:
            raise _differing(f"attribute {name!r}", names[0], f"shape {shape}", names[row], f"shape {np.shape(value)}")
    if len(values) > 1 and all(value is first for value in values):
        return np.broadcast_to(np.asarray(first), (len(values), *shape))
    for argument, column in bucket.columns.items():
        if all(value is row[argument] for value, row in zip(values, rows, strict=True)):
            return column
    return np.stack([np.asarray(value) for value in values])


def _differing(what: str, first: str, its: str, other: str, theirs: str) -> GraphError:
    return GraphError(
        f"The datasets of a plate must be alike, but {what} differs: {first!r} has {its}, {other!r} has {theirs}. "
        "Arrays of one shape and floats may differ in value; give whole numbers as arrays or floats, pad arrays "
        "with a mask, or declare one plate a kind."
    )
