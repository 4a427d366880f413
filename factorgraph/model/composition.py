"""What Model, Collection and Array share: instances, variables, assertions, copies and info."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from factorgraph.errors import ModelError, PriorError
from factorgraph.model.expression import Assertion, Relation
from factorgraph.model.info import info_of
from factorgraph.model.prior import Prior
from factorgraph.model.structure import structure_of
from factorgraph.model.tree import Node, copy_tree, paths_of
from factorgraph.model.variable import Variable
from messages.array_namespace import Array

_MAX_DRAWS = 10_000


class AbstractPriorModel(Node):
    """A tree of unknowns from which instances are made.

    ``vector`` always means one value for each of `variables`, in that order, and may be a JAX array or tracer. An
    instance is made whether or not the assertions hold there; only `random_instance` draws until they do. Searches
    and graphs ask ``structure_of(model)[0].satisfied``.
    """

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The free variables, each once, in depth-first order of first appearance."""
        return structure_of(self)[1]

    @property
    def prior_count(self) -> int:
        """Number of free variables."""
        return len(self.variables)

    @property
    def paths(self) -> dict[Variable, tuple[str, ...]]:
        """Where each variable first appears, such as ``("gaussian", "centre")``."""
        return paths_of(self)

    @property
    def info(self) -> str:
        """A text that shows the whole model; shared variables have one number."""
        return info_of(self)

    def copy(self) -> Self:
        """A model that can be changed apart from this one and shares all its variables."""
        return copy_tree(self, {})

    def add_assertion(self, assertion: Assertion | bool, name: str | None = None) -> None:
        """Demand that ``assertion`` holds for every instance.

        Where a variable in it is later replaced in this model (or in a copy), the assertion follows its path.

        Parameters
        ----------
        assertion
            A comparison of variables, such as ``model.sigma > 5.0``; one of fixed numbers is True or False already.
        name
            Shown where the assertion is reported.

        Raises
        ------
        ModelError
            It is False already, or no comparison.
        """
        if isinstance(assertion, (bool, np.bool_)):
            if not assertion:
                raise ModelError("add_assertion: the values compared are fixed and the assertion is already False.")
            return
        if not isinstance(assertion, Assertion):
            raise ModelError(f"add_assertion: got {assertion!r}; write a comparison, such as model.sigma > 5.0.")
        kept = Assertion(assertion.left, assertion.operator, assertion.right, name or assertion.name)
        paths = self.paths
        mentioned = {variable: paths[variable] for variable in _variables_in(kept) if variable in paths}
        self._assertions = [*self._assertions, (kept, mentioned)]

    @property
    def assertions(self) -> tuple[Assertion, ...]:
        """Assertions added to this very model, not to its parts."""
        return tuple(assertion for assertion, _ in self._assertions)

    def instance_from_vector(self, vector: Array) -> Any:
        """The instance at the values ``vector``, shape ``(prior_count,)``."""
        structure, variables, constants = structure_of(self)
        self._check_length(vector, variables)
        return structure.build(vector, constants)

    def instance_from_unit_vector(self, unit_vector: Array) -> Any:
        """The instance at the prior quantiles ``unit_vector``, shape ``(prior_count,)``, each in [0, 1]."""
        structure, variables, constants = structure_of(self)
        self._check_length(unit_vector, variables)
        priors = self._priors(variables)
        return structure.build([prior.value_for(unit) for prior, unit in zip(priors, unit_vector)], constants)

    def instance_from_prior_medians(self) -> Any:
        """The instance at the median of every prior."""
        return self.instance_from_unit_vector(np.full(self.prior_count, 0.5))

    def random_instance(self, seed: int | np.random.Generator) -> Any:
        """An instance drawn from the priors until the assertions hold; the same seed gives the same one.

        Raises
        ------
        ModelError
            The assertions did not hold in 10,000 draws.
        """
        generator = np.random.default_rng(seed)
        structure, variables, constants = structure_of(self)
        priors = self._priors(variables)
        for _ in range(_MAX_DRAWS):
            values = [prior.random(generator) for prior in priors]
            if structure.satisfied(values, constants):
                return structure.build(values, constants)
        raise ModelError(
            f"random_instance: the assertions {list(self.assertions)} (and those of its parts) held in none of "
            f"{_MAX_DRAWS} draws from the priors. Relax them, or give priors that satisfy them more often."
        )

    def _check_length(self, vector: Array, variables: tuple[Variable, ...]) -> None:
        if np.shape(vector) != (len(variables),):
            names = ", ".join(_dotted(self, variable) for variable in variables)
            raise ModelError(f"got a vector of shape {np.shape(vector)}; the model needs ({len(variables)},): {names}.")

    def _priors(self, variables: tuple[Variable, ...]) -> list[Prior]:
        unset = [_dotted(self, variable) for variable in variables if not isinstance(variable, Prior)]
        if unset:
            raise PriorError(
                f"no prior is set for: {', '.join(unset)}. Assign one, such as fg.UniformPrior(0.0, 1.0), to each."
            )
        return [variable for variable in variables if isinstance(variable, Prior)]


def _dotted(model: AbstractPriorModel, variable: Variable) -> str:
    return ".".join(model.paths.get(variable, (variable.name or repr(variable),)))


def _variables_in(expression: Any) -> list[Variable]:
    """Variables of an assertion or relation."""
    if isinstance(expression, Variable):
        return [expression]
    if isinstance(expression, Assertion):
        return _variables_in(expression.left) + _variables_in(expression.right)
    if isinstance(expression, Relation):
        return [variable for operand in expression.operands for variable in _variables_in(operand)]
    return []
