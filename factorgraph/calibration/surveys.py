"""A graph with other data: the same models, parents, sharing and names, and simulated analyses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.enumeration import EnumeratedFactor
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.graph.samples_factor import SamplesFactor
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable

Simulate = Callable[[Any, Any, np.random.Generator], Any]


class Surveys:
    """Simulated surveys like ``graph``'s.

    Parameters
    ----------
    graph
        The graph whose datasets are replaced; it is not changed.
    simulate
        ``simulate(analysis, instance, rng)``, as in `calibrate`.
    caller
        The public function that errors name.
    """

    def __init__(self, graph: FactorGraphModel, simulate: Simulate, caller: str) -> None:
        drawn = [f for f in graph.factors if isinstance(f, SamplesFactor)]
        if drawn:
            raise GraphError(
                f"{caller}: {drawn[0]!r} is made of posterior draws and has no data that could be simulated. Use an "
                "AnalysisFactor with the likelihood that the draws were made with."
            )
        summed = [f for f in graph.factors if isinstance(f, EnumeratedFactor)]
        if summed:
            raise GraphError(
                f"{caller}: {summed[0]!r} reads discrete variables, whose states are not simulated yet. Write the sum "
                "over them into the likelihood, and the choice of a state into your simulate function."
            )
        self.graph = graph
        self.simulate = simulate
        self._caller = caller
        self._recipes = [structure_of(factor.prior_model) for factor in graph.factors]

    def simulated(self, truth: Mapping[Variable, float], rng: np.random.Generator) -> FactorGraphModel:
        """The graph of data simulated at ``truth``, a value for every variable."""
        factors = []
        for factor, name, recipe in zip(self.graph.factors, self.graph.dataset_names, self._recipes, strict=True):
            structure, variables, constants = recipe
            instance = structure.build([truth[v] for v in variables], constants)
            analysis = self._checked(self.simulate(factor.analysis, instance, rng), factor.analysis, name)
            factors.append(
                AnalysisFactor(
                    factor.prior_model, analysis, optimiser=factor.optimiser, name=factor.name, dataset=factor.dataset
                )
            )
        return FactorGraphModel(
            *factors, *self.graph.hierarchical_factors, name=self.graph.name, families=self.graph.terms.families
        )

    def _checked(self, analysis: Any, original: Any, name: str) -> Any:
        if type(analysis) is not type(original):
            wanted = type(original).__name__
            raise GraphError(
                f"{self._caller}: simulate(analysis, instance, rng) returned {type(analysis).__name__} for dataset "
                f"{name!r}; a new {wanted} is needed, which holds simulated data: return {wanted}(...)."
            )
        if analysis is original:
            raise GraphError(
                f"{self._caller}: simulate(analysis, instance, rng) returned the analysis of dataset {name!r} itself; "
                "its data would be overwritten from one simulation to the next. Return a new one, for instance a copy "
                "made with copy.copy(analysis) before its data are set."
            )
        return analysis
