"""One dataset's part of a result."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import numpy as np

from factorgraph.graph.factors import AnalysisFactor
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from factorgraph.results.mean_field import MeanField
from searches.guard import Guard
from searches.status import Status

_MAX_CALLS = 100


class DatasetResult:
    """What was found for one `AnalysisFactor`.

    Attributes
    ----------
    name, status
        The dataset's name, and the outcome of its last update.
    local_variables
        The variables that this dataset alone reads.
    mean_field
        Moments of the model's variables, shared ones included.
    """

    def __init__(
        self, factor: AnalysisFactor, name: str, status: Status, local: frozenset[Variable], mean_field: MeanField
    ) -> None:
        self._structure, self._variables, self._constants = structure_of(factor.prior_model)
        self._analysis = factor.analysis
        self._model = factor.prior_model
        self.name = name
        self.status = status
        self.local_variables = tuple(v for v in self._variables if v in local)
        self.mean_field = mean_field.restricted_to(self._variables)

    @property
    def instance(self) -> Any:
        """The model's instance at the posterior means."""
        return self._structure.build([self.mean_field.mean[v] for v in self._variables], self._constants)

    @cached_property
    def max_log_likelihood_instance(self) -> Any:
        """The instance of largest likelihood among a hundred posterior draws; reading it calls the likelihood.

        Raises
        ------
        searches.errors.LikelihoodFailedError
            The likelihood fails at these draws.
        """
        table, paths = self._table(), self._model.paths
        guard = Guard(
            lambda row: self._analysis.log_likelihood_function(self._structure.build(list(row), self._constants)),
            names=[".".join(paths.get(v, ("variable",))) for v in self._variables],
        )
        with jax.enable_x64(True):
            best = int(np.argmax(guard.batch(table)))
        return self._structure.build([float(value) for value in table[best]], self._constants)

    @property
    def draws(self) -> np.ndarray:
        """Equal-weight draws (M, L) of `local_variables`, in the user's coordinates."""
        if not self.local_variables:
            return np.zeros((0, 0))
        return np.stack([self.mean_field.draws(v) for v in self.local_variables], axis=1)

    def _table(self) -> np.ndarray:
        """(n, P) posterior draws of the model's variables."""
        columns = [self.mean_field.draws(v) for v in self._variables]
        num = min((len(column) for column in columns), default=1)
        rows = np.linspace(0, num - 1, min(num, _MAX_CALLS)).astype(int)
        return np.stack([column[rows] for column in columns], axis=1) if columns else np.zeros((1, 0))

    def __repr__(self) -> str:
        return f"DatasetResult({self.name!r}, {self.status.message})"
