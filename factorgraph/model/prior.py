"""Variables that carry a distribution of their own.

Every prior takes its arguments by position or by keyword, and ``name=``. A prior is a `Variable`: sharing the object
shares the unknown; two priors with equal limits are two unknowns.
"""

from __future__ import annotations

import copy
import inspect
import math
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from factorgraph.errors import PriorError, UnknownArgument, name_hint
from factorgraph.model import family as families
from factorgraph.model.expression import Expression, is_number
from factorgraph.model.variable import Variable
from messages.array_namespace import Array

REQUIRED = inspect.Parameter.empty


class Prior(Variable):
    """An unknown with a distribution; use one of the subclasses.

    Each constructor argument is a read-only attribute of the instance (``prior.lower_limit``).

    Attributes
    ----------
    family : Family
        The distribution, without its numbers.
    parameters : tuple of float
        The numbers, in the order of ``family.parameter_names``.
    is_default : bool
        Whether it was declared by the class of a model, not chosen by the user.

    Raises
    ------
    UnknownArgument
        An argument that the prior does not have, or one that is missing.
    PriorError
        Numbers that define no distribution: limits swapped, a scale that is not positive, nan.
    """

    arguments: ClassVar[dict[str, Any]] = {}  # name -> default, or REQUIRED
    is_default = False
    printed: ClassVar[tuple[str, ...] | None] = None  # arguments shown by `info`; None: all
    distribution: ClassVar[families.Family | None] = (
        None  # its parameters are the arguments, where `_family` is not overridden
    )

    def __init_subclass__(cls) -> None:
        parameters = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in cls.arguments.items()
        ]
        parameters.append(inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default=None))
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        for argument in cls.arguments:
            setattr(cls, argument, property(_reader(argument)))

    def __init__(self, *args: float, name: str | None = None, **kwargs: float):
        super().__init__(name)
        if len(args) > len(self.arguments):
            raise UnknownArgument(
                f"{type(self).__name__}: got {len(args)} positional arguments; it has {len(self.arguments)}: "
                f"{', '.join(self.arguments)}."
            )
        positional = dict(zip(self.arguments, args))
        if twice := positional.keys() & kwargs.keys():
            raise UnknownArgument(
                f"{type(self).__name__}: {', '.join(sorted(twice))} was given by position and by keyword."
            )
        given = self._bind({**positional, **kwargs})
        for argument, value in given.items():
            if not is_number(value) or np.ndim(value):
                raise PriorError(f"{type(self).__name__}: {argument} = {value!r}; it must be a number.{_mend(value)}")
        self._arguments = {argument: float(value) for argument, value in given.items()}
        self.family, self.parameters = self._family(**self._arguments)
        self.family.check(*self.parameters)

    @classmethod
    def family_of(cls, **parameters: Any) -> tuple[families.Family, tuple[Any, ...]]:
        """The family with parameters that may be unknowns, in the family's order; defaults are filled in.

        Raises
        ------
        UnknownArgument
            A name that the prior does not have, or one that is missing.
        PriorError
            A parameter that is neither a number nor an unknown; all are numbers and define no distribution.
        """
        given = cls._bind(parameters)
        for name, value in given.items():
            if not isinstance(value, Expression) and not is_number(value):
                raise PriorError(f"{cls.__name__}: {name} = {value!r}; it must be a number, a prior or a relation.")
        family, values = cls._family(**given)
        if not any(isinstance(value, Expression) or np.ndim(value) for value in values):
            family.check(*values)
        return family, values

    @classmethod
    def _bind(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in cls.arguments:
                raise UnknownArgument(
                    f"{cls.__name__} has no argument {name!r}.{name_hint(name, [*cls.arguments, 'name'])}"
                )
        bound = {**cls.arguments, **given}
        if missing := [name for name, value in bound.items() if value is REQUIRED]:
            raise UnknownArgument(
                f"{cls.__name__}: missing {', '.join(missing)}. Signature: {cls.__name__}{inspect.signature(cls)}"
            )
        return bound

    @classmethod
    def _family(cls, **arguments: Any) -> tuple[families.Family, tuple[Any, ...]]:
        if cls.distribution is None:
            raise PriorError(f"{cls.__name__} is no distribution; use one of its subclasses, such as UniformPrior.")
        return cls.distribution, tuple(arguments.values())

    def renewed(self, name: str | None = None, *, is_default: bool = False) -> Prior:
        """A new unknown with the same distribution; ``is_default`` as in the class's attributes."""
        twin = copy.copy(self)
        twin.token = uuid.uuid4().hex
        twin.name = name if name is not None else self.name
        twin.is_default = is_default
        return twin

    def log_density(self, value: Array) -> Array:
        """Normalised log density at ``value`` (any shape), nats."""
        return self.family.log_density(value, *self.parameters)

    def value_for(self, unit: Array) -> Array:
        """The value below which a fraction ``unit`` (in [0, 1], any shape) of the probability lies."""
        return self.family.quantile(unit, *self.parameters)

    @property
    def median(self) -> float:
        return float(self.value_for(0.5))

    def random(self, seed: int | np.random.Generator) -> float:
        """One draw; the same seed gives the same draw."""
        return float(self.value_for(np.random.default_rng(seed).uniform()))

    def __repr__(self) -> str:
        named = {**self._arguments, **({"name": self.name} if self.name else {})}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in named.items())})"


def _reader(argument: str) -> Callable[[Prior], float]:
    return lambda prior: prior._arguments[argument]


def _mend(value: Any) -> str:
    if isinstance(value, Expression):
        return " A prior whose parameters are unknown is a HierarchicalFactor."
    return ""


def _is_limit(value: Any, absent: float) -> bool:
    return isinstance(value, Expression) or bool(np.ndim(value)) or value != absent


class UniformPrior(Prior):
    """Constant density between ``lower_limit`` and ``upper_limit``."""

    arguments: ClassVar = {"lower_limit": REQUIRED, "upper_limit": REQUIRED}
    distribution: ClassVar = families.Uniform()


class LogUniformPrior(Prior):
    """Constant density of the logarithm between two positive limits."""

    arguments: ClassVar = {"lower_limit": REQUIRED, "upper_limit": REQUIRED}
    distribution: ClassVar = families.LogUniform()


class TruncatedGaussianPrior(Prior):
    """N(mean, sigma) between limits, normalised there; ``sigma`` is the standard deviation before truncation."""

    arguments: ClassVar = {"mean": REQUIRED, "sigma": REQUIRED, "lower_limit": -math.inf, "upper_limit": math.inf}

    @classmethod
    def _family(cls, **arguments: Any) -> tuple[families.Family, tuple[Any, ...]]:
        values = tuple(arguments.values())
        has_lower, has_upper = _is_limit(values[2], -math.inf), _is_limit(values[3], math.inf)
        if has_lower or has_upper:
            return families.TruncatedGaussian(has_lower, has_upper), values
        return families.Gaussian(), values[:2]


class GaussianPrior(TruncatedGaussianPrior):
    """N(mean, sigma) with optional limits, ``sigma`` a standard deviation; with a finite limit a truncated Gaussian."""

    printed: ClassVar = ("mean", "sigma")


class LogGaussianPrior(Prior):
    """log(value) ~ N(mean, sigma): both are those of the natural logarithm."""

    arguments: ClassVar = {"mean": REQUIRED, "sigma": REQUIRED}
    distribution: ClassVar = families.LogGaussian()


class HalfNormalPrior(Prior):
    """``|N(0, scale)|``."""

    arguments: ClassVar = {"scale": REQUIRED}
    distribution: ClassVar = families.HalfNormal()


class HalfCauchyPrior(Prior):
    """``|Cauchy(0, scale)|``; ``scale`` is the median."""

    arguments: ClassVar = {"scale": REQUIRED}
    distribution: ClassVar = families.HalfCauchy()


class CauchyPrior(Prior):
    """Cauchy with median ``loc`` and half width at half maximum ``scale``."""

    arguments: ClassVar = {"loc": REQUIRED, "scale": REQUIRED}
    distribution: ClassVar = families.Cauchy()


class StudentTPrior(Prior):
    """loc + scale * t with ``df`` degrees of freedom; ``scale`` is no standard deviation."""

    arguments: ClassVar = {"df": REQUIRED, "loc": REQUIRED, "scale": REQUIRED}
    distribution: ClassVar = families.StudentT()


class GammaPrior(Prior):
    """Gamma with mean ``shape * scale`` (``scale`` is one over the rate)."""

    arguments: ClassVar = {"shape": REQUIRED, "scale": REQUIRED}
    distribution: ClassVar = families.Gamma()


class InverseGammaPrior(Prior):
    """1 / value is gamma distributed with shape ``shape`` and rate ``scale``; the mode is ``scale / (shape + 1)``."""

    arguments: ClassVar = {"shape": REQUIRED, "scale": REQUIRED}
    distribution: ClassVar = families.InverseGamma()


class BetaPrior(Prior):
    """Beta on (0, 1) with mean ``alpha / (alpha + beta)``."""

    arguments: ClassVar = {"alpha": REQUIRED, "beta": REQUIRED}
    distribution: ClassVar = families.Beta()


class ExponentialPrior(Prior):
    """Exponential with mean ``scale``."""

    arguments: ClassVar = {"scale": REQUIRED}
    distribution: ClassVar = families.Exponential()


class FlatPrior(Prior):
    """Density 1 between limits that may be infinite: improper unless both are finite, and never normalised.

    Allowed where the posterior is proper; there is then no evidence.
    """

    arguments: ClassVar = {"lower_limit": -math.inf, "upper_limit": math.inf}

    @classmethod
    def _family(cls, **arguments: Any) -> tuple[families.Family, tuple[Any, ...]]:
        lower, upper = arguments.values()
        return families.Flat(_is_limit(lower, -math.inf), _is_limit(upper, math.inf)), (lower, upper)
