"""Probabilities of the states of discrete variables: averages over posterior draws of what the states weigh there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from factorgraph.analysis import analysis_from, data_of
from factorgraph.graph.enumeration import EnumeratedAnalysis, EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.model.structure import Structure, structure_of
from factorgraph.model.variable import Variable
from factorgraph.results.mean_field import UnknownKey


class StateProbabilities(Mapping):
    """Discrete variable -> probabilities (K,) of its states 0, 1, ..., K - 1 given all data.

    The states' weights at a posterior draw of the continuous variables are exact; averages over M draws have a standard
    error of at most 0.5 / sqrt(M), 0.016 for 1,024; `error` estimates it.

    Parameters
    ----------
    factors
        Of the graph; those that were enumerated have discrete variables.
    draws
        variable -> equal-weight posterior draws (M,), rows of all variables belonging together.
    is_jax
        Whether a factor's likelihood can be traced.
    """

    def __init__(
        self,
        factors: Sequence[AnalysisFactor],
        draws: Callable[[Variable], np.ndarray],
        is_jax: Callable[[AnalysisFactor], bool],
    ) -> None:
        self._draws, self._is_jax = draws, is_jax
        self._home = {v: f for f in factors if isinstance(f, EnumeratedFactor) for v in f.discrete}
        self._known: dict[int, np.ndarray] = {}

    def __getitem__(self, variable: Variable) -> np.ndarray:
        return self._of(variable).mean(axis=0)

    def error(self, variable: Variable) -> np.ndarray:
        """(K,) standard errors of the probabilities, from the scatter over draws."""
        each = self._of(variable)
        return each.std(axis=0) / np.sqrt(len(each))

    def _of(self, variable: Variable) -> np.ndarray:
        """(M, K) at every draw."""
        if variable not in self._home:
            raise UnknownKey(
                f"{variable!r} is no discrete variable of this result; there are {len(self)}. Its moments are in "
                "result.mean_field."
            )
        factor = self._home[variable]
        column = factor.states[:, factor.discrete.index(variable)]
        weights = self._weights(factor)
        return np.stack([weights[:, column == k].sum(axis=1) for k in range(column.max() + 1)], axis=1)

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def joint(self, factor: EnumeratedFactor) -> np.ndarray:
        """(S,) of the joint states ``factor.states``."""
        return self._weights(factor).mean(axis=0)

    def _weights(self, factor: EnumeratedFactor) -> np.ndarray:
        """(M, S) of the joint states at every draw."""
        if id(factor) not in self._known:
            self._known[id(factor)] = self._found(factor)
        return self._known[id(factor)]

    def _found(self, factor: EnumeratedFactor) -> np.ndarray:
        structure, variables, constants = structure_of((factor.prior_model, data_of(factor.analysis)))
        columns = [self._draws(v) for v in variables]
        num = min((len(column) for column in columns), default=1)
        rows = [np.linspace(0, len(column) - 1, num).astype(int) for column in columns]
        table = (
            np.stack([column[row] for column, row in zip(columns, rows, strict=True)]) if columns else np.zeros((0, 1))
        )
        if self._is_jax(factor):
            with jax.enable_x64(True):
                log_weights = np.asarray(_log_weights(structure, list(table), constants))
        else:
            log_weights = np.array([_at(structure, list(row), constants) for row in table.T.tolist()])
        return softmax(log_weights, axis=1)

    def __repr__(self) -> str:
        return f"StateProbabilities({len(self)} discrete variables)"


def _at(structure: Structure, values: Sequence[Any], constants: Sequence[Any]) -> Any:
    instance, data = structure.build(values, constants)
    return analysis_from(EnumeratedAnalysis, data).log_weights(instance)


@partial(jax.jit, static_argnums=0)
def _log_weights(structure: Structure, table: list[Any], constants: Sequence[Any]) -> Any:
    """(M, S) at M draws of every variable."""
    if not table:
        return jnp.asarray(_at(structure, [], constants))[None]
    return jax.vmap(lambda values: jnp.asarray(_at(structure, values, constants)))(table)
