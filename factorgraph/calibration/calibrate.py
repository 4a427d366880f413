"""Simulation-based calibration of a graph: draw truths, simulate their data, solve, and rank the truths."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from factorgraph.calibration.calibration import Calibration
from factorgraph.calibration.likelihoods import log_likelihoods
from factorgraph.calibration.posterior import Posterior, joint_rows, pull_of, thinned_rows
from factorgraph.calibration.quantity import Quantity, positions_of
from factorgraph.calibration.surveys import Simulate, Surveys
from factorgraph.calibration.truths import draw_truths
from factorgraph.errors import GraphError, name_hint
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.global_target import global_variables
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

LOG_LIKELIHOOD = "log likelihood"
_FEWEST_SIMULATIONS = 20
_FEWEST_DRAWS = 19
_FIRST = 5  # if all of so many fail at the start, so will the others

Solve = Callable[[FactorGraphModel, int], Any]


class Placed(NamedTuple):
    """A truth among the draws of one posterior; see `Quantity`."""

    truth: float
    rank: int
    uniform: float
    position: float
    pull: float


def calibrate(
    graph: FactorGraphModel,
    simulate: Simulate,
    *,
    num_simulations: int = 200,
    num_draws: int = 99,
    seed: int = 0,
    solve: Solve | None = None,
    dataset: int | str | None = 0,
    false_alarm: float = 1e-3,
) -> Calibration:
    """Whether posteriors of ``graph`` are what they say, by surveys simulated from its own priors.

    Every simulation draws all unknowns from the prior through the graph (what is shared first, then what is drawn from
    it), simulates each dataset at them, solves the same graph with these data, and ranks the truths among the
    posterior's draws: uniformly, if priors, likelihood, ``simulate`` and solver belong together (Talts et al. 2018).
    Ranked are the shared variables, the parameters of one dataset, and the log likelihood, which sees what single
    parameters do not.

    Parameters
    ----------
    graph
        Its datasets say what is to be simulated: errors, pixels, masks. It is not changed. All priors are proper.
    simulate
        ``simulate(analysis, instance, rng)`` returns a new analysis of the same class, with data drawn at ``instance``
        (of the dataset's model, at the truth) by the ``numpy.random.Generator``. Datasets of several kinds are told
        apart by ``isinstance(analysis, ...)``. Data that are floats or arrays compile once; a whole number is a
        setting, so make a count ``float(rng.poisson(rate))``.
    num_simulations
        200 see posteriors that are 20 % too narrow; 1,000 are needed for 10 %, 2,000 for 5 %.
    num_draws
        Posterior draws that a truth is ranked among; other draws still count for intervals and z.
    seed
        Of truths, data, solver and ranks. Simulation k is the same whatever their number.
    solve
        ``solve(survey, seed)`` solves the simulated graph and returns a result, or a mapping from variables to
        equal-weight joint draws; by default ``survey.optimise(seed=seed)``. The variables are those of ``graph``.
    dataset
        Name or number of the dataset whose own parameters are ranked; None for none.
    false_alarm
        Probability that one check fails although all is well.

    Returns
    -------
    Calibration
        ``passed``, ``failures``, ``info`` and ``plot(path)``. Simulations that failed or did not converge are named.

    Raises
    ------
    GraphError
        A prior from which nothing can be drawn, a ``simulate`` that returns something else, or every simulation failed.

    Notes
    -----
    A simulated graph has the shapes of the first one, so that only the first is compiled.

    Examples
    --------
    >>> def simulate(analysis, instance, rng):
    ...     return Measurement(rng.normal(instance.value, analysis.noise), analysis.noise)
    >>> calibration = fg.calibrate(graph, simulate)
    >>> print(calibration.info)
    >>> assert calibration.passed, calibration.failures
    """
    _check(graph, simulate, num_simulations, num_draws, false_alarm)
    randoms = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(num_simulations)]
    surveys, ranking = Surveys(graph, simulate, "calibrate"), Ranking(graph, _index_of(graph, dataset), num_draws)
    truths = draw_truths(graph, randoms)
    solve = solve if solve is not None else _optimise
    rows: list[dict[str, Placed]] = []
    failed: dict[int, str] = {}
    unconverged: list[int] = []
    concerns: dict[int, str] = {}
    seconds = np.zeros(num_simulations)
    for number, rng in enumerate(randoms):
        began = time.perf_counter()
        truth = {variable: float(values[number]) for variable, values in truths.items()}
        survey = _simulated(surveys, truth, rng, number)
        said: list[str] = []
        try:
            row, converged = ranking.of(survey, truth, solve, rng, said)
            rows.append(row)
            unconverged += [] if converged else [number]
        except Exception as error:  # of the solver, which may be the user's: recorded, and nothing passes then
            failed[number] = f"{type(error).__name__}: {error}"
            if number + 1 == len(failed) == _FIRST:
                raise GraphError(f"calibrate: the first {_FIRST} simulations all failed. {failed[0]}") from error
        if said:
            concerns[number] = "; ".join(said)
        seconds[number] = time.perf_counter() - began
    return Calibration(
        quantities=tuple(_quantity(name, [row[name] for row in rows], num_draws) for name in ranking.names),
        num_simulations=num_simulations,
        num_draws=num_draws,
        false_alarm=false_alarm,
        failed=failed,
        unconverged=tuple(unconverged),
        concerns=concerns,
        left_out=ranking.left_out,
        seconds=seconds,
        seed=seed,
    )


class Ranking:
    """The test quantities of a graph, and how one posterior ranks their truths.

    Which of them a solver can be asked for is seen in the first posterior; the others are ``left_out``, with the
    reason.
    """

    def __init__(self, graph: FactorGraphModel, dataset: int | None, num_draws: int) -> None:
        self._num_draws = num_draws
        self._unknowns = global_variables(graph)
        self._asked = {graph.names[variable]: variable for variable in graph.terms.shared}
        if dataset is not None:
            title, known = graph.dataset_names[dataset], set(graph.terms.shared)
            own = [v for v in structure_of(graph.factors[dataset].prior_model)[1] if v not in known]
            self._asked |= {f"{title}.{graph.names[variable]}": variable for variable in own}
        self._num_plates = len(graph.plates)
        self.left_out: dict[str, str] = {}
        self._seen = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (*self._asked, LOG_LIKELIHOOD) if name not in self.left_out)

    def of(
        self, survey: FactorGraphModel, truth: dict[Variable, float], solve: Solve, rng: Any, said: list[str]
    ) -> tuple[dict[str, Placed], bool]:
        """Every quantity's place, and whether the solver converged; its warnings are appended to ``said``."""
        solver_seed = int(rng.integers(2**31))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            posterior = Posterior(solve(survey, solver_seed))
        said += list(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning))
        if not self._seen:
            self._see(posterior, survey)
        found = {
            name: self._placed(posterior, variable, truth[variable], rng)
            for name, variable in self._asked.items()
            if name not in self.left_out
        }
        if LOG_LIKELIHOOD not in self.left_out:
            found[LOG_LIKELIHOOD] = self._placed_log_likelihood(posterior, survey, truth, rng)
        return found, posterior.converged

    def _see(self, posterior: Posterior, survey: FactorGraphModel) -> None:
        reason = "the solver returns no draws of it"
        self.left_out = {name: reason for name, variable in self._asked.items() if variable not in posterior}
        if not posterior.is_joint:
            self.left_out[LOG_LIKELIHOOD] = "the draws of private variables do not belong to those of the shared ones"
        elif any(variable not in posterior for variable in self._unknowns):
            self.left_out[LOG_LIKELIHOOD] = "the solver returns no draws of some of the unknowns"
        if not self.names:
            raise GraphError("the solver returned draws of none of the variables that are to be ranked")
        self._seen = True
        if len(survey.plates) > self._num_plates:
            warnings.warn(
                f"calibrate: the simulated datasets fall into {len(survey.plates)} plates, those of the graph into "
                f"{self._num_plates}, and each is compiled by itself. Let simulate(...) give attributes the types and "
                "shapes that the graph's analyses have; a number that varies must be a float.",
                stacklevel=4,
            )

    def _placed(self, posterior: Posterior, variable: Variable, truth: float, rng: Any) -> Placed:
        draws = posterior.draws(variable)
        thinned = draws[thinned_rows(len(draws), self._num_draws, rng)]
        return _placed(truth, thinned, draws, posterior.pull(variable, truth), rng)

    def _placed_log_likelihood(
        self, posterior: Posterior, survey: FactorGraphModel, truth: dict[Variable, float], rng: Any
    ) -> Placed:
        draws = joint_rows(posterior, self._unknowns, self._num_draws, rng)
        at = log_likelihoods(survey, {v: np.append(column, truth[v]) for v, column in draws.items()})
        if not np.isfinite(at[-1]):
            raise GraphError(
                f"the log likelihood at the truth is {at[-1]}: simulate(...) makes data that the likelihood calls "
                "impossible, so the two do not belong together"
            )
        if np.any(np.isnan(at)):
            raise GraphError("the log likelihood is nan at a posterior draw")
        return _placed(float(at[-1]), at[:-1], at[:-1], pull_of(float(at[-1]), at[:-1]), rng)


def _placed(truth: float, thinned: np.ndarray, draws: np.ndarray, pull: float, rng: np.random.Generator) -> Placed:
    rank, uniform = positions_of(truth, thinned, rng)
    return Placed(truth, rank, uniform, positions_of(truth, draws, rng)[1], pull)


def _quantity(name: str, rows: Sequence[Placed], num_draws: int) -> Quantity:
    truths, ranks, uniform, positions, pulls = (np.array(column) for column in zip(*rows, strict=True))
    return Quantity(
        name=name,
        truths=truths,
        ranks=ranks,
        uniform=uniform,
        positions=positions,
        pulls=pulls,
        num_draws=num_draws,
    )


def _optimise(survey: FactorGraphModel, seed: int) -> Any:
    return survey.optimise(seed=seed)


def _simulated(surveys: Surveys, truth: Mapping[Variable, float], rng: Any, number: int) -> FactorGraphModel:
    try:
        with warnings.catch_warnings(), jax.enable_x64(True):  # what is to be said of the graph has been said
            warnings.simplefilter("ignore", UserWarning)
            return surveys.simulated(truth, rng)
    except Exception as error:
        error.add_note(f"in simulation {number} of calibrate")
        raise


def _index_of(graph: FactorGraphModel, dataset: int | str | None) -> int | None:
    names = graph.dataset_names
    if isinstance(dataset, str):
        if dataset not in names:
            raise GraphError(f"calibrate: there is no dataset {dataset!r}.{name_hint(dataset, names[:20])}")
        return names.index(dataset)
    if dataset is not None and not 0 <= dataset < len(names):
        raise GraphError(f"calibrate: dataset={dataset}; the graph has datasets 0 to {len(names) - 1}.")
    return dataset


def _check(graph: Any, simulate: Any, num_simulations: int, num_draws: int, false_alarm: float) -> None:
    if not isinstance(graph, FactorGraphModel):
        raise GraphError(f"calibrate(graph, simulate): got {type(graph).__name__}, a FactorGraphModel is needed.")
    if not callable(simulate):
        raise GraphError(
            f"calibrate(graph, simulate): got {type(simulate).__name__}, a function "
            "simulate(analysis, instance, rng) that returns a new analysis is needed."
        )
    if num_simulations < _FEWEST_SIMULATIONS:
        raise GraphError(
            f"calibrate: num_simulations={num_simulations} can show nothing; {_FEWEST_SIMULATIONS} are the least, 200 "
            "see errors of 20 %."
        )
    if num_draws < _FEWEST_DRAWS:
        raise GraphError(f"calibrate: num_draws={num_draws} rank too coarsely; {_FEWEST_DRAWS} are the least.")
    if not 0.0 < false_alarm < 1.0:
        raise GraphError(f"calibrate: false_alarm={false_alarm} is a probability, above 0 and below 1.")
