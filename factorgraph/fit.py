"""The searches as a user meets them: ``search.fit(model=..., analysis=...)``, one search over all unknowns of a graph.

Each is a thin front of its namesake in `searches`, from which it takes its settings; nothing is written to disk.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from factorgraph.contracted import Contracted
from factorgraph.errors import GraphError
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.graph.global_target import global_variables, target_of
from factorgraph.results.search_result import SearchResult
from searches.laplace import Laplace as _Laplace
from searches.nested_dynesty import DynestyDynamic as _DynestyDynamic
from searches.nested_dynesty import DynestyStatic as _DynestyStatic
from searches.nested_ultranest import UltraNest as _UltraNest
from searches.nuts import NUTS as _NUTS
from searches.samples import Samples
from searches.search import Search
from searches.smc import SMC as _SMC
from searches.status import Status
from searches.target import Target

_IMPROPER = "a prior is flat and improper, so the evidence is not defined"
_NO_EVIDENCE = "this search gives none; SMC and nested sampling do"


class GlobalSearch:
    """What all fronts have in common.

    Parameters
    ----------
    name, path_prefix, unique_tag
        Labels of this fit, kept as attributes.
    **settings
        Of the search itself, ``searches.<name of the class>``.

    Raises
    ------
    searches.errors.SettingError
        A setting that the search does not have; the message names the nearest.
    """

    search_class: ClassVar[type[Search]]
    gives_evidence: ClassVar[bool] = True

    def __init__(
        self, *, name: str | None = None, path_prefix: str | None = None, unique_tag: str | None = None, **settings: Any
    ) -> None:
        self.name = name
        self.path_prefix = path_prefix
        self.unique_tag = unique_tag
        self.search = self.search_class(**settings)

    def fit(self, model: Any, analysis: Any, *, seed: int = 0, info: Mapping[str, Any] | None = None) -> SearchResult:
        """Explore the posterior of all unknowns of ``model`` given the data of ``analysis``.

        Parameters
        ----------
        model
            ``graph.global_prior_model`` of a `FactorGraphModel`; or the `Model` or `Collection` of a single `Analysis`.
        analysis
            The graph, the single analysis, or ``graph.contracted`` (its model is its own ``global_prior_model``).
        seed
            The same seed gives the same result.
        info
            Shown by ``result.info``.

        Raises
        ------
        GraphError
            ``analysis`` is a graph and ``model`` is not its ``global_prior_model``.
        searches.errors.TargetError
            The search cannot take this graph: an improper prior, a likelihood that JAX cannot trace; the mend is named.
        """
        graph = _graph_of(model, analysis)
        start = time.perf_counter()
        target = graph.target if isinstance(graph, Contracted) else target_of(graph)
        samples = self.explore(target, seed=seed)
        factors = zip(graph.factors, graph.dataset_names, strict=True)
        result = SearchResult(
            model if graph is not analysis else graph.global_prior_model,
            samples,
            graph.variables if isinstance(graph, Contracted) else global_variables(graph),
            name=self.name or type(self).__name__,
            note=_IMPROPER if not target.proper_prior else "" if self.gives_evidence else _NO_EVIDENCE,
            seconds=time.perf_counter() - start,
            seed=seed,
            user_info=info,
            datasets=[(factor.prior_model, name) for factor, name in factors],
            factors=graph.factors,
            is_jax=target.is_jax,
        )
        if result.status != Status.ok:
            warnings.warn(f"{result.name}: {result.status.message}. See result.info.", stacklevel=2)
        return result

    def explore(self, target: Target, *, seed: int) -> Samples:
        """Run the search on a target; `fit` builds that of a whole graph."""
        return self.search.run(target, seed=seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.search!r})"


class DynestyStatic(GlobalSearch):
    """Nested sampling by dynesty with a fixed number of live points; settings: `searches.DynestyStatic`."""

    search_class = _DynestyStatic


class DynestyDynamic(GlobalSearch):
    """Nested sampling by dynesty that adds live points where they help; settings: `searches.DynestyDynamic`."""

    search_class = _DynestyDynamic


class UltraNest(GlobalSearch):
    """Nested sampling by UltraNest; settings: `searches.UltraNest`."""

    search_class = _UltraNest


class SMC(GlobalSearch):
    """Tempered sequential Monte Carlo, of likelihoods that JAX can trace; settings: `searches.SMC`."""

    search_class = _SMC


class NUTS(GlobalSearch):
    """Hamiltonian chains, of likelihoods that JAX can trace; settings: `searches.NUTS`. Needs BlackJAX."""

    search_class = _NUTS
    gives_evidence = False


class Laplace(GlobalSearch):
    """Mode and curvature, importance-weighted; settings: `searches.Laplace`.

    In a hierarchical graph the mode over all private variables and their scatter together may lie far from where the
    posterior has its mass; k-hat then says so, and ``graph.optimise()``, `SMC` or a nested search is the mend.
    """

    search_class = _Laplace


class LaplaceOptimiser(Laplace):
    """`Laplace` as the ``optimiser`` of a factor or of ``graph.optimise``."""


def _graph_of(model: Any, analysis: Any) -> FactorGraphModel | Contracted:
    if not isinstance(analysis, FactorGraphModel | Contracted):
        return FactorGraphModel(AnalysisFactor(model, analysis))
    if model is not analysis.global_prior_model:
        raise GraphError(
            "fit(model=..., analysis=graph): the model of a graph is its global_prior_model, "
            f"got {type(model).__name__}. Pass model=graph.global_prior_model; to change a dataset's model, change it "
            "before its AnalysisFactor is made."
        )
    return analysis
