"""A plate that the user declares: one model and one class of analysis for datasets that come as arrays."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.errors import GraphError, UnknownArgument, name_hint
from factorgraph.graph.columns import Bucket, attributes_of, buckets_of, checked_columns
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.graph.on_disk import OnDisk
from factorgraph.model.collection import Collection
from factorgraph.model.covariate import Covariate, covariates_in
from factorgraph.model.model import Model
from factorgraph.model.structure import structure_of
from factorgraph.model.substitution import substituted
from factorgraph.model.tree import paths_of
from factorgraph.model.variable import Variable

_MOST_BYTES = 2**28  # of a column of an opened file that is read at once


class Plate:
    """Thousands of like datasets: arrays with a leading axis over datasets, one model, one class of analysis.

    Each dataset has unknowns of its own for every variable of ``model``, except those that are ``shared``, or that the
    graph uses outside of plates. Draw them from a parent with ``parent.over(model.centre)``, and look up what they have
    become with ``result.mean_field.mean[model.centre]``, an array over datasets.

    Plates whose models have a variable in common describe the same objects (an image and a spectrum of each galaxy):
    they are joined by the names of their datasets.

    Parameters
    ----------
    model
        A `Model`, a `Collection`, or a class (made a `Model`): the model of one dataset.
    analysis
        A class, or another callable, that makes a dataset's analysis from the row of each column as keywords.
    data
        Columns by the names of these keywords: arrays (N, ...), or sequences of N arrays of unequal lengths. What a
        file gives (h5py, zarr, dask, ``numpy.memmap``) is read block by block, and need not fit in memory.
    names
        The datasets' names, (N,); numbers if not given.
    covariates
        More columns (N,), for relations: ``a + b * plate["log_mass"]``. Those of ``data`` that are one number a dataset
        can be used likewise.
    shared
        Variables of ``model`` that are one unknown for all datasets, such as a calibration.
    mask
        The keyword that takes the mask of datasets of unequal length, or with gaps (nan): an array (length,), True
        where there are data. Elsewhere stands the dataset's own nearest value.
    optimiser
        As of `AnalysisFactor`.
    name
        Of the plate, in messages and pictures.

    Raises
    ------
    GraphError
        Columns that differ in their number of datasets, two datasets of one name, datasets that are not alike.
    UnknownArgument
        The analysis lacks an argument, or has no such one.

    Examples
    --------
    >>> survey = fg.Plate(model, Analysis, {"y": y, "noise": noise}, names=catalog["id"])
    >>> graph = fg.FactorGraphModel(survey, parent.over(model.centre))
    """

    def __init__(
        self,
        model: Any,
        analysis: Callable[..., Any],
        data: Mapping[str, Any],
        *,
        names: Iterable[Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
        shared: Sequence[Variable] = (),
        mask: str | None = None,
        optimiser: Any = None,
        name: str = "dataset",
    ) -> None:
        where = f"Plate {name!r}"
        if isinstance(model, type):
            model = Model(model)
        if not isinstance(model, (Model, Collection)):
            raise GraphError(f"{where}: model = {model!r}; a Model, a Collection or a class is needed.")
        if not callable(analysis):
            raise GraphError(
                f"{where}: analysis = {analysis!r}; a class is needed, which makes the analysis of one dataset from "
                "its row of the columns."
            )
        self.model, self.analysis, self.optimiser, self.name = model, analysis, optimiser, name
        self.shared = tuple(shared)
        for variable in self.shared:
            if variable not in self.variables:
                raise GraphError(f"{where}: shared has {variable!r}, which is no variable of its model: {model!r}.")
        self.size, columns = checked_columns(data, where)
        self.has_names = names is not None
        self.names = _checked_names(names, self.size, name)
        self._covariates = {key: v for key, v in columns.items() if isinstance(v, np.ndarray)}
        if covariates:
            self._covariates |= {key: np.asarray(value) for key, value in covariates.items()}
        self.parts = tuple(Part(self, bucket) for bucket in buckets_of(columns, self.size, mask, where))
        _check_arguments(analysis, set(self.parts[0].bucket.columns), where)

    @classmethod
    def from_dataset(cls, dataset: Any, *, dim: str, model: Any, analysis: Callable[..., Any], **options: Any) -> Plate:
        """A plate from an ``xarray.Dataset`` whose dimension ``dim`` runs over datasets.

        Variables named as arguments of ``analysis`` are its data, others along ``dim`` alone are covariates;
        variables without ``dim`` are arguments that all datasets have in common. The coordinate ``dim`` names the
        datasets. Variables of more than 256 MB whose first dimension is ``dim`` are read block by block, so that an
        opened file (netCDF, zarr) need not fit in memory.

        Parameters
        ----------
        **options
            Of `Plate`.
        """
        if dim not in dataset.dims:
            raise GraphError(
                f"Plate.from_dataset: there is no dimension {dim!r}.{name_hint(str(dim), map(str, dataset.dims))}"
            )
        taken = _arguments_of(analysis)
        data, covariates, common = {}, {}, {}
        for key, variable in dataset.variables.items():
            if key == dim:
                continue
            is_argument = taken is None or key in taken
            if dim in variable.dims:
                values = _values_of(variable, dim)
                if is_argument:
                    data[str(key)] = values
                elif values.ndim == 1 and values.dtype.kind in "iuf":
                    covariates[str(key)] = values
            elif taken is not None and is_argument:
                common[str(key)] = variable.values
        if dim in dataset.coords:
            options.setdefault("names", dataset.coords[dim].values)
        options["covariates"] = covariates | dict(options.get("covariates") or {})
        options.setdefault("name", dim)
        made = functools.partial(analysis, **common) if common else analysis
        return cls(model, made, data, **options)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        model: Any,
        analysis: Callable[..., Any],
        by: str | None = None,
        per_dataset: Sequence[str] = (),
        names: str | None = None,
        **options: Any,
    ) -> Plate:
        """A plate from a table: a mapping of columns, a structured array, a pandas DataFrame, an astropy Table.

        Parameters
        ----------
        by
            The column that says which dataset a line belongs to; lines of one dataset need not follow each other. The
            arguments of the analysis are then arrays, one value a line. Without it, every line is a dataset.
        per_dataset
            Arguments of the analysis that are one value a dataset, the same in all of its lines.
        names
            The column that names the datasets; that of ``by`` where there is one.
        **options
            Of `Plate`.
        """
        columns = _columns_of(table)
        for column in (by, names, *per_dataset):
            if column is not None and column not in columns:
                raise UnknownArgument(f"Plate.from_table: there is no column {column!r}.{name_hint(column, columns)}")
        taken = _arguments_of(analysis)
        if by is not None:
            labels, columns = _grouped(columns, by, per_dataset, taken)
            options["names"] = labels
        elif names is not None:
            options["names"] = columns.pop(names)
        data = {key: c for key, c in columns.items() if taken is None or key in taken}
        rest = {
            key: c
            for key, c in columns.items()
            if key not in data and isinstance(c, np.ndarray) and c.ndim == 1 and c.dtype.kind in "iuf"
        }
        options["covariates"] = rest | dict(options.get("covariates") or {})
        return cls(model, analysis, data, **options)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        *,
        model: Any,
        analysis: Callable[..., Any],
        names: str | None = None,
        **options: Any,
    ) -> Plate:
        """A plate from datasets one after the other, such as a loop that opens a file each.

        Parameters
        ----------
        rows
            Of each dataset its columns by name: arrays, numbers. Numbers that the analysis does not take are
            covariates.
        names
            The column that names the datasets.
        **options
            Of `Plate`.
        """
        columns: dict[str, list[Any]] = {}
        for number, row in enumerate(rows):
            if number and row.keys() != columns.keys():
                raise GraphError(
                    f"Plate.from_rows: dataset {number} has the columns {', '.join(sorted(row))}, the first has "
                    f"{', '.join(sorted(columns))}."
                )
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
        if names is not None:
            if names not in columns:
                raise UnknownArgument(f"Plate.from_rows: there is no column {names!r}.{name_hint(names, columns)}")
            options["names"] = columns.pop(names)
        taken = _arguments_of(analysis)
        data = {key: column for key, column in columns.items() if taken is None or key in taken}
        rest = {
            key: np.asarray(column) for key, column in columns.items() if key not in data and np.ndim(column[0]) == 0
        }
        options["covariates"] = rest | dict(options.get("covariates") or {})
        return cls(model, analysis, data, **options)

    def __getitem__(self, name: str) -> Covariate:
        """The column ``name`` (N,) as a number of each dataset, for relations."""
        if name not in self._covariates:
            raise UnknownArgument(f"Plate {self.name!r} has no column {name!r}.{name_hint(name, self._covariates)}")
        return Covariate(name, self._covariates[name], self.names)

    def take(self, rows: Sequence[int]) -> Plate:
        """The plate of some of its datasets, ``rows`` in ascending order, which keep their names."""
        chosen = np.asarray(rows, dtype=int)
        twin = copy.copy(self)
        twin.size, twin.has_names = len(chosen), True
        twin.names = tuple(self.names[row] for row in chosen)
        twin._covariates = {key: column[chosen] for key, column in self._covariates.items()}
        parts = []
        for part in self.parts:
            inside = np.isin(part.rows, chosen)
            if np.any(inside):
                columns = {key: column[inside] for key, column in part.bucket.columns.items()}
                parts.append(Part(twin, Bucket(np.searchsorted(chosen, part.rows[inside]), columns)))
        twin.parts = tuple(parts)
        return twin

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        columns = ", ".join(self.parts[0].bucket.columns)
        return f"Plate({self.size:,} x {_name_of(self.analysis)}, {self.model._label}; {columns})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Of the model of one dataset, in depth-first order."""
        return structure_of(self.model)[1]


class Part:
    """The datasets of a plate that have one shape."""

    def __init__(self, plate: Plate, bucket: Bucket) -> None:
        self.plate, self.bucket = plate, bucket

    @property
    def rows(self) -> np.ndarray:
        """(n,) which datasets of the plate."""
        return self.bucket.rows

    def analysis_of(self, place: int) -> Any:
        return self.plate.analysis(**self.bucket.row(place))

    @cached_property
    def columns(self) -> tuple[Any, ...]:
        """The constants of all analyses, (n, ...) each, in the order of `structure_of` the attributes of one."""
        return attributes_of(self.bucket, self.plate.analysis, [self.plate.names[row] for row in self.rows])


class Template:
    """What all rows of a plate have in common: its model as it is when a graph is made."""

    def __init__(self, plate: Plate) -> None:
        self.plate = plate
        self.model = plate.model.copy()
        structure, self.variables, constants = structure_of(self.model)
        if covariates_in(constants):
            raise GraphError(
                f"{plate!r}: its model has {covariates_in(constants)[0]!r}. Covariates stand in the relations of "
                "parents; a number that the likelihood needs is an argument of its analysis."
            )
        self.paths = paths_of(self.model)


class PlateRow(AnalysisFactor):
    """One dataset of a plate; its model and its analysis are made when they are asked for.

    Parameters
    ----------
    part, place
        Where its data are.
    variables
        What stands for each of the template's variables, in order.
    """

    def __init__(
        self,
        template: Template,
        part: Part,
        place: int,
        variables: tuple[Variable, ...],
        name: str | None,
        dataset: str | None,
    ) -> None:
        self.template, self.part, self.place, self._variables = template, part, place, variables
        self.optimiser, self.name, self.dataset = template.plate.optimiser, name, dataset

    @property
    def row(self) -> int:
        """Its number in the plate."""
        return int(self.part.rows[self.place])

    @property
    def variables(self) -> tuple[Variable, ...]:
        return self._variables

    @property
    def own(self) -> tuple[Variable, ...]:
        """The unknowns that no other row has."""
        return tuple(v for v, t in zip(self._variables, self.template.variables, strict=True) if v is not t)

    @property
    def paths(self) -> dict[Variable, tuple[str, ...]]:
        mine = dict(zip(self.template.variables, self._variables, strict=True))
        return {mine[variable]: path for variable, path in self.template.paths.items()}

    @cached_property
    def prior_model(self) -> Any:  # type: ignore[override]
        return substituted(self.template.model, dict(zip(self.template.variables, self._variables, strict=True)))

    @cached_property
    def analysis(self) -> Any:  # type: ignore[override]
        return self.part.analysis_of(self.place)


def _values_of(variable: Any, dim: str) -> Any:
    """A variable of a dataset of xarray as a column: in memory, or not yet where it is large."""
    is_large = variable.ndim > 1 and variable.nbytes > _MOST_BYTES and variable.dims[0] == dim
    return OnDisk(variable) if is_large else variable.transpose(dim, ...).values


def _name_of(analysis: Callable[..., Any]) -> str:
    made = analysis.func if isinstance(analysis, functools.partial) else analysis
    return getattr(made, "__name__", type(made).__name__)


def _arguments_of(analysis: Callable[..., Any]) -> set[str] | None:
    """Names of the keywords it takes; None where it takes any."""
    parameters = inspect.signature(analysis).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL}


def _check_arguments(analysis: Callable[..., Any], given: set[str], where: str) -> None:
    taken = _arguments_of(analysis)
    for name in sorted(given):
        if taken is not None and name not in taken:
            raise UnknownArgument(
                f"{where}: {_name_of(analysis)} takes no argument {name!r}, a column of data."
                f"{name_hint(name, taken)} Columns for relations alone are covariates=."
            )
    try:
        inspect.signature(analysis).bind(**dict.fromkeys(given))
    except TypeError as error:
        raise UnknownArgument(f"{where}: {_name_of(analysis)}: {error}; the columns are {sorted(given)}.") from None


def _checked_names(names: Iterable[Any] | None, size: int, name: str) -> tuple[str, ...]:
    if names is None:
        return tuple(f"{name}_{number}" for number in range(size))
    found = tuple(map(str, names))
    if len(found) != size:
        raise GraphError(f"Plate {name!r}: {len(found)} names for {size} datasets.")
    if len(set(found)) < size:
        counts: dict[str, int] = {}
        for each in found:
            counts[each] = counts.get(each, 0) + 1
        twice = [each for each, count in counts.items() if count > 1]
        raise GraphError(
            f"Plate {name!r}: {len(twice)} names are given more than once, such as {twice[0]!r}; every dataset has "
            "a name of its own."
        )
    return found


def _columns_of(table: Any) -> dict[str, np.ndarray]:
    fields = getattr(getattr(table, "dtype", None), "names", None)
    if fields:
        keys = list(fields)
    else:
        keys = list(
            next((found for n in ("colnames", "columns") if (found := getattr(table, n, None)) is not None), table)
        )
    return {str(key): np.asarray(table[key]) for key in keys}


def _grouped(
    columns: dict[str, np.ndarray], by: str, per_dataset: Sequence[str], taken: set[str] | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels of the datasets in order of first appearance; columns (N,), or lists of N arrays.

    Raises
    ------
    GraphError
        A column of ``per_dataset`` that differs within a dataset.
    """
    labels, first, group = np.unique(columns[by], return_index=True, return_inverse=True)
    rank = np.empty(len(labels), int)
    rank[np.argsort(first, kind="stable")] = np.arange(len(labels))
    group = rank[group.reshape(-1)]
    labels = labels[np.argsort(rank)]
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, len(labels)))
    found: dict[str, Any] = {}
    for name, column in columns.items():
        if name == by:
            continue
        rows = np.split(column[order], edges)
        differs = [not bool(np.all(row == row[0])) for row in rows]
        if name in per_dataset and any(differs):
            raise GraphError(
                f"Plate.from_table: per_dataset has {name!r}, but it differs among the lines of "
                f"{labels[int(np.argmax(differs))]!r}."
            )
        is_argument = taken is None or name in taken
        is_one = name in per_dataset or not (is_argument or any(differs))
        found[name] = np.array([row[0] for row in rows]) if is_one else rows
    return labels, found
