"""Correlation matrices as unknowns: partial correlations with independent priors, and the factor they make.

The partial correlation of variables i and j given those before j ranges over (-1, 1) whatever the others are, and every
set of them is one correlation matrix (Joe 2006; Lewandowski, Kurowicka & Joe 2009, J. Multivar. Anal. 100:1989).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from factorgraph.errors import PriorError
from factorgraph.model import family as families
from factorgraph.model.expression import is_number
from factorgraph.model.prior import REQUIRED, Prior
from factorgraph.model.relation import Sqrt


class PartialCorrelationPrior(Prior):
    """Density proportional to (1 - value^2)^(concentration - 1) on (-1, 1)."""

    arguments: ClassVar = {"concentration": REQUIRED}

    @classmethod
    def _family(cls, **arguments: Any) -> tuple[families.Family, tuple[Any, ...]]:
        concentration = arguments["concentration"]
        if concentration == 1.0:
            return families.Uniform(), (-1.0, 1.0)
        return families.SymmetricBeta(), (concentration,)


class LKJPrior:
    """The prior of a correlation matrix with density proportional to det(R)^(concentration - 1).

    Not a variable itself: it is the ``correlation`` of a `MultivariateNormalPrior`, which makes one unknown of every
    partial correlation. Uniform over all correlation matrices for a concentration of one; larger values prefer weak
    correlations (Lewandowski, Kurowicka & Joe 2009).

    Raises
    ------
    PriorError
        The concentration is no positive number.
    """

    def __init__(self, concentration: float = 1.0) -> None:
        if not is_number(concentration) or np.ndim(concentration) or not 0.0 < concentration < np.inf:
            raise PriorError(f"LKJPrior: concentration = {concentration!r}; it must be a number greater than 0.")
        self.concentration = float(concentration)

    def partial_correlations(self, dimension: int) -> dict[tuple[int, int], Prior]:
        """One variable for each pair (i, j), j < i: their correlation given the variables before j."""
        return {
            (i, j): PartialCorrelationPrior(self.concentration + 0.5 * (dimension - 2 - j))
            for i in range(dimension)
            for j in range(i)
        }

    def __repr__(self) -> str:
        return f"LKJPrior({self.concentration!r})"


class Correlation:
    """A correlation matrix, known or unknown; ``correlation[i, j]`` is an entry, a number or a relation of unknowns.

    Attributes
    ----------
    partial
        (i, j) -> the unknown partial correlation; empty where the matrix is known.
    factor
        Rows of the lower Cholesky factor, entries numbers or relations.
    """

    def __init__(self, given: Any, dimension: int) -> None:
        self.dimension = dimension
        if isinstance(given, LKJPrior):
            self.partial = given.partial_correlations(dimension)
            self.factor = _factor_of(self.partial, dimension)
        else:
            self.partial = {}
            self.factor = _known_factor(given, dimension)

    @property
    def named(self) -> dict[str, dict[str, Prior]]:
        """The unknowns by name: those of the first variable are correlations, others are partial ones."""
        found: dict[str, dict[str, Prior]] = {}
        for (i, j), variable in self.partial.items():
            found.setdefault("partial_correlation" if j else "correlation", {})[f"{j}_{i}"] = variable
        return found

    def __getitem__(self, pair: tuple[int, int]) -> Any:
        i, j = sorted(pair, reverse=True)
        if i == j:
            return 1.0
        if j == 0:
            return self.factor[i][0]
        total = self.factor[i][0] * self.factor[j][0]
        for k in range(1, j + 1):
            total = total + self.factor[i][k] * self.factor[j][k]
        return total

    def __repr__(self) -> str:
        return f"Correlation({self.dimension} variables, {len(self.partial)} unknown)"


def _factor_of(partial: dict[tuple[int, int], Prior], dimension: int) -> list[list[Any]]:
    rows: list[list[Any]] = [[1.0]]
    for i in range(1, dimension):
        row: list[Any] = []
        left: Any = 1.0  # of the unit length of the row, squared
        for j in range(i):
            row.append(partial[i, j] if j == 0 else partial[i, j] * Sqrt(left))
            left = left * (1.0 - partial[i, j] * partial[i, j])
        rows.append([*row, Sqrt(left)])
    return rows


def _known_factor(given: Any, dimension: int) -> list[list[float]]:
    what = "MultivariateNormalPrior: correlation"
    try:
        matrix = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise PriorError(f"{what} = {given!r}; it must be an fg.LKJPrior or a matrix of numbers.") from None
    if matrix.shape != (dimension, dimension):
        raise PriorError(f"{what} has shape {matrix.shape}; {dimension} variables need ({dimension}, {dimension}).")
    if not (np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1.0)):
        raise PriorError(f"{what} must be symmetric, with ones on its diagonal; got {matrix.tolist()}.")
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise PriorError(f"{what} is not positive definite: {matrix.tolist()}.") from None
    return [[float(value) for value in row[: i + 1]] for i, row in enumerate(factor)]
