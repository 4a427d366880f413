"""`Contracted`: a graph with its private variables integrated out, for any search."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

from factorgraph.model.collection import Collection
from factorgraph.model.variable import Variable
from factorgraph.propagation.contracted_target import Doubts, Graph, contracted_target
from searches.target import Target

_MOST_NAMES = 5


class Contracted:
    """The posterior of a graph's shared variables alone: a few unknowns, however many datasets there are.

    Each dataset is explored once, when a search first asks; the integrals over its private variables are those that
    ``graph.optimise`` uses, and have the errors that its result reports.

    Examples
    --------
    >>> contracted = graph.contracted
    >>> result = fg.DynestyStatic(nlive=300).fit(model=contracted.global_prior_model, analysis=contracted)
    >>> result.mean_field.mean[parent.sigma]

    Attributes
    ----------
    variables
        The D shared variables.
    left_out
        Names of datasets whose likelihood is finite nowhere; a warning names them too.
    """

    factors: tuple[Any, ...] = ()  # private variables are integrated out, so a result has no child a dataset
    dataset_names: tuple[str, ...] = ()

    def __init__(self, graph: Graph, *, seed: int = 0, optimiser: Any = None) -> None:
        self._graph, self._seed, self._optimiser = graph, seed, optimiser
        self.variables: tuple[Variable, ...] = tuple(s.variable for s in graph.shared)

    @cached_property
    def global_prior_model(self) -> Collection:
        """The shared variables as a model."""
        return Collection(list(self.variables))

    @cached_property
    def _prepared(self) -> tuple[Target, Doubts]:
        target, doubts = contracted_target(self._graph, self._seed, self._optimiser)
        failures = [f"{name} ({why})" for name, why in doubts.search_failures.items()]
        for names, what in (
            (doubts.left_out, "are left out, their likelihood is finite nowhere"),
            (doubts.unreached, "may be wrong, the points of their integrals did not reach the likelihood"),
            (failures, "were explored by importance sampling, the optimiser having failed"),
        ):
            if names:
                more = ", ..." * (len(names) > _MOST_NAMES)
                warnings.warn(f"{len(names)} dataset(s) {what}: {', '.join(names[:_MOST_NAMES])}{more}.", stacklevel=3)
        return target, doubts

    @property
    def target(self) -> Target:
        """Log of the product of the datasets' integrals, over whitened shared variables; see `searches.target`."""
        return self._prepared[0]

    @property
    def left_out(self) -> tuple[str, ...]:
        return self._prepared[1].left_out
