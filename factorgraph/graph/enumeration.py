"""Discrete variables summed out: a dataset that reads some becomes one whose likelihood is a sum over their states.

Everything beyond this module sees continuous variables only. The model of such a dataset holds one model for each joint
state of its discrete variables, in which they are numbers, and the log probability of each state; continuous variables
are the same objects in all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy.special

from factorgraph.analysis import Analysis, analysis_from, data_of
from factorgraph.errors import GraphError
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.model.collection import Collection
from factorgraph.model.discrete import DiscretePrior
from factorgraph.model.structure import structure_of
from factorgraph.model.substitution import substituted
from factorgraph.model.variable import Variable
from messages.array_namespace import namespace

_MOST_STATES, _MOST_READERS = 64, 8


class EnumeratedAnalysis(Analysis):
    """log of the sum over states of probability times likelihood; of analyses of ``classes`` with attributes
    ``data``."""

    def __init__(self, analyses: Sequence[Any]) -> None:
        super().__init__(use_jax=any(getattr(analysis, "use_jax", False) for analysis in analyses))
        self.classes = tuple(type(analysis) for analysis in analyses)
        self.data = tuple(data_of(analysis) for analysis in analyses)

    def log_weights(self, instance: Any) -> Any:
        """(S,) log of probability times likelihood of each state, nats."""
        analyses = [analysis_from(cls, data) for cls, data in zip(self.classes, self.data, strict=True)]
        weights = []
        for log_probability, models in zip(instance.log_probability, instance.states, strict=True):
            total = log_probability
            for analysis, model in zip(analyses, models, strict=True):
                total = total + analysis.log_likelihood_function(model)
            weights.append(total)
        return namespace(*weights).stack(weights)

    def log_likelihood_function(self, instance: Any) -> Any:
        weights = self.log_weights(instance)
        special: Any = scipy.special if namespace(weights) is np else jax.nn
        return special.logsumexp(weights)


class Together(Analysis):
    """Several analyses, each of its own part of the instance."""

    def __init__(self, analyses: Sequence[Any]) -> None:
        super().__init__()
        self.analyses = tuple(analyses)

    def log_likelihood_function(self, instance: Any) -> Any:
        return sum(
            analysis.log_likelihood_function(part) for analysis, part in zip(self.analyses, instance, strict=True)
        )


class EnumeratedFactor(AnalysisFactor):
    """The datasets ``originals`` as one, summed over the joint ``states`` (S, n) of the variables ``discrete``."""

    def __init__(
        self, originals: Sequence[AnalysisFactor], names: Sequence[str], discrete: Mapping[Variable, DiscretePrior]
    ) -> None:
        self.originals, self.discrete = tuple(originals), tuple(discrete)
        states = list(itertools.product(*(range(len(prior.probabilities)) for prior in discrete.values())))
        self.states = np.array(states)
        tables = [prior.log_probabilities() for prior in discrete.values()]
        first = originals[0]
        super().__init__(
            Collection(
                states=[[self.model_at(state, k) for k in range(len(originals))] for state in states],
                log_probability=[_sum_of([table[k] for table, k in zip(tables, s, strict=True)]) for s in states],
            ),
            EnumeratedAnalysis([factor.analysis for factor in originals]),
            optimiser=first.optimiser,
            name=first.name if len(originals) == 1 else "+".join(names),
            dataset=first.dataset if len(originals) == 1 else None,
        )

    def at(self, state: Sequence[int]) -> AnalysisFactor:
        """The dataset with its discrete variables in one ``state`` (n,); a collection where it was several."""
        models = [self.model_at(state, k) for k in range(len(self.originals))]
        if len(models) == 1:
            return AnalysisFactor(models[0], self.originals[0].analysis, name=self.name)
        return AnalysisFactor(Collection(models), Together([f.analysis for f in self.originals]), name=self.name)

    def model_at(self, state: Sequence[int], number: int) -> Any:
        """The model of one of the ``originals``, with its discrete variables in one ``state`` (n,)."""
        values = {v: int(k) for v, k in zip(self.discrete, state, strict=True)}
        return substituted(self.originals[number].prior_model, values)


def enumerated(
    factors: Sequence[AnalysisFactor], names: Sequence[str], parents: Sequence[HierarchicalFactor]
) -> tuple[AnalysisFactor, ...]:
    """The factors, those that read discrete variables replaced; readers of one discrete variable become one dataset.

    Raises
    ------
    GraphError
        More than 8 datasets hang together by discrete variables, or they have more than 64 joint states; or a parent's
        parameter depends on a discrete variable.
    """
    drawn = {v: parent.discrete for parent in parents if parent.discrete is not None for v in parent.drawn_variables}
    for parent in parents:
        for variable in structure_of(parent.named_parameters)[1]:
            if variable in drawn or isinstance(variable, DiscretePrior):
                raise GraphError(
                    f"{parent!r}: its parameters depend on the discrete variable {variable!r}, and only what a "
                    "likelihood reads can be summed over. A population of several kinds is fg.GaussianMixturePrior; "
                    "a choice between two values can be made in the likelihood."
                )
    read = [_discrete_in(factor, drawn) for factor in factors]
    found: list[AnalysisFactor] = []
    for rows in _connected(read):
        discrete = {v: prior for row in rows for v, prior in read[row].items()}
        if not discrete:
            found.append(factors[rows[0]])
            continue
        members, titles = [factors[row] for row in rows], [names[row] for row in rows]
        _check_size(titles, list(discrete.values()))
        found.append(EnumeratedFactor(members, titles, discrete))
    return tuple(found)


def _discrete_in(factor: AnalysisFactor, drawn: Mapping[Variable, DiscretePrior]) -> dict[Variable, DiscretePrior]:
    found: dict[Variable, DiscretePrior] = {}
    for variable in factor.variables:
        if variable in drawn:
            found[variable] = drawn[variable]
        elif isinstance(variable, DiscretePrior):
            found[variable] = variable
    return found


def _connected(read: Sequence[Iterable[Variable]]) -> list[list[int]]:
    """Rows that share variables, directly or by way of others; in order of their first rows."""
    group = list(range(len(read)))
    first: dict[Variable, int] = {}

    def root(row: int) -> int:
        while group[row] != row:
            row = group[row]
        return row

    for row, variables in enumerate(read):
        for variable in variables:
            a, b = sorted((root(first.setdefault(variable, row)), root(row)))
            group[b] = a
    found: dict[int, list[int]] = {}
    for row in range(len(read)):
        found.setdefault(root(row), []).append(row)
    return list(found.values())


def _check_size(names: Sequence[str], priors: Sequence[Any]) -> None:
    num_states = int(np.prod([len(prior.probabilities) for prior in priors]))
    if len(names) > _MOST_READERS:
        raise GraphError(
            f"{len(names)} datasets ({', '.join(names[:3])}, ...) read the same discrete variables, which are summed "
            f"over together; at most {_MOST_READERS} can. Let each dataset have a discrete variable of its own, drawn "
            "from a parent."
        )
    if num_states > _MOST_STATES:
        raise GraphError(
            f"{names[0]}: its {len(priors)} discrete variables have {num_states} joint states, each of which costs a "
            f"likelihood call; at most {_MOST_STATES} can be summed over. Use fewer of them in one dataset, or "
            "write the sum into the likelihood where it factorises."
        )


def _sum_of(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
