"""`Result`: what the user holds after a graph was solved."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from factorgraph.errors import name_hint
from factorgraph.graph.enumeration import EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.graph.plates import Plate
from factorgraph.graph.terms import Term
from factorgraph.model.variable import Variable
from factorgraph.propagation.contracted import Lane
from factorgraph.propagation.earlier import Earlier
from factorgraph.propagation.precision import PrecisionError
from factorgraph.propagation.solution import Solution
from factorgraph.propagation.sweep import SweepInfo
from factorgraph.results.corrected_result import CorrectedResult
from factorgraph.results.correlation import CorrelationPosterior, correlation_of
from factorgraph.results.dataset_result import DatasetResult
from factorgraph.results.datatree import dataset_of, datatree_of, write_netcdf
from factorgraph.results.diagnostics import diagnostics_of
from factorgraph.results.ep_result import EPResult
from factorgraph.results.local_draws import are_joint, local_draws
from factorgraph.results.mean_field import LocalMoments, MeanField, UnknownKey
from factorgraph.results.plate_axis import PlateAxis, plate_axes
from factorgraph.results.states import StateProbabilities
from factorgraph.results.summary import summary_of
from searches.status import Status

_LARGEST_INNER_ERROR = 0.2  # posterior sds
_LARGEST_ROUNDING = 0.05  # nats
_LARGEST_SPREAD_ERROR = 0.1  # of a standard deviation
_MOST_NAMES = 5


class Graph(Protocol):
    """What a result needs to know of its graph."""

    @property
    def factors(self) -> tuple[AnalysisFactor, ...]: ...
    @property
    def names(self) -> dict[Variable, str]: ...
    @property
    def plates(self) -> tuple[Plate, ...]: ...
    @property
    def lanes(self) -> tuple[Lane, ...]: ...
    @property
    def dataset_names(self) -> tuple[str, ...]: ...
    @property
    def rows(self) -> Mapping[Variable, Sequence[Variable]]: ...
    def extended(self, new_factors: Any) -> Graph: ...
    def without(self, names: Iterable[str] | str) -> Graph: ...
    def optimise(self, *, earlier: Result | None, **settings: Any) -> Result: ...


class Result:
    """A solved graph: moments and draws of every unknown, the evidence, and one child a dataset.

    ``mean_field``, ``draws``, ``datatree`` and ``log_evidence`` are corrected by importance sampling where
    `is_corrected`, otherwise EP's; ``ep`` is always EP's own. ``result[i]`` (or ``result["name"]``) is the
    `DatasetResult` of the i-th `AnalysisFactor`.
    """

    def __init__(self, graph: Graph, solution: Solution) -> None:
        self._graph = graph
        self._solution = solution
        self._numbers = {name: number for number, name in enumerate(graph.dataset_names)}
        self._dataset_names = tuple(self._numbers)
        self._places: dict[int, tuple[int, int]] = {
            id(term): (plate, row)
            for plate, contracted in enumerate(solution.plates)
            for row, term in enumerate(contracted.plate.terms)
        }
        self._terms: list[Term] = [term for term in solution.terms.terms if term.factors]
        self._local_draws: dict[int, np.ndarray] = {}
        self._asked: dict[str, Any] = {}

    @classmethod
    def from_solution(cls, graph: Graph, solution: Solution, asked: Mapping[str, Any] | None = None) -> Result:
        """The result, with one warning if the answer is not to be relied on as it stands; ``asked`` are the settings of
        `optimise`."""
        result = cls(graph, solution)
        result._asked = dict(asked or {})
        concerns = result._concerns()
        if concerns:
            warnings.warn(f"{'; '.join(concerns)}. See result.info.", stacklevel=3)
        return result

    # --- with other datasets ---

    def update(self, new_factors: Any, **settings: Any) -> Result:
        """The result of the graph with new datasets, without exploring the old ones again.

        What the old datasets are known by is taken over where it still serves; the answer is that of a run over the
        whole graph. This result stays as it is. See `docs/streaming.md`.

        Parameters
        ----------
        new_factors
            An `AnalysisFactor`, a `Plate`, or a list of these. What they draw from a parent is added to it before, as
            for a first graph: ``parent.add_drawn_variable(model.centre)``. New parents stand in the list, too.
        **settings
            Of `FactorGraphModel.optimise`, where they are to differ from those of this result.

        Raises
        ------
        GraphError
            Nothing new, or a dataset that is there already, or has the name of one.
        """
        return self._graph.extended(new_factors).optimise(earlier=self, **{**self._asked, **settings})

    def without(self, names: Iterable[str] | str, **settings: Any) -> Result:
        """The result of the graph without the datasets of these names, without exploring the others again; see
        `update`.

        Raises
        ------
        GraphError
            A name that there is not, or the names of all.
        """
        return self._graph.without(names).optimise(earlier=self, **{**self._asked, **settings})

    @cached_property
    def taken_over(self) -> tuple[str, ...]:
        """Names of the datasets of which an earlier result's exploration served; see `update`."""
        pairs = zip(self._solution.plates, self._solution.taken_over, strict=False)
        return tuple(plate.plate.names[row] for plate, taken in pairs for row in np.flatnonzero(taken.known))

    @property
    def kept(self) -> Earlier | None:
        """From what the solution of another graph with datasets of this one may go on."""
        return self._solution.kept

    # --- the answer ---

    @cached_property
    def mean_field(self) -> MeanField:
        """True moments of all variables, keyed by the variables: ``result.mean_field.mean[parent.mean]``."""
        found = self._solution
        local = [
            LocalMoments(
                contracted.plate.local,
                np.asarray(moments.mean),
                np.asarray(moments.standard_deviation),
                lambda plate=plate: self._draws_of_plate(plate),  # type: ignore[misc]
            )
            for plate, (contracted, moments) in enumerate(zip(found.plates, found.local, strict=True))
            if moments is not None
        ]
        variables = [shared.variable for shared in found.shared]
        weighted = found.corrected.weighted if found.is_corrected and found.corrected is not None else None
        answer = found.answer
        return MeanField(
            self._graph.names, variables, answer.mean, answer.covariance, found.draws, local, weighted, self._graph.rows
        )

    @property
    def log_evidence(self) -> float:
        """Log of the integral of likelihoods times normalised priors, nats; nan where `log_evidence_note` says why."""
        return float(self._solution.answer.log_evidence)

    @property
    def log_evidence_error(self) -> float:
        """Estimated standard error of `log_evidence`, nats; see `Solution.log_evidence_error`.

        It cannot know of a peak of a likelihood that no point has met. In simulated surveys of ten thousand profiles
        narrow ones, each with less than a percent of a dataset's evidence, make the log evidence low by about 1e-4 nats
        a dataset (docs/speed.md): up to three of these errors.
        """
        return float("nan") if self.log_evidence_note else self._solution.log_evidence_error

    @property
    def log_evidence_note(self) -> str:
        return self._solution.log_evidence_note

    @property
    def draws(self) -> np.ndarray:
        """Equal-weight draws (M, D) of the shared variables, in the order of `variables`."""
        return self._solution.draws

    @property
    def has_joint_draws(self) -> bool:
        """Whether row m of ``mean_field.draws`` of all variables, private ones included, is one joint draw."""
        plates = (i for i, moments in enumerate(self._solution.local) if moments is not None)
        return all(are_joint(self._solution, plate) for plate in plates)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The D shared variables."""
        return tuple(shared.variable for shared in self._solution.shared)

    @property
    def names(self) -> dict[Variable, str]:
        """Readable names of all variables."""
        return self._graph.names

    def samples(self, num: int = 1000, *, seed: int = 0) -> dict[str, np.ndarray]:
        """Joint draws of the shared variables by name, each (num,); rows of `draws`, repeated where those are fewer."""
        total = len(self.draws)
        rows = np.random.default_rng(seed).choice(total, size=num, replace=num > total)
        return {self.names[variable]: self.draws[rows, column] for column, variable in enumerate(self.variables)}

    @cached_property
    def probabilities(self) -> StateProbabilities:
        """Discrete variable -> probabilities (K,) of its states given all data."""
        lanes = zip(self._graph.plates, self._graph.lanes, strict=True)
        is_jax = {id(f): lane.name == "jax" for plate, lane in lanes for term in plate.terms for f in term.factors}
        return StateProbabilities(self._graph.factors, self.mean_field.draws, lambda factor: is_jax[id(factor)])

    def correlation(self, parent: Any) -> CorrelationPosterior:
        """Mean, standard deviation and draws of the correlation matrix of a parent with `fg.MultivariateNormalPrior`.

        Raises
        ------
        UnknownKey
            The parent has no correlation, or it is known.
        """
        return correlation_of(self.mean_field, parent)

    # --- can it be relied on? ---

    @property
    def converged(self) -> bool:
        """Whether the sweeps settled."""
        return self._solution.converged

    @property
    def is_corrected(self) -> bool:
        return self._solution.is_corrected

    @property
    def is_tempered(self) -> bool:
        """The answer is that of particles tempered from the priors: importance sampling around EP's did not do."""
        return self.is_corrected and self._solution.is_tempered

    @property
    def is_exact(self) -> bool:
        """Every factor is Gaussian in the shared variables, or conjugate to their messages, so that EP is exact."""
        return self._solution.is_exact

    @property
    def k_hat(self) -> float:
        """Pareto k-hat of the importance check; it can be trusted below 0.7. nan where nothing had to be checked."""
        return float(self._solution.k_hat)

    @property
    def seed(self) -> int:
        return self._solution.seed

    @property
    def seconds(self) -> float:
        """Wall-clock time of the solution."""
        return self._solution.seconds

    @property
    def compile_seconds(self) -> float:
        """The part of `seconds` that JAX took to compile; a second graph of the kind needs none, see also
        `fg.cache_compilations`."""
        return self._solution.compile_seconds

    @property
    def precision_error(self) -> PrecisionError | None:
        """What single precision did to the likelihoods; None in double precision."""
        return self._solution.precision_error

    @cached_property
    def ep(self) -> EPResult:
        """What expectation propagation itself found."""
        return EPResult(self._solution, self._graph.names)

    @cached_property
    def corrected(self) -> CorrectedResult | None:
        """What checking EP's answer found, trusted or not; None where EP is exact, or nothing was checked."""
        found = self._solution.corrected
        return None if found is None else CorrectedResult(self._solution, found, self._graph.names)

    @property
    def ep_history(self) -> list[SweepInfo]:
        """One entry a sweep."""
        return self.ep.history

    @property
    def num_steps(self) -> int:
        """Number of sweeps."""
        return self.ep.num_steps

    @property
    def updated_ep_mean_field(self) -> Result:
        """This result: ``result.updated_ep_mean_field.mean_field`` is `mean_field`."""
        return self

    @cached_property
    def status(self) -> dict[str, Status]:
        """Outcome of every dataset's last update, by name."""
        return {term.name: self._status_of(term) for term in self._terms}

    @cached_property
    def quarantined(self) -> dict[str, str]:
        """The datasets that were left out, with the reason."""
        lost = [term for term in self._terms if self._status_of(term) == Status.quarantined]
        return {term.name: self._reason(term) for term in lost}

    @cached_property
    def search_failures(self) -> dict[str, str]:
        """How the ``optimiser`` failed, by dataset: these were explored by importance sampling instead."""
        return {
            plate.plate.names[row]: reason
            for plate in self._solution.plates
            for row, reason in sorted(plate.search_failures.items())
        }

    @cached_property
    def leave_one_out(self) -> Mapping[str, float]:
        """log p(data of j | all other data), nats, by dataset; under EP."""
        found = self._solution.leave_one_out
        places = {term.name: self._places[id(term)] for term in self._terms}
        return {name: float(found[plate][row]) for name, (plate, row) in places.items()}

    def outliers(self, n: int = 10) -> list[tuple[str, float]]:
        """The ``n`` datasets that the others predict worst, with their leave-one-out log densities."""
        finite = [(name, value) for name, value in self.leave_one_out.items() if np.isfinite(value)]
        return sorted(finite, key=lambda pair: pair[1])[:n]

    @cached_property
    def diagnostics(self) -> Any:
        """How far each dataset's part can be trusted: an ``xarray.Dataset`` over the datasets' names, see
        `factorgraph.results.diagnostics`; ``result.diagnostics.to_dataframe()`` is a table."""
        return dataset_of(diagnostics_of(self._solution, self._axes), self._axes)

    # --- one child a dataset ---

    def __len__(self) -> int:
        return len(self._graph.factors)

    def __getitem__(self, index: int | str) -> DatasetResult:
        if isinstance(index, str):
            if index not in self._numbers:
                raise UnknownKey(f"There is no dataset {index!r}.{name_hint(index, self._dataset_names[:20])}")
            index = self._numbers[index]
        factor = self._graph.factors[index]
        term = self._term_of[id(factor)]
        name = self._dataset_names[index]
        if isinstance(factor, EnumeratedFactor):
            factor = factor.at(factor.states[np.argmax(self.probabilities.joint(factor))])
        return DatasetResult(factor, name, self._status_of(term), frozenset(term.local), self.mean_field)

    def __iter__(self) -> Iterator[DatasetResult]:
        return (self[index] for index in range(len(self)))

    # --- tables, files, text ---

    @cached_property
    def datatree(self) -> Any:
        """An ``xarray.DataTree`` with ArviZ's group names; see `factorgraph.results.datatree` for what is where."""
        return datatree_of(self._solution, self._graph.names, self._axes, self._draws_of_plate)

    @property
    def posterior(self) -> Any:
        """The group ``posterior`` of `datatree`."""
        return self.datatree["posterior"]

    def to_netcdf(self, path: str | Path) -> Path:
        """Write `datatree` to a file, which appears only when it is complete."""
        return write_netcdf(self.datatree, path)

    @property
    def info(self) -> str:
        """How the answer came about, the shared variables, and each plate of datasets."""
        return summary_of(self._solution, self._graph.names, self._axes, self.quarantined)

    def __repr__(self) -> str:
        settled = "converged" if self.converged else "not converged"
        kind = "exact" if self.is_exact else "corrected" if self.is_corrected else "EP"
        size = f"{len(self)} datasets, {len(self.variables)} shared variables"
        return f"Result({size}, {settled}, {kind}, log_evidence={self.log_evidence:.6g})"

    # --- how it is put together ---

    @cached_property
    def _axes(self) -> tuple[PlateAxis, ...]:
        return plate_axes(self._solution, self._graph.names)

    @cached_property
    def _term_of(self) -> dict[int, Term]:
        return {id(factor): term for term in self._terms for factor in term.factors}

    def _draws_of_plate(self, plate: int) -> np.ndarray:
        if plate not in self._local_draws:
            self._local_draws[plate] = local_draws(self._solution, plate)
        return self._local_draws[plate]

    def _status_of(self, term: Term) -> Status:
        plate, row = self._places[id(term)]
        return Status(int(self._solution.status[plate][row]))

    def _reason(self, term: Term) -> str:
        plate, row = self._places[id(term)]
        lost = getattr(self._solution.plates[plate], "lost", {})
        if row in lost:
            return lost[row]
        said = getattr(self._solution.plates[plate], "failures", {}).get(row, "")
        return said.strip().splitlines()[-1] if said else "its log likelihood is finite at none of the points tried"

    def _concerns(self) -> list[str]:
        concerns = []
        if not self.converged:
            concerns.append(f"expectation propagation had not converged after {self.ep.num_steps} sweeps")
        if not np.isnan(self.k_hat) and not self.is_corrected:
            concerns.append(
                f"the posterior could not be corrected (k-hat {self.k_hat:.2f}), the answer is EP's (a search over "
                "graph.contracted, such as fg.NUTS, does not rest on it)"
            )
        uncertain = [i for i, error in enumerate(self._solution.inner_error) if error > _LARGEST_INNER_ERROR]
        if uncertain:
            largest = max(self._solution.inner_error[i] for i in uncertain)
            named = _named(self.names[self.variables[i]] for i in uncertain)
            concerns.append(
                f"the integrals over private variables leave means uncertain by up to {largest:.2g} posterior sds "
                f"({named}), and the other diagnostics do not see that"
            )
        broad = [i for i, error in enumerate(self._solution.spread_error) if not error < _LARGEST_SPREAD_ERROR]
        if broad:
            largest = max(self._solution.spread_error[i] for i in broad)
            named = _named(self.names[self.variables[i]] for i in broad)
            concerns.append(
                f"tails are so heavy that standard deviations are uncertain by up to {100.0 * largest:.0f} % "
                f"({named}); quantiles are not"
            )
        rounding = self.precision_error
        if rounding is not None and not rounding.log_likelihood < _LARGEST_ROUNDING:
            concerns.append(
                f"single precision is too coarse for these likelihoods: they are off by up to "
                f"{rounding.log_likelihood:.2g} nats"
            )
        elif rounding is not None and not abs(rounding.log_evidence) < max(_LARGEST_ROUNDING, self.log_evidence_error):
            concerns.append(
                "single precision is too coarse for these likelihoods: the log evidence is off by about "
                f"{rounding.log_evidence:.2g} nats"
            )
        if self.quarantined:
            concerns.append(f"{len(self.quarantined)} dataset(s) were left out: {_named(self.quarantined)}")
        if self.search_failures:
            named = _named(f"{name} ({reason})" for name, reason in self.search_failures.items())
            concerns.append(
                f"the optimiser failed on {len(self.search_failures)} dataset(s), which were explored by importance "
                f"sampling instead: {named}"
            )
        named_above = (Status.quarantined, Status.search_failed)
        settled = (Status.ok, *named_above, Status.cavity_improper)  # the last is legitimate, and counted
        unsure = [name for name, status in self.status.items() if status not in settled]
        if unsure:
            concerns.append(f"{len(unsure)} dataset(s) may be wrong, see result.status: {_named(unsure)}")
        return concerns


def _named(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)
