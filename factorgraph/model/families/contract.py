"""What every family of priors can do.

A family is stateless: its parameters are arguments, so that one compiled kernel serves a plate of priors. It does not
know which variable it belongs to, and it has no messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from factorgraph.errors import PriorError
from messages.array_namespace import Array, namespace, ndtri

LOG_2PI = math.log(2.0 * math.pi)

SupportKind = Literal["real", "lower", "upper", "interval"]


@dataclass(frozen=True, slots=True)
class Family:
    """A one-dimensional distribution; all arguments are NumPy or JAX arrays that broadcast.

    Attributes
    ----------
    parameter_names : tuple of str
        Order of ``*parameters`` in every method.
    is_whitened : bool
        Whether inference sees a variable with this prior as x = Phi^-1(F(value)): not where the tails are heavy, nor
        where the inverse of F takes an iteration.
    support_kind : str
        ``"real"``, ``"lower"`` (a finite lower limit), ``"upper"`` or ``"interval"``.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    positive_parameters: ClassVar[tuple[str, ...]] = ()
    is_whitened: ClassVar[bool] = True

    @property
    def support_kind(self) -> SupportKind:
        return "real"

    def log_density(self, value: Array, *parameters: Array) -> Array:
        """Normalised log density, nats; -inf outside the support or where the parameters define no distribution."""
        raise NotImplementedError

    def from_normal(self, x: Array, *parameters: Array) -> Array:
        """F^-1(Phi(x)): the value whose probability is that of the standard normal ``x``."""
        raise NotImplementedError

    def to_normal(self, value: Array, *parameters: Array) -> Array:
        """Phi^-1(F(value)), the inverse of `from_normal`; -inf and inf at the limits of the support."""
        raise NotImplementedError

    def quantile(self, probability: Array, *parameters: Array) -> Array:
        """F^-1(probability), for probabilities in [0, 1]."""
        return self.from_normal(ndtri(probability), *parameters)

    def support(self, *parameters: Array) -> tuple[Array, Array]:
        """Lower and upper limit of the support, infinite where there is none."""
        return -math.inf, math.inf

    def check(self, *parameters: Any) -> None:
        """Raise `PriorError` on the host if the numbers define no distribution.

        Raises
        ------
        PriorError
            A parameter is nan, infinite or not positive where it must be, or the limits are swapped.
        """
        for name, value in zip(self.parameter_names, parameters):
            if not math.isfinite(value):
                raise PriorError(f"{type(self).__name__}: {name} = {value!r}; it must be finite.")
            if name in self.positive_parameters and not value > 0.0:
                raise PriorError(f"{type(self).__name__}: {name} = {value!r}; it must be greater than 0.")


def check_limits(owner: str, lower_limit: float, upper_limit: float) -> None:
    """Raise `PriorError` unless ``lower_limit < upper_limit``."""
    if math.isnan(lower_limit) or math.isnan(upper_limit) or not lower_limit < upper_limit:
        mend = " Swap them." if lower_limit > upper_limit else ""
        raise PriorError(
            f"{owner}: lower_limit = {lower_limit!r} and upper_limit = {upper_limit!r}; "
            f"the lower limit must be below the upper.{mend}"
        )


def inside_or_minus_infinity(inside: Array, log_density: Array) -> Array:
    """``log_density`` where ``inside``, else -inf (both arguments must be finite there for finite gradients)."""
    return namespace(inside, log_density).where(inside, log_density, -math.inf)
