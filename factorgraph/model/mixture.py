"""Mixture distributions, and the weights of their components as unknowns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from factorgraph.errors import PriorError
from factorgraph.model import family as families
from factorgraph.model.expression import Expression, is_number
from factorgraph.model.prior import REQUIRED, BetaPrior, Prior
from factorgraph.model.variable import Variable


class DirichletPrior:
    """Weights that sum to one, with density proportional to the product of weight_k^(concentration_k - 1).

    Not a variable itself but a sequence of K relations: the fractions of what the earlier weights leave are its
    unknowns, independent and beta distributed (Connor & Mosimann 1969, JASA 64:194).

    Raises
    ------
    PriorError
        Fewer than two concentrations, or one that is no positive number.
    """

    def __init__(self, concentration: Sequence[float]) -> None:
        given = tuple(concentration)
        if len(given) < 2 or not all(is_number(value) and value > 0.0 for value in given):
            raise PriorError(
                f"DirichletPrior: concentration = {given!r}; at least two numbers greater than 0 are needed."
            )
        self.concentration = tuple(float(value) for value in given)
        self.fractions = tuple(BetaPrior(value, sum(given[k + 1 :])) for k, value in enumerate(given[:-1]))
        self.weights = _weights_of(self.fractions)

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[Expression]:
        return iter(self.weights)

    def __getitem__(self, index: int) -> Expression:
        return self.weights[index]

    def __repr__(self) -> str:
        return f"DirichletPrior({list(self.concentration)})"


def _weights_of(fractions: Sequence[Expression]) -> tuple[Expression, ...]:
    weights: list[Any] = [fractions[0]]
    left: Any = 1.0 - fractions[0]
    for fraction in fractions[1:]:
        weights.append(left * fraction)
        left = left * (1.0 - fraction)
    return (*weights, left)


class GaussianMixturePrior(Prior):
    """A sum of K normal densities; as the distribution of a `HierarchicalFactor`, a population of K kinds.

    Parameters
    ----------
    weight
        K numbers that sum to one, priors or relations, or a `DirichletPrior`; taken relative to their sum.
    mean, sigma
        K numbers each; in a population, priors or relations too. Components are told apart by their priors only: give
        them priors that differ, or an order by an assertion, or every component's posterior is that of all.

    Examples
    --------
    >>> parent = fg.HierarchicalFactor(
    ...     fg.GaussianMixturePrior,
    ...     weight=fg.DirichletPrior([9.0, 1.0]),
    ...     mean=(centre, centre),
    ...     sigma=(scatter, 30.0),
    ... )
    """

    arguments: ClassVar = {"weight": REQUIRED, "mean": REQUIRED, "sigma": REQUIRED}

    def __init__(
        self, weight: Sequence[float], mean: Sequence[float], sigma: Sequence[float], *, name: str | None = None
    ) -> None:
        Variable.__init__(self, name)
        given: dict[str, Any] = {"weight": tuple(weight), "mean": tuple(mean), "sigma": tuple(sigma)}
        self.family, self.parameters = self.family_of(**given)
        if any(isinstance(value, Expression) for value in self.parameters):
            raise PriorError(
                "GaussianMixturePrior: a parameter is unknown. A prior whose parameters are unknown is a "
                "HierarchicalFactor."
            )
        self._arguments = given

    @classmethod
    def family_of(cls, **parameters: Any) -> tuple[families.Family, tuple[Any, ...]]:
        given = {name: _sequence(name, value) for name, value in cls._bind(parameters).items()}
        num = len(given["mean"])
        if num < 2 or len({len(value) for value in given.values()}) > 1:
            counts = ", ".join(f"{len(value)} of {name}" for name, value in given.items())
            raise PriorError(f"GaussianMixturePrior: got {counts}; as many of each are needed, and at least two.")
        family, values = families.GaussianMixture(num), (*given["weight"], *given["mean"], *given["sigma"])
        for name, value in zip(family.parameter_names, values, strict=True):
            if is_number(value) and name in family.positive_parameters and not value > 0.0:
                raise PriorError(f"GaussianMixturePrior: {name} = {value!r}; it must be greater than 0.")
        if not any(isinstance(value, Expression) for value in values):
            family.check(*values)
        return family, values


def _sequence(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, DirichletPrior):
        return value.weights
    if isinstance(value, (str, Expression)) or not isinstance(value, Sequence):
        raise PriorError(
            f"GaussianMixturePrior: {name} = {value!r}; a sequence is needed, one entry for each component."
        )
    for entry in value:
        if not isinstance(entry, Expression) and not is_number(entry):
            raise PriorError(f"GaussianMixturePrior: {name} has {entry!r}; numbers, priors or relations do.")
    return tuple(value)
