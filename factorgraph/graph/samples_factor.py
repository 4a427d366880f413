"""A factor made of draws that exist already: someone's chain for one object, and the priors it was run with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.analysis import Analysis
from factorgraph.errors import GraphError, LikelihoodError, name_hint
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.structure import structure_of

_FEWEST = 20


class SamplesAnalysis(Analysis):
    """What a `SamplesFactor` has in place of data: ``theta`` (S, P) in the model's order, ``weight`` (S,) with sum one,
    and ``log_prior`` (S, P) of the priors the draws were made with."""

    def __init__(self, theta: np.ndarray, weight: np.ndarray, log_prior: np.ndarray, log_evidence: float) -> None:
        super().__init__()
        self.theta = theta
        self.weight = weight
        self.log_prior = log_prior
        self.log_evidence = log_evidence

    def log_likelihood_function(self, instance: Any) -> float:
        """Refused: there are draws, and no density at other points."""
        raise LikelihoodError(
            "A SamplesFactor has draws of a posterior and no likelihood that could be called elsewhere: solve its "
            "graph with graph.optimise(), or search graph.contracted, which re-weight the draws."
        )


class SamplesFactor(AnalysisFactor):
    """A dataset known by posterior draws: the likelihood is posterior over prior, at the draws.

    What is drawn from a parent is re-weighted by the parent's density over the prior that the draws were made with
    (Hogg, Myers & Bovy 2010); no likelihood is called. Each dataset has its own Pareto k-hat and error: where the
    parent's mass lies between few draws, its status says so.

    Parameters
    ----------
    samples
        Of S draws: a mapping (or ArviZ/xarray ``DataTree``, ``Dataset``) from names to arrays; an array (S, P) in the
        order of the model's variables; the path of a CSV file with a header; a result of a search or its samples.
    prior
        The model the draws were made with, its priors set: a `Model`, a `Collection`, a class, or a mapping from names
        to priors. It becomes ``prior_model``, whose variables are drawn from parents or shared.
    weights
        (S,) of weighted draws.
    log_evidence
        Of the fit that made the draws, nats; without it the evidence of the graph lacks a constant.
    num_draws
        Longer chains are thinned to as many.
    name
        The dataset's name.

    Raises
    ------
    GraphError
        A variable without draws, too few draws, draws that are no number or where the prior vanishes.

    Examples
    --------
    >>> factor = fg.SamplesFactor({"distance": chain}, prior={"distance": fg.UniformPrior(0.0, 100.0)})
    >>> parent.add_drawn_variable(factor.prior_model.distance)
    """

    def __init__(
        self,
        samples: Any,
        prior: Any,
        *,
        weights: Any = None,
        log_evidence: float = 0.0,
        num_draws: int = 1024,
        name: str | None = None,
    ) -> None:
        model = _model_of(prior)
        variables = structure_of(model)[1]
        paths = model.paths
        labels = [".".join(paths[variable]) for variable in variables]
        where = f"SamplesFactor({name})" if name else "SamplesFactor"
        theta, given = _draws_of(samples, labels, where)
        weight = _weights_of(weights if weights is not None else given, len(theta), where)
        theta, weight = _thinned(theta, weight, num_draws)
        log_prior = np.stack(
            [_log_prior(variable, theta[:, i], labels[i], where) for i, variable in enumerate(variables)], axis=1
        )
        analysis = SamplesAnalysis(*_padded(theta, weight, log_prior), log_evidence=float(log_evidence))
        super().__init__(model, analysis, name=name)


def _model_of(prior: Any) -> Any:
    if isinstance(prior, type):
        return Model(prior)
    return Collection(**prior) if isinstance(prior, Mapping) else prior


def _draws_of(samples: Any, labels: list[str], where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(S, P) in the order of ``labels``, and weights if the samples have their own."""
    inner = getattr(samples, "samples", samples)
    if hasattr(inner, "parameters") and hasattr(inner, "weights"):
        columns = dict(zip(inner.names, inner.parameters.T, strict=True))
        return _columns(columns, labels, where), np.asarray(inner.weights)
    if isinstance(samples, str | Path):
        table = np.genfromtxt(samples, delimiter=",", names=True, deletechars="", replace_space=" ")
        return _columns({name: table[name] for name in table.dtype.names or ()}, labels, where), None
    if hasattr(samples, "children") and "posterior" in samples.children:  # a DataTree
        samples = samples["posterior"].to_dataset()
    if isinstance(samples, Mapping):
        return _columns({str(key): samples[key] for key in samples}, labels, where), None
    array = np.asarray(samples, dtype=float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != len(labels):
        raise GraphError(
            f"{where}: an array of shape (S, {len(labels)}) is needed, one column for each of {', '.join(labels)}; "
            f"got {np.shape(samples)}."
        )
    return _checked(array, where), None


def _columns(columns: Mapping[str, Any], labels: list[str], where: str) -> np.ndarray:
    found = []
    for label in labels:
        if label not in columns:
            raise GraphError(f"{where}: no draws of {label!r}.{name_hint(label, columns)}")
        found.append(np.asarray(columns[label], dtype=float).reshape(-1))
    if len({len(column) for column in found}) > 1:
        sizes = ", ".join(f"{label} {len(column)}" for label, column in zip(labels, found, strict=True))
        raise GraphError(f"{where}: the variables have different numbers of draws: {sizes}.")
    return _checked(np.stack(found, axis=1), where)


def _checked(theta: np.ndarray, where: str) -> np.ndarray:
    if len(theta) < _FEWEST:
        raise GraphError(f"{where}: {len(theta)} draws are too few to re-weight; give at least {_FEWEST}.")
    bad = int(np.sum(~np.all(np.isfinite(theta), axis=1)))
    if bad:
        raise GraphError(f"{where}: {bad} of {len(theta)} draws are nan or infinite; leave them out.")
    return theta


def _weights_of(weights: Any, num: int, where: str) -> np.ndarray:
    if weights is None:
        return np.full(num, 1.0 / num)
    weight = np.asarray(weights, dtype=float)
    if weight.shape != (num,) or not np.all(weight >= 0.0) or not np.sum(weight) > 0.0:
        raise GraphError(f"{where}: weights must be {num} numbers, none negative and not all zero.")
    return weight / np.sum(weight)


def _thinned(theta: np.ndarray, weight: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``num`` draws, evenly spread over the weight of the chain."""
    if len(theta) <= num:
        return theta, weight
    chosen = np.searchsorted(np.cumsum(weight), (np.arange(num) + 0.5) / num)
    return theta[np.minimum(chosen, len(theta) - 1)], np.full(num, 1.0 / num)


def _log_prior(variable: Any, values: np.ndarray, label: str, where: str) -> np.ndarray:
    family = getattr(variable, "family", None)
    if family is None:
        raise GraphError(f"{where}: {label} has no prior; say which one the draws were made with.")
    log_density = np.broadcast_to(np.asarray(family.log_density(values, *variable.parameters)), values.shape)
    outside = int(np.sum(~np.isfinite(log_density)))
    if outside:
        raise GraphError(
            f"{where}: {outside} of {len(values)} draws of {label} lie where its prior {variable!r} vanishes; give the "
            "prior that the draws were made with."
        )
    return log_density


def _padded(theta: np.ndarray, weight: np.ndarray, log_prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeats of weight zero up to a power of two, so that chains of many lengths make few plates."""
    size = 1 << (len(theta) - 1).bit_length()
    rows = np.minimum(np.arange(size), len(theta) - 1)
    return theta[rows], np.where(np.arange(size) < len(theta), weight[rows], 0.0), log_prior[rows]
