"""The joint distribution of several variables of one dataset, as a sequence of conditional ones.

p(z_1, z_2, ... | parameters) = p(z_1) p(z_2 | z_1) ...: every conditional is a distribution of one variable whose
parameters are relations, so that inference needs to know of no joint distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factorgraph.errors import PriorError
from factorgraph.model import family as families
from factorgraph.model.correlation import Correlation, LKJPrior
from factorgraph.model.expression import Expression, is_number


class MultivariateNormalPrior:
    """The joint normal distribution of D variables of each dataset; the distribution of a `HierarchicalFactor`.

    Parameters
    ----------
    mean, scale
        D numbers, priors or relations each; ``scale`` are the standard deviations.
    correlation
        `LKJPrior` of the unknown correlations, or the known correlation matrix (D, D).

    Raises
    ------
    PriorError
        Lengths that differ, fewer than two variables, a scale that is not positive, or no correlation matrix.

    Examples
    --------
    >>> parent = fg.HierarchicalFactor(
    ...     fg.MultivariateNormalPrior,
    ...     mean=(fg.GaussianPrior(0.0, 10.0), fg.GaussianPrior(0.0, 10.0)),
    ...     scale=(fg.HalfNormalPrior(5.0), fg.HalfNormalPrior(5.0)),
    ...     correlation=fg.LKJPrior(2.0),
    ... )
    >>> parent.add_drawn_variable((model.slope, model.intercept))
    """

    def __init__(
        self,
        mean: Sequence[Any],
        scale: Sequence[Any],
        correlation: Any = LKJPrior(1.0),  # noqa: B008 (immutable)
    ) -> None:
        for name, values in (("mean", mean), ("scale", scale)):
            if isinstance(values, (str, Expression)) or not isinstance(values, Sequence):
                raise PriorError(
                    f"MultivariateNormalPrior: {name} = {values!r}; a sequence of numbers, priors or relations is "
                    "needed, one for each variable."
                )
            for value in values:
                if not isinstance(value, Expression) and not is_number(value):
                    raise PriorError(f"MultivariateNormalPrior: {name} has {value!r}; numbers, priors or relations do.")
        if len(mean) != len(scale) or len(mean) < 2:
            raise PriorError(
                f"MultivariateNormalPrior: {len(mean)} means and {len(scale)} scales; as many of each are needed, and "
                "at least two (of one variable it is fg.GaussianPrior)."
            )
        for value in scale:
            if is_number(value) and not value > 0.0:
                raise PriorError(f"MultivariateNormalPrior: scale has {value!r}; it must be greater than 0.")
        self.mean, self.scale = tuple(mean), tuple(scale)
        self.correlation = Correlation(correlation, len(mean))

    @property
    def dimension(self) -> int:
        return len(self.mean)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"mean": self.mean, "scale": self.scale, "correlation": self.correlation}

    @property
    def named(self) -> dict[str, Any]:
        """The parameters as a tree, under the names they are reported by."""
        return {"mean": self.mean, "scale": self.scale, **self.correlation.named}

    def conditionals(self, drawn: Sequence[Expression]) -> list[tuple[families.Family, tuple[Any, Any]]]:
        """The normal distribution of each of ``drawn`` (D,) given those before it, and its mean and sd."""
        found: list[tuple[families.Family, tuple[Any, Any]]] = []
        standard: list[Any] = []  # uncorrelated, of unit size
        for i, (variable, mean, scale) in enumerate(zip(drawn, self.mean, self.scale, strict=True)):
            row = self.correlation.factor[i]
            sd = scale if i == 0 else scale * row[i]
            if i:
                shift = row[0] * standard[0]
                for k in range(1, i):
                    shift = shift + row[k] * standard[k]
                mean = mean + scale * shift
            standard.append((variable - mean) / sd)
            found.append((families.Gaussian(), (mean, sd)))
        return found
