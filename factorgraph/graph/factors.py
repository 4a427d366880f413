"""What a user joins: one `AnalysisFactor` a dataset, one `HierarchicalFactor` a population."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from factorgraph.errors import GraphError, UnknownArgument
from factorgraph.model.collection import Collection
from factorgraph.model.discrete import DiscretePrior
from factorgraph.model.family import Family, Gaussian
from factorgraph.model.mixture import DirichletPrior
from factorgraph.model.model import Model
from factorgraph.model.multivariate import MultivariateNormalPrior
from factorgraph.model.prior import Prior
from factorgraph.model.structure import structure_of
from factorgraph.model.tree import paths_of
from factorgraph.model.variable import Variable


class AnalysisFactor:
    """A dataset's likelihood as a factor of the graph: log L(instance of ``prior_model``), nats.

    Parameters
    ----------
    prior_model
        A `Model`, a `Collection`, or a class (made a `Model`).
    analysis
        An object with ``log_likelihood_function(instance)``; usually a subclass of `Analysis`.
    optimiser
        How this factor's private variables are explored when the graph is solved by expectation propagation; the
        graph's choice if not given.
    name
        The dataset's name in results and pictures.
    dataset
        Factors that name the same dataset (an image and a spectrum of one galaxy) are one dataset: their private
        variables are integrated together.
    """

    def __init__(
        self,
        prior_model: Any,
        analysis: Any,
        *,
        optimiser: Any = None,
        name: str | None = None,
        dataset: str | None = None,
    ) -> None:
        if isinstance(prior_model, type):
            prior_model = Model(prior_model)
        if not isinstance(prior_model, (Model, Collection)):
            raise GraphError(
                f"AnalysisFactor(prior_model=...): got {type(prior_model).__name__}, a Model, a Collection or a "
                "class is needed: "
                "wrap the class whose instances the likelihood reads in fg.Model(...)."
            )
        if isinstance(analysis, type) or not callable(getattr(analysis, "log_likelihood_function", None)):
            raise GraphError(
                f"AnalysisFactor(analysis=...): {analysis!r} has no method log_likelihood_function(instance); "
                "pass an instance of "
                "a class that defines it."
            )
        self.prior_model = prior_model
        self.analysis = analysis
        self.optimiser = optimiser
        self.name = name
        self.dataset = dataset

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The unknowns of its model, in depth-first order."""
        return structure_of(self.prior_model)[1]

    @property
    def paths(self) -> dict[Variable, tuple[str, ...]]:
        """The first path of each unknown in its model."""
        return paths_of(self.prior_model)

    def __repr__(self) -> str:
        return f"AnalysisFactor({self.name or type(self.analysis).__name__})"


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """How one variable is drawn.

    Attributes
    ----------
    family, parameters
        Of its distribution; numbers, variables and relations.
    template
        What the parameters of like draws were made from; the parameters themselves where they were written as such.
    reads
        The unknowns in the parameters, in depth-first order; None where nobody has looked.
    """

    family: Family
    parameters: tuple[Any, ...]
    template: Any = None
    reads: tuple[Variable, ...] | None = None


class HierarchicalFactor:
    """A population: every drawn variable x_i is distributed as ``distribution(**parameters)``.

    The parent is the prior of what is drawn from it; a prior that the drawn variable had before is replaced, not
    multiplied.

    Parameters
    ----------
    distribution
        A prior class, such as `GaussianPrior`, `TruncatedGaussianPrior`, `StudentTPrior` or `GammaPrior`; or
        `MultivariateNormalPrior`, from which several variables of a dataset are drawn together; or `BernoulliPrior`
        or `CategoricalPrior`, from which discrete variables are.
    name
        The population's name in results and pictures.
    **parameters
        The distribution's arguments: numbers, priors (unknown), or relations between priors.

    Examples
    --------
    >>> parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.UniformPrior(0.0,
    30.0)) >>> parent.add_drawn_variable(model.centre)
    >>> parent.mean, parent.sigma  # the priors, by name, to look up results
    """

    def __init__(
        self,
        distribution: type[Prior] | type[MultivariateNormalPrior] | type[DiscretePrior],
        *,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        allowed = (Prior, MultivariateNormalPrior, DiscretePrior)
        if not (isinstance(distribution, type) and issubclass(distribution, allowed)):
            raise GraphError(
                f"HierarchicalFactor({distribution!r}): the first argument is a prior class such as fg.GaussianPrior, "
                "its parameters follow as keywords."
            )
        self.distribution = distribution
        self.name = name
        self.joint: MultivariateNormalPrior | None = None
        self.discrete: DiscretePrior | None = None
        self.family: Family
        self.parameters: tuple[Any, ...]
        if issubclass(distribution, DiscretePrior):
            self.discrete = _made(distribution, parameters)
            self.family = Gaussian()
            self.arguments = dict(parameters)
            self.parameters = tuple(self.named_parameters.values())
        elif issubclass(distribution, MultivariateNormalPrior):
            self.joint = _made(distribution, parameters)
            self.family = Gaussian()
            self.parameters = (self.joint.named,)
            self.arguments = self.joint.arguments
        else:
            self.family, self.parameters = distribution.family_of(**parameters)
            self.arguments = dict(parameters)
        self._drawn: dict[Variable, Drawn] = {}
        self._written: HierarchicalFactor | None = None

    @property
    def drawn_variables(self) -> tuple[Variable, ...]:
        """The variables drawn from this parent, in the order they were added."""
        return tuple(self._drawn)

    @property
    def named_parameters(self) -> dict[str, Any]:
        """The parameters as a tree, under the names they are reported by."""
        if self.joint is not None:
            return self.joint.named
        return {name: _named(value) for name, value in self.arguments.items()}

    @property
    def draws(self) -> Mapping[Variable, Drawn]:
        """How each variable is drawn; none where they are discrete."""
        return {} if self.discrete is not None else self._drawn

    def over(self, variable: Variable | Sequence[Variable]) -> Self:
        """This parent, from which ``variable`` of every dataset of a `Plate` is drawn from now on; see
        `add_drawn_variable`."""
        self.add_drawn_variable(variable)
        return self

    @property
    def drawn(self) -> Mapping[Variable, Drawn]:
        """How each variable is drawn, discrete ones too."""
        return self._drawn

    @property
    def written(self) -> HierarchicalFactor:
        """The parent that the user wrote down, of which this one may draw a part."""
        return self if self._written is None else self._written

    def drawing(self, drawn: Mapping[Variable, Drawn]) -> HierarchicalFactor:
        """The same parent with other drawn variables."""
        twin = copy.copy(self)
        twin._drawn, twin._written = dict(drawn), self.written
        return twin

    def add_drawn_variable(self, variable: Variable | Sequence[Variable]) -> None:
        """Declare that ``variable`` is drawn from this parent, which becomes its prior; of a multivariate parent, that
        a sequence of variables of one dataset is."""
        if self.joint is None:
            self._check_drawable(variable)
            self._drawn[variable] = Drawn(self.family, self.parameters)  # type: ignore[index]
            return
        if isinstance(variable, Variable) or not isinstance(variable, Sequence):
            raise GraphError(
                f"add_drawn_variable({variable!r}): {self.joint.dimension} variables are drawn together from this "
                "parent; pass them as a tuple, such as (model.slope, model.intercept)."
            )
        if len(variable) != self.joint.dimension or len(set(map(id, variable))) < len(variable):
            raise GraphError(
                f"add_drawn_variable: got {len(variable)} variables, {len(set(map(id, variable)))} of them different; "
                f"this parent has {self.joint.dimension} means and scales, so {self.joint.dimension} different "
                "variables are drawn together."
            )
        for each in variable:
            self._check_drawable(each)
        for each, conditional in zip(variable, self.joint.conditionals(variable), strict=True):
            self._drawn[each] = Drawn(*conditional)

    def _check_drawable(self, variable: Any) -> None:
        if not isinstance(variable, Variable):
            raise GraphError(
                f"add_drawn_variable({variable!r}): a variable of a model is needed, such as model.centre; "
                "a fixed value or a relation cannot be drawn."
            )
        if variable in self._drawn:
            raise GraphError(f"add_drawn_variable({variable!r}): it has been drawn from this parent already.")

    def __getattr__(self, name: str) -> Any:
        arguments = self.__dict__.get("arguments", {})
        if name in arguments:
            return arguments[name]
        close = difflib.get_close_matches(name, arguments, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; its parameters are {sorted(arguments)}"
        raise AttributeError(f"HierarchicalFactor has no attribute {name!r}{hint}")

    def __repr__(self) -> str:
        return f"HierarchicalFactor({self.name or self.distribution.__name__}, drawn={len(self._drawn)})"


def _named(argument: Any) -> Any:
    """The unknowns of a parameter as a tree: of weights that sum to one, the fractions that they are made of."""
    if isinstance(argument, DirichletPrior):
        return argument.fractions[0] if len(argument) == 2 else {"fraction": argument.fractions}
    return argument


def _made(distribution: type[Any], parameters: dict[str, Any]) -> Any:
    """``distribution(**parameters)``.

    Raises
    ------
    UnknownArgument
        A name that it does not have, or one that is missing.
    """
    try:
        inspect.signature(distribution).bind(**parameters)
    except TypeError as error:
        raise UnknownArgument(
            f"HierarchicalFactor({distribution.__name__}, ...): {error}. "
            f"Signature: {distribution.__name__}{inspect.signature(distribution)}"
        ) from None
    return distribution(**parameters)
