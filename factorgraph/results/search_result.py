"""`SearchResult`: what one search over a whole graph, or over one dataset, found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.enumeration import EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from factorgraph.results.mean_field import MeanField
from factorgraph.results.states import StateProbabilities
from factorgraph.results.summary import significant
from searches.samples import Samples
from searches.status import Status

_MOST_ROWS = 60


class SearchResult:
    """Weighted samples of a model's unknowns, and the instances they suggest; like a list, one child a dataset.

    A result of a single dataset behaves as its only child does. Samples, weights and evidence of a child are those of
    the whole search, seen in the variables of its model.

    Attributes
    ----------
    name
        The dataset's name, or the search's.
    model
        The model whose instances are built.
    samples
        Over `variables`, by name, in the user's coordinates.
    variables
        The P unknowns, in the order of the samples' parameters.
    datasets
        Model and name of each dataset.
    factors, is_jax
        The graph's factors, and whether JAX can trace all their likelihoods.
    """

    def __init__(
        self,
        model: Any,
        samples: Samples,
        variables: Sequence[Variable],
        *,
        name: str = "",
        datasets: Sequence[tuple[Any, str]] = (),
        note: str = "",
        seconds: float = float("nan"),
        seed: int = 0,
        user_info: Mapping[str, Any] | None = None,
        factors: Sequence[AnalysisFactor] = (),
        is_jax: bool = True,
    ) -> None:
        self.model = model
        self.samples = samples
        self.variables = tuple(variables)
        self.name = name
        self._datasets = tuple(datasets)
        self.log_evidence_note = note
        self.seconds = seconds
        self.seed = seed
        self.user_info = dict(user_info or {})
        self._factors, self._is_jax = tuple(factors), is_jax

    def update(self, *_: Any, **__: Any) -> SearchResult:
        """Not of a search: its samples are of one posterior, and there is nothing of single datasets to keep.

        Raises
        ------
        GraphError
            Always.
        """
        raise GraphError(
            "update and without are of results of graph.optimise(), which keeps what it found out about each dataset. "
            "A search has samples of all unknowns at once: fit the graph with the other datasets anew, or optimise it."
        )

    without = update

    def restricted_to(self, model: Any, name: str) -> SearchResult:
        """The same samples over the variables of ``model``, named by their paths in it."""
        column, variables = self._column, structure_of(model)[1]
        columns = np.array([column[v] for v in variables], dtype=int)
        names = tuple(".".join(model.paths.get(v, (self.samples.names[column[v]],))) for v in variables)
        s = self.samples
        samples = replace(s, x=s.x[:, columns], parameters=s.parameters[:, columns], names=names)
        return SearchResult(
            model, samples, variables, name=name, note=self.log_evidence_note, seconds=self.seconds, seed=self.seed
        )

    @cached_property
    def _column(self) -> dict[Variable, int]:
        return {variable: i for i, variable in enumerate(self.variables)}

    # --- instances ---

    @property
    def max_log_likelihood_vector(self) -> np.ndarray:
        """(P,) the sample of largest log likelihood."""
        return self.samples.parameters[self.samples.max_log_likelihood_index]

    @property
    def max_log_likelihood_instance(self) -> Any:
        """The model's instance there; of a whole graph, one instance a dataset, in order."""
        return self._instance(self.max_log_likelihood_vector)

    @property
    def max_log_likelihood(self) -> float:
        """Of the whole search, nats."""
        return float(self.samples.log_likelihood[self.samples.max_log_likelihood_index])

    @property
    def instance(self) -> Any:
        """The model's instance at each parameter's median."""
        return self._instance(self.samples.quantile(0.5))

    def _instance(self, vector: np.ndarray) -> Any:
        structure, variables, constants = structure_of(self.model)
        return structure.build([float(vector[self._column[v]]) for v in variables], constants)

    # --- moments ---

    @cached_property
    def mean_field(self) -> MeanField:
        """Moments keyed by the variables, ``result.mean_field.mean[parent.mean]``, and quantiles."""
        names = dict(zip(self.variables, self.samples.names, strict=True))
        draws = self.samples.resample(self.seed).parameters
        return MeanField(names, self.variables, self.samples.mean, self.samples.covariance, draws)

    @cached_property
    def probabilities(self) -> StateProbabilities:
        """Discrete variable -> probabilities (K,) of its states given all data."""
        return StateProbabilities(self._factors, self.mean_field.draws, lambda _: self._is_jax)

    @property
    def log_evidence(self) -> float:
        """Log of the integral of likelihoods times normalised priors, nats; nan where `log_evidence_note` says why."""
        return self.samples.log_evidence

    @property
    def log_evidence_error(self) -> float:
        return self.samples.log_evidence_error

    @property
    def status(self) -> Status:
        """How the search ended."""
        return Status(int(self.samples.diagnostics.get("status", Status.ok)))

    # --- one child a dataset ---

    @cached_property
    def children(self) -> tuple[SearchResult, ...]:
        """One result a dataset."""
        models = [model for model, _ in self._datasets]
        for number, factor in enumerate(self._factors):
            if isinstance(factor, EnumeratedFactor):  # its discrete variables in their most probable states
                best = factor.states[np.argmax(self.probabilities.joint(factor))]
                models[number] = factor.at(best).prior_model
        return tuple(self.restricted_to(model, name) for model, (_, name) in zip(models, self._datasets, strict=True))

    def __len__(self) -> int:
        return len(self._datasets)

    def __getitem__(self, index: int | str | slice) -> Any:
        if isinstance(index, str):
            names = [name for _, name in self._datasets]
            if index not in names:
                raise KeyError(f"No dataset {index!r}; there are {', '.join(names[:20])}{', ...' * (len(names) > 20)}.")
            index = names.index(index)
        return self.children[index]

    def __iter__(self) -> Iterator[SearchResult]:
        return iter(self.children)

    # --- text ---

    @property
    def info(self) -> str:
        """How the search ended, the evidence, and a table of the unknowns."""
        return "\n\n".join(["\n".join(self._header()), self._table()])

    def _header(self) -> list[str]:
        said = [f"{key}: {value}" for key, value in self.user_info.items()]
        evidence = f"{self.log_evidence:.3f} +- {significant(self.log_evidence_error, self.log_evidence_error)}"
        return [
            f"{self.name or 'search'}: {self.status.message}, {self.samples.num_calls:,} likelihood calls, "
            f"{self.seconds:.3g} s",
            f"log evidence (nats): {evidence if not self.log_evidence_note else f'nan ({self.log_evidence_note})'}",
            f"largest log likelihood (nats): {self.max_log_likelihood:.3f}",
            self._effective(),
            *said,
        ]

    def _effective(self) -> str:
        """How many independent samples these are worth; draws of a chain are correlated, which weights do not show."""
        found = self.samples.diagnostics
        if "r_hat" not in found:
            return f"effective samples: {self.samples.effective_sample_size:.0f} of {len(self.samples):,}"
        return (
            f"chains: R-hat at most {np.max(found['r_hat']):.3f}, effective draws at least {np.min(found['ess']):.0f} "
            f"of {len(self.samples):,}, divergent {found['num_divergent']}"
        )

    def _table(self) -> str:
        shown = range(min(len(self.variables), _MOST_ROWS))
        lower, median, upper = self.samples.quantile([0.16, 0.5, 0.84])
        mean, sd = self.samples.mean, np.sqrt(self.samples.weights @ (self.samples.parameters - self.samples.mean) ** 2)
        rows = [("", "mean", "sd", "median", "68 % interval")]
        for i in shown:
            interval = f"{significant(lower[i], sd[i])} ... {significant(upper[i], sd[i])}"
            numbers = (significant(mean[i], sd[i]), significant(sd[i], sd[i]), significant(median[i], sd[i]), interval)
            rows.append((self.samples.names[i], *numbers))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = len(self.variables) - len(shown)
        return "\n".join(lines + [f"and {more:,} more"] * (more > 0))

    def __repr__(self) -> str:
        return (
            f"SearchResult({self.name or type(self.model).__name__}, {len(self)} datasets, "
            f"{len(self.variables)} parameters, log_evidence={self.log_evidence:.6g})"
        )
