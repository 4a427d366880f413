"""Discrete variables: an outlier indicator, the kind of an object. They are summed over, never sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from factorgraph.errors import PriorError
from factorgraph.model.expression import Expression, is_number
from factorgraph.model.mixture import DirichletPrior
from factorgraph.model.relation import Log, Log1p
from factorgraph.model.variable import Variable


class DiscretePrior(Variable):
    """A variable with the states 0, 1, ..., K - 1; use one of the subclasses.

    The likelihood reads a state as an int. Every state is tried and weighted by its probability, so that inference is
    exact in the discrete variables; ``result.probabilities[variable]`` are those of the states given the data.
    """

    probabilities: tuple[Any, ...]

    def log_probabilities(self) -> tuple[Any, ...]:
        """Of every state, nats: numbers or relations."""
        return tuple(_log(probability) for probability in self.probabilities)


class BernoulliPrior(DiscretePrior):
    """1 with ``probability``, otherwise 0.

    Parameters
    ----------
    probability
        A number in [0, 1], or an unknown: a prior or a relation.

    Raises
    ------
    PriorError
        No number, nor an unknown; or a number outside [0, 1].
    """

    def __init__(self, probability: Any, *, name: str | None = None) -> None:
        super().__init__(name)
        _check("BernoulliPrior", "probability", probability)
        self.probability = probability
        self.probabilities = (1.0 - probability, probability)

    def log_probabilities(self) -> tuple[Any, ...]:
        if isinstance(self.probability, Expression):
            return Log1p(-self.probability), Log(self.probability)
        return tuple(_log(probability) for probability in self.probabilities)

    def __repr__(self) -> str:
        return f"BernoulliPrior({self.probability!r})"


class CategoricalPrior(DiscretePrior):
    """State k with ``probabilities[k]``.

    Parameters
    ----------
    probabilities
        K numbers that sum to one, unknowns that do (nothing checks that), or a `DirichletPrior`.

    Raises
    ------
    PriorError
        Fewer than two states, a number outside [0, 1], or numbers that do not sum to one.
    """

    def __init__(self, probabilities: Sequence[Any] | DirichletPrior, *, name: str | None = None) -> None:
        super().__init__(name)
        given = tuple(probabilities)
        if len(given) < 2:
            raise PriorError(f"CategoricalPrior: probabilities = {given!r}; at least two states are needed.")
        for value in given:
            _check("CategoricalPrior", "a probability", value)
        if all(is_number(value) for value in given) and abs(sum(given) - 1.0) > 1e-9:
            raise PriorError(f"CategoricalPrior: probabilities = {given!r} sum to {sum(given)!r}; they must sum to 1.")
        self.probabilities = given

    def __repr__(self) -> str:
        return f"CategoricalPrior({list(self.probabilities)!r})"


def _check(owner: str, name: str, value: Any) -> None:
    if isinstance(value, DiscretePrior):
        raise PriorError(f"{owner}: {name} = {value!r} is discrete; a probability is a number or a continuous unknown.")
    if not isinstance(value, Expression) and not (is_number(value) and 0.0 <= value <= 1.0):
        raise PriorError(f"{owner}: {name} = {value!r}; it must be a number in [0, 1], a prior or a relation.")


def _log(probability: Any) -> Any:
    if isinstance(probability, Expression):
        return Log(probability)
    return math.log(probability) if probability > 0.0 else -math.inf
