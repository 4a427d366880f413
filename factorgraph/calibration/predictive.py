"""Posterior predictive checks: data replicated at the posterior's draws, beside those that were observed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from factorgraph.calibration.likelihoods import dataset_log_likelihoods
from factorgraph.calibration.posterior import Posterior, thinned_rows
from factorgraph.calibration.surveys import Simulate, Surveys
from factorgraph.errors import FactorGraphError, GraphError, name_hint
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.global_target import global_variables
from factorgraph.model.family import Flat
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

MISFIT = "misfit"
_SMALL, _MOST_NAMES = 0.01, 5

Statistic = Callable[[Any], float]


class UnknownStatistic(FactorGraphError, KeyError):
    """A statistic that was not asked for."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictiveCheck:
    """Statistics of the data and of data replicated at posterior draws.

    Attributes
    ----------
    names
        The N datasets.
    observed
        Statistic to its values (num_draws, N) for the data; the same for every draw unless it depends on the unknowns.
    replicated
        Statistic to its values (num_draws, N) for the replicated data.
    seed
        Of the rows drawn from the posterior and of the data.
    """

    names: tuple[str, ...]
    observed: Mapping[str, np.ndarray]
    replicated: Mapping[str, np.ndarray]
    seed: int

    @property
    def num_draws(self) -> int:
        return len(next(iter(self.observed.values())))

    def p_values(self, statistic: str = MISFIT) -> dict[str, float]:
        """Dataset to the probability that replicated data have a larger statistic; nan where it is not finite."""
        observed, replicated = self._pair(statistic)
        return dict(zip(self.names, _larger(observed, replicated).tolist(), strict=True))

    def overall(self, statistic: str = MISFIT) -> float:
        """The p-value of the statistic's sum over all datasets, those left out in which it is not finite."""
        observed, replicated = self._pair(statistic)
        sound = np.all(np.isfinite(observed) & np.isfinite(replicated), axis=0)
        return float(_larger(observed[:, sound].sum(axis=1), replicated[:, sound].sum(axis=1)))

    def extremes(self, n: int = 10, statistic: str = MISFIT) -> list[tuple[str, float]]:
        """The ``n`` datasets whose p-values are farthest from a half, with these."""
        finite = [(name, p) for name, p in self.p_values(statistic).items() if np.isfinite(p)]
        return sorted(finite, key=lambda pair: min(pair[1], 1.0 - pair[1]))[:n]

    @property
    def dataset(self) -> Any:
        """An ``xarray.Dataset``: every statistic and its ``..._replicated``, (draw, dataset)."""
        import xarray

        columns = {name: (("draw", "dataset"), values) for name, values in self.observed.items()}
        columns |= {f"{name}_replicated": (("draw", "dataset"), values) for name, values in self.replicated.items()}
        return xarray.Dataset(columns, {"dataset": np.array(self.names, dtype=str)}, {"seed": self.seed})

    @property
    def info(self) -> str:
        """For every statistic: the overall p-value, how many datasets are extreme, and which most."""
        lines = [f"posterior predictive check: {len(self.names):,} datasets, {self.num_draws} replications"]
        for statistic in self.observed:
            p = np.array(list(self.p_values(statistic).values()))
            lost = int(np.sum(np.isnan(p)))
            extreme = int(np.sum((p < _SMALL / 2) | (p > 1.0 - _SMALL / 2)))
            lines += [
                f"{statistic}: p-value of the sum {self.overall(statistic):.3f}; {extreme:,} datasets beyond "
                f"{_SMALL / 2:.1%} on either side (at most {_SMALL * (len(p) - lost):.3g} are expected)"
            ]
            named = [f"{name} {p:.3f}" for name, p in self.extremes(_MOST_NAMES, statistic)]
            lines += [f"    most extreme: {', '.join(named)}"] if named else []
            lines += [f"    not finite in {lost:,}, which are left out"] if lost else []
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"PredictiveCheck({len(self.names)} datasets, {self.num_draws} draws, {', '.join(self.observed)})"

    def _pair(self, statistic: str) -> tuple[np.ndarray, np.ndarray]:
        if statistic not in self.observed:
            known = list(self.observed)
            raise UnknownStatistic(f"The check has no statistic {statistic!r}.{name_hint(statistic, known)}")
        return self.observed[statistic], self.replicated[statistic]


def _larger(observed: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """Fraction of draws (rows) in which the replicated value is larger, ties for half."""
    sound = np.all(np.isfinite(observed) & np.isfinite(replicated), axis=0)
    with np.errstate(invalid="ignore"):
        p = np.mean((replicated > observed) + 0.5 * (replicated == observed), axis=0)
    return np.where(sound, p, np.nan)


def predictive_check(
    graph: FactorGraphModel,
    result: Any,
    simulate: Simulate,
    *,
    statistics: Mapping[str, Statistic] | None = None,
    replicate: Literal["data", "objects"] = "data",
    num_draws: int = 200,
    seed: int = 0,
) -> PredictiveCheck:
    """Whether the data look like data that the solved graph makes (Rubin 1984; Gelman, Meng & Stern 1996).

    For each of ``num_draws`` posterior draws of all unknowns, every dataset is simulated anew. Compared with the data
    are the misfit, minus the log likelihood at the same draw, and any statistic of the data alone. Private variables
    can fit almost anything: whether an object belongs to its population is seen only where they are drawn anew too,
    from their parents (``replicate="objects"``; Marshall & Spiegelhalter 2007).

    Parameters
    ----------
    graph, result
        The graph and what solved it: a `Result`, what a search's ``fit`` returns, or a mapping from variables to
        equal-weight joint draws.
    simulate
        ``simulate(analysis, instance, rng)`` returns a new analysis with data drawn at ``instance``, as in `calibrate`.
    statistics
        Name to a function of an analysis that returns a float: ``{"brightest": lambda analysis: analysis.y.max()}``;
        of the list of them where a dataset has several factors.
    replicate
        ``"data"``: other data of the same objects. ``"objects"``: other objects, their private variables drawn from
        their parents or priors at the posterior's shared variables. There is no misfit then, so give ``statistics``.
    num_draws
        Replications. A p-value is a fraction of them.
    seed
        Of the choice of draws and of the data.

    Returns
    -------
    PredictiveCheck
        ``info``, ``p_values()``, ``overall()``, ``extremes()``, and all values in ``dataset``.

    Raises
    ------
    GraphError
        Too few draws; draws of private and shared variables that do not belong together, where a likelihood reads
        both; a ``simulate`` that returns something else.

    Notes
    -----
    Data are used twice, so these p-values lie nearer to a half than uniform ones: a small one means something, a middle
    one little (Meng 1994); less so for other objects, of which a dataset says little by itself.

    Examples
    --------
    >>> check = fg.predictive_check(graph, graph.optimise(), simulate)
    >>> print(check.info)
    >>> worst = check.extremes(5)
    """
    given = dict(statistics or {})
    if MISFIT in given:
        raise GraphError(f"predictive_check: {MISFIT!r} is minus the log likelihood; give your statistic another name.")
    if not callable(simulate) or not all(callable(function) for function in given.values()):
        raise GraphError(
            "predictive_check: simulate(analysis, instance, rng) and every statistic(analysis) must be functions."
        )
    if replicate not in ("data", "objects"):
        raise GraphError(f"predictive_check: replicate={replicate!r}; it is 'data' or 'objects'.")
    if replicate == "objects" and not given:
        raise GraphError(
            "predictive_check: replicate='objects' needs statistics of the data, such as "
            "{'brightest': lambda analysis: analysis.y.max()}: the misfits of other objects are not comparable."
        )
    if num_draws < 1:
        raise GraphError(f"predictive_check: num_draws={num_draws}; at least one replication is needed.")
    rng = np.random.default_rng(seed)
    draws = _rows(graph, Posterior(result), num_draws, rng)
    surveys = Surveys(graph, simulate, "predictive_check")
    names = tuple(term.name for term in graph.terms.terms if term.factors)
    shown = (MISFIT, *given) if replicate == "data" else tuple(given)
    if replicate == "objects":
        draws = _other_objects(graph, draws, rng)
    observed, replicated = ({name: np.full((num_draws, len(names)), np.nan) for name in shown} for _ in range(2))
    for name, statistic in given.items():
        observed[name][:] = _values(statistic, name, graph)
    for row in range(num_draws):
        point = {variable: column[row] for variable, column in draws.items()}
        with warnings.catch_warnings(), jax.enable_x64(True):  # what is to be said of the graph has been said
            warnings.simplefilter("ignore", UserWarning)
            survey = surveys.simulated({variable: float(value) for variable, value in point.items()}, rng)
        if MISFIT in observed:
            observed[MISFIT][row] = _misfits(graph, point, names)
            replicated[MISFIT][row] = _misfits(survey, point, names)
        for name, statistic in given.items():
            replicated[name][row] = _values(statistic, name, survey)
    return PredictiveCheck(names=names, observed=observed, replicated=replicated, seed=seed)


def _rows(
    graph: FactorGraphModel, posterior: Posterior, num_draws: int, rng: np.random.Generator
) -> dict[Variable, np.ndarray]:
    """``num_draws`` draws of every unknown; joint ones, or where the solver has none, joint for each dataset."""
    if not posterior.is_joint and any(plate.signature.reads_shared for plate in graph.plates):
        raise GraphError(
            "predictive_check: the result has no joint draws of private and shared variables, and a likelihood reads "
            "both. Solve with a search over graph.global_prior_model, or pass joint draws as a mapping."
        )
    missing = [variable for variable in global_variables(graph) if variable not in posterior]
    if missing:
        raise GraphError(
            f"predictive_check: the result has no draws of {graph.names[missing[0]]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; data cannot be replicated without them."
        )
    columns = {variable: posterior.draws(variable) for variable in global_variables(graph)}
    rows = {num: thinned_rows(num, num_draws, rng) for num in sorted({len(column) for column in columns.values()})}
    return {variable: column[rows[len(column)]] for variable, column in columns.items()}


def _other_objects(
    graph: FactorGraphModel, draws: dict[Variable, np.ndarray], rng: np.random.Generator
) -> dict[Variable, np.ndarray]:
    """The draws of the shared variables, and private ones drawn from their parents, or from their priors."""
    if any(plate.signature.structure.has_assertions for plate in graph.plates):
        raise GraphError("predictive_check: replicate='objects' does not draw from models with assertions yet.")
    found = {variable: draws[variable] for variable in graph.terms.shared}
    num = len(next(iter(draws.values())))

    def drawn(variable: Variable) -> np.ndarray:
        if variable not in found:
            draw = graph.terms.draws.get(variable)
            family = draw.family if draw is not None else variable.family  # type: ignore[attr-defined]
            parameters = draw.parameters if draw is not None else variable.parameters  # type: ignore[attr-defined]
            if isinstance(family, Flat):
                raise GraphError(
                    f"predictive_check: {graph.names[variable]} has a flat prior, of which no other object can be "
                    "drawn. Give it a proper prior, or replicate='data'."
                )
            structure, parents, constants = structure_of(parameters)
            values = structure.build([drawn(parent) for parent in parents], constants)
            found[variable] = np.broadcast_to(family.from_normal(rng.standard_normal(num), *values), num)
        return found[variable]

    return {variable: drawn(variable) for variable in draws}


def _misfits(graph: FactorGraphModel, point: Mapping[Variable, float], names: Sequence[str]) -> np.ndarray:
    order = {name: column for column, name in enumerate(names)}
    found = np.full(len(names), np.nan)
    values = dataset_log_likelihoods(graph, {variable: np.array([value]) for variable, value in point.items()})
    for number, log_likelihood in values.items():
        found[[order[term.name] for term in graph.plates[number].terms]] = -log_likelihood[0]
    return found


def _values(statistic: Statistic, name: str, graph: FactorGraphModel) -> np.ndarray:
    terms = [term for term in graph.terms.terms if term.factors]
    found = np.zeros(len(terms))
    for column, term in enumerate(terms):
        analyses = [factor.analysis for factor in term.factors]
        value = np.asarray(statistic(analyses[0] if len(analyses) == 1 else analyses), dtype=float)
        if value.shape:
            raise GraphError(
                f"predictive_check: the statistic {name!r} returned an array of shape {value.shape} for dataset "
                f"{term.name!r}; one number is needed."
            )
        found[column] = value
    return found
