"""How rows of a declared plate are described: like the first one, with other unknowns and other rows of the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.on_disk import OnDisk
from factorgraph.graph.survey import PlateRow
from factorgraph.graph.terms import Draw, Term
from factorgraph.model.covariate import Covariate
from factorgraph.model.structure import Constant, structure_of
from factorgraph.model.variable import Variable


def likeness_of(term: Term, shared: Sequence[Any], position: Mapping[Variable, int]) -> Any:
    """Equal for rows of declared plates that differ in nothing but numbers; None for other terms."""
    if not term.factors or not all(isinstance(factor, PlateRow) for factor in term.factors):
        return None
    templates = [_template(draw) for draw in term.draws]
    if any(isinstance(parameter, Covariate) for template in templates for parameter in template):
        return None  # their coordinates may differ too
    return (
        tuple(id(factor.part) for factor in term.factors),  # type: ignore[attr-defined]
        tuple(map(id, templates)),
        tuple(shared[position[v]].role if v in position else None for v in _involved(term)),
    )


class Recipe:
    """What rows have in common, from the description of the first.

    Parameters
    ----------
    term, key, row
        The first row, the key of its plate and its description; see `plates_of`.
    shared
        The shared variables.
    """

    def __init__(self, term: Term, key: Any, row: tuple, shared: Sequence[Any]) -> None:
        _, touched, local, self._first, self._numbers = row
        self._term, self.key = term, key
        place = {v: k for k, v in reversed(list(enumerate(_involved(term))))}
        self._touched = [place[shared[index].variable] for index in touched]
        self._local = [place[variable] for variable in local]

    def row_of(self, term: Term, position: Mapping[Variable, int]) -> tuple[Any, tuple]:
        """Key and description of another row; its constants are in `constants`."""
        involved = _involved(term)
        touched = tuple(position[involved[k]] for k in self._touched)
        return self.key, (term, touched, tuple(involved[k] for k in self._local), None, self._numbers)

    def constants(self, rows: Sequence[tuple]) -> tuple[Any, ...]:
        """The constants of all rows, with a leading axis: models', data, those of assertions, parents'."""
        factors: list[Any] = list(self._term.factors)
        models, _, _ = structure_of(tuple(factor.prior_model for factor in factors))
        num = sum(isinstance(instruction, Constant) for instruction in models.instructions[: models.root + 1])
        found: list[Any] = [_repeated(constant, len(rows)) for constant in self._first[:num]]
        for k, factor in enumerate(factors):
            places = np.array([row[0].factors[k].place for row in rows])
            is_whole = np.array_equal(places, np.arange(len(factor.part.rows)))
            found += [
                column if is_whole else column.take(places) if isinstance(column, OnDisk) else column[places]
                for column in factor.part.columns
            ]
        parents = structure_of(tuple(_template(draw) for draw in self._term.draws))[2]
        found += [_repeated(c, len(rows)) for c in self._first[len(found) : len(self._first) - len(parents)]]
        for constant in parents:
            is_known = isinstance(constant, Covariate)
            found.append(self._of_covariate(constant, rows) if is_known else _repeated(constant, len(rows)))
        for column, first in zip(found, self._first, strict=True):
            if column.shape != (len(rows), *first.shape):
                raise GraphError(f"{factors[0].template.plate!r}: its columns do not fit its analyses.")
        return tuple(
            column if isinstance(column, OnDisk) else np.asarray(column, dtype=first.dtype)
            for column, first in zip(found, self._first, strict=True)
        )

    def _of_covariate(self, covariate: Covariate, rows: Sequence[tuple]) -> np.ndarray:
        known = dict(zip(covariate.names, covariate.values, strict=True))
        plates = [factor.template.plate for factor in self._term.factors]  # type: ignore[attr-defined]
        k = next(k for k, plate in enumerate(plates) if plate.names[self._term.factors[k].row] in known)  # type: ignore[attr-defined]
        return np.array([known[plates[k].names[row[0].factors[k].row]] for row in rows])


def _template(draw: Draw) -> tuple[Any, ...]:
    return draw.parameters if draw.template is None else draw.template


def _involved(term: Term) -> tuple[Variable, ...]:
    """The unknowns of a term, in an order that its like have too."""
    return (
        *(variable for factor in term.factors for variable in factor.variables),
        *(variable for draw in term.draws for variable in (draw.variable, *draw.reads)),
    )


def _repeated(value: Any, num: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(value), (num, *np.shape(value)))
