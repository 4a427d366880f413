"""True moments of every unknown in the user's coordinates, looked up by the variable itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.errors import FactorGraphError
from factorgraph.model.expression import Relation
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from factorgraph.propagation.resampling import weighted_quantile
from messages.multivariate_normal import MultivariateNormal
from messages.normal import Normal

_SHOWN = 8


class UnknownKey(FactorGraphError, KeyError):
    """A variable or dataset that the result does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class LocalMoments:
    """The local variables of one plate.

    Parameters
    ----------
    variables
        Of each dataset, by position.
    mean, standard_deviation
        (N, L).
    draws
        A function that returns equal-weight draws (N, M, L); called once, when they are first needed.
    """

    def __init__(
        self,
        variables: Sequence[tuple[Variable, ...]],
        mean: np.ndarray,
        standard_deviation: np.ndarray,
        draws: Callable[[], np.ndarray],
    ) -> None:
        self.variables = variables
        self.mean = mean
        self.standard_deviation = standard_deviation
        self._make_draws = draws
        self._draws: np.ndarray | None = None

    @property
    def draws(self) -> np.ndarray:
        if self._draws is None:
            self._draws = self._make_draws()
        return self._draws


class MomentMapping(Mapping[Variable, Any]):
    """One moment of every variable, keyed by the variable (or by a relation of shared variables).

    A variable of a plate's model that every dataset has of its own gives an array (N,) over datasets.
    """

    def __init__(
        self, read: Callable[[Any], Any], variables: tuple[Variable, ...], names: Mapping[Variable, str]
    ) -> None:
        self._read = read
        self._variables = variables
        self._names = names

    def __getitem__(self, variable: Any) -> Any:
        return self._read(variable)

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        shown = ", ".join(f"{self._names[v]}: {self[v]:.6g}" for v in self._variables[:_SHOWN])
        return f"{{{shown}{', ...' if len(self) > _SHOWN else ''}}}"


class MeanField:
    """Moments of the unknowns, and normal messages that carry them.

    ``mean[x]``, ``variance[x]`` and ``scale[x]`` (the standard deviation) are true moments in the user's coordinates;
    one that does not exist is nan, beside quantiles that do. ``mean_field[x]`` is a `messages.Normal` with these
    moments, and ``mean_field[x, y]`` a `messages.MultivariateNormal` of shared variables. Of a variable that every
    dataset of a plate has of its own, these are arrays over datasets.

    Parameters
    ----------
    names
        A readable name of every variable.
    variables, mean, covariance, draws
        The D shared variables, (D,), (D, D) and equal-weight draws (M, D).
    local
        The local variables, plate by plate.
    weighted
        Draws (K, D) and weights (K,) that know quantiles, and moments of relations, better than ``draws`` do.
    rows
        For each variable of a declared plate's model, the unknowns of its datasets.
    """

    def __init__(
        self,
        names: Mapping[Variable, str],
        variables: Sequence[Variable],
        mean: np.ndarray,
        covariance: np.ndarray,
        draws: np.ndarray,
        local: Sequence[LocalMoments] = (),
        weighted: tuple[np.ndarray, np.ndarray] | None = None,
        rows: Mapping[Variable, Sequence[Variable]] | None = None,
    ) -> None:
        self._names = names
        self._rows = {} if rows is None else rows
        self._weighted = (draws, np.full(len(draws), 1.0 / max(len(draws), 1))) if weighted is None else weighted
        self._mean, self._covariance, self._draws, self._local = mean, covariance, draws, tuple(local)
        self._shared = {variable: index for index, variable in enumerate(variables)}
        self._places = {
            variable: (plate, row, position)
            for plate, moments in enumerate(self._local)
            for row, row_variables in enumerate(moments.variables)
            for position, variable in enumerate(row_variables)
        }
        self._variables: tuple[Variable, ...] = (*self._shared, *self._places)

    def restricted_to(self, variables: Sequence[Variable]) -> MeanField:
        """The same moments, for some of the variables only."""
        part = object.__new__(MeanField)
        part.__dict__.update(self.__dict__)
        part._variables = tuple(variables)
        part._shared = {v: self._shared[v] for v in variables if v in self._shared}
        part._places = {v: self._places[v] for v in variables if v in self._places}
        return part

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Shared variables first, then those of each dataset."""
        return self._variables

    @property
    def mean(self) -> MomentMapping:
        return MomentMapping(lambda variable: self._moments(variable)[0], self._variables, self._names)

    @property
    def variance(self) -> MomentMapping:
        return MomentMapping(lambda variable: self._moments(variable)[1], self._variables, self._names)

    @property
    def scale(self) -> MomentMapping:
        """Standard deviations."""
        return MomentMapping(lambda variable: np.sqrt(self._moments(variable)[1]), self._variables, self._names)

    def __getitem__(self, variable: Any) -> Normal | MultivariateNormal:
        """A normal message; raises ValueError where the moments are not finite or not positive."""
        if isinstance(variable, tuple):
            rows = [self._shared_index(v) for v in variable]
            return MultivariateNormal.from_mean_covariance(self._mean[rows], self._covariance[np.ix_(rows, rows)])
        return Normal.from_mean_variance(*self._moments(variable))

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __contains__(self, variable: object) -> bool:
        return variable in self._shared or variable in self._places or variable in self._rows

    def covariance(self, first: Variable, second: Variable) -> float:
        """Covariance of two shared variables."""
        return float(self._covariance[self._shared_index(first), self._shared_index(second)])

    def quantile(self, variable: Any, q: Any) -> Any:
        """Quantiles of a variable, or of a relation of shared variables; ``q`` in [0, 1], a number or an array.

        Of a variable of a declared plate, an axis over its datasets comes first.
        """
        if variable in self._rows:
            return np.array([self.quantile(each, q) for each in self._rows[variable]])
        if self._is_shared(variable):
            return weighted_quantile(self._values(variable, self._weighted[0]), self._weighted[1], q)
        return np.quantile(self.draws(variable), q)

    def draws(self, variable: Any) -> np.ndarray:
        """Equal-weight draws (M,) of a variable, or of a relation of shared variables; (N, M) of a variable of a
        declared plate of N datasets."""
        if variable in self._rows:
            return np.stack([self.draws(each) for each in self._rows[variable]])
        if self._is_shared(variable):
            return self._values(variable, self._draws)
        plate, row, position = self._place(variable)
        return self._local[plate].draws[row, :, position]

    def _is_shared(self, variable: Any) -> bool:
        return isinstance(variable, Relation) or variable in self._shared

    def _values(self, variable: Any, draws: np.ndarray) -> np.ndarray:
        """Of a shared variable, or of a relation of such, at ``draws`` (M, D)."""
        if not isinstance(variable, Relation):
            return draws[:, self._shared_index(variable)]
        structure, operands, constants = structure_of(variable)
        values = [draws[:, self._shared_index(operand)] for operand in operands]
        return np.broadcast_to(structure.build(values, constants), len(draws))

    def _moments(self, variable: Any) -> tuple[Any, Any]:
        """Mean and variance; of a variable of a declared plate (N,) each."""
        if variable in self._rows:
            both = np.array([self._moments(each) for each in self._rows[variable]])
            return both[:, 0], both[:, 1]
        if isinstance(variable, Relation):
            values, weights = self._values(variable, self._weighted[0]), self._weighted[1]
            mean = float(weights @ values)
            return mean, float(weights @ (values - mean) ** 2)
        if variable in self._shared:
            index = self._shared[variable]
            return float(self._mean[index]), float(self._covariance[index, index])
        plate, row, position = self._place(variable)
        moments = self._local[plate]
        return float(moments.mean[row, position]), float(moments.standard_deviation[row, position]) ** 2

    def _place(self, variable: Any) -> tuple[int, int, int]:
        if variable not in self._places:
            raise UnknownKey(f"{self._label(variable)} is no variable of this result. {self._known(self._variables)}")
        return self._places[variable]

    def _shared_index(self, variable: Any) -> int:
        if variable not in self._shared:
            what = "local to a dataset" if variable in self._places else "no variable of this result"
            known = self._known(tuple(self._shared))
            raise UnknownKey(f"{self._label(variable)} is {what}; a shared variable is needed. {known}")
        return self._shared[variable]

    def _label(self, variable: Any) -> str:
        return self._names.get(variable, repr(variable)) if isinstance(variable, Variable) else repr(variable)

    def _known(self, variables: tuple[Variable, ...]) -> str:
        names = list(dict.fromkeys(self._label(v) for v in variables))
        more = f", and {len(names) - 20} more names" if len(names) > 20 else ""
        return f"Look up the variable itself, such as parent.mean; there are: {', '.join(names[:20])}{more}."

    def __repr__(self) -> str:
        return f"MeanField({len(self._shared)} shared, {len(self._places)} local variables)"
