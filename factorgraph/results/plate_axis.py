"""Which datasets stand side by side on one named axis, and under which names their local variables are tabled.

Plates that differ only in the shapes of their data (or in anything else that needs another kernel) have the same local
variables: they share an axis, with the datasets in the user's order. The first axis is called ``dataset``, others
``dataset_1``, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from factorgraph.model.variable import Variable
from factorgraph.propagation.solution import Solution


@dataclass(frozen=True, eq=False, slots=True)
class PlateAxis:
    """A named axis of datasets.

    Attributes
    ----------
    labels
        The datasets' names.
    variables
        Names of the local variables.
    plates, rows, columns
        The plates of the solution on this axis; for each, where its datasets stand, and which of its local variables
        comes at each place of ``variables``.
    """

    dim: str
    labels: tuple[str, ...]
    variables: tuple[str, ...]
    plates: tuple[int, ...]
    rows: tuple[np.ndarray, ...]
    columns: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        return len(self.labels)

    def gather(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """(N, ...) of the axis from arrays (N of the plate, ...), one for each of ``plates``."""
        whole = np.empty((self.size, *parts[0].shape[1:]), dtype=parts[0].dtype)
        for rows, part in zip(self.rows, parts, strict=True):
            whole[rows] = part
        return whole

    def gather_local(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """(N, ..., local) of the axis from arrays (N of the plate, ..., local), in the order of ``variables``."""
        return self.gather([part[..., columns] for part, columns in zip(parts, self.columns, strict=True)])


def plate_axes(solution: Solution, names: Mapping[Variable, str]) -> tuple[PlateAxis, ...]:
    """The axes of all plates that hold data."""
    order = {id(term): place for place, term in enumerate(solution.terms.terms)}
    groups: dict[frozenset[str], list[int]] = {}
    for index, contracted in enumerate(solution.plates):
        if contracted.plate.signature.analyses:
            groups.setdefault(frozenset(_local_names(solution, index, names)), []).append(index)
    taken: set[str] = set(names[s.variable] for s in solution.shared) | {"chain", "draw"}
    return tuple(_axis(solution, number, plates, order, names, taken) for number, plates in enumerate(groups.values()))


def _local_names(solution: Solution, plate: int, names: Mapping[Variable, str]) -> list[str]:
    found: set[str] = set()
    return [unused_name(names[variable], found) for variable in solution.plates[plate].plate.local[0]]


def _axis(
    solution: Solution,
    number: int,
    plates: list[int],
    order: Mapping[int, int],
    names: Mapping[Variable, str],
    taken: set[str],
) -> PlateAxis:
    terms = [(order[id(term)], term.name) for k in plates for term in solution.plates[k].plate.terms]
    places = np.argsort(np.argsort([place for place, _ in terms]))
    ends = np.cumsum([solution.plates[k].plate.size for k in plates])
    local = [_local_names(solution, k, names) for k in plates]
    columns = tuple(np.array([own.index(name) for name in local[0]], dtype=int) for own in local)
    dim = unused_name(f"dataset_{number}" if number else "dataset", taken)
    variables = tuple(unused_name(name, taken) for name in local[0])
    rows = tuple(np.split(places, ends[:-1]))
    return PlateAxis(dim, tuple(name for _, name in sorted(terms)), variables, tuple(plates), rows, columns)


def unused_name(name: str, taken: set[str]) -> str:
    """``name``, or with a number where it is taken already; added to ``taken``. A slash would be a path in a file."""
    name = name.replace("/", "_")
    number, candidate = 0, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
