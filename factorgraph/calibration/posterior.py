"""What a solver returned, read in one way: draws and moments of a variable, and whether the draws are joint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.model.variable import Variable
from searches.status import Status


class Posterior:
    """Draws of some of a graph's unknowns.

    Parameters
    ----------
    solved
        A `Result`, what a search's ``fit`` returns, or a mapping from variables to equal-weight draws (M,), row m of
        all of them one joint draw.

    Attributes
    ----------
    converged
        Whether the solver says that it has settled.
    is_joint
        Whether row m of all variables' draws is one joint draw.
    """

    def __init__(self, solved: Any) -> None:
        self._given: Mapping[Variable, np.ndarray] | None = solved if isinstance(solved, Mapping) else None
        self._mean_field: Any = getattr(solved, "mean_field", None)
        if self._given is None and self._mean_field is None:
            raise GraphError(
                f"calibrate: solve(graph, seed) returned {type(solved).__name__}; a result (of graph.optimise or of a "
                "search) or a mapping from variables to draws is needed."
            )
        status = getattr(solved, "status", Status.ok)
        self.converged = bool(getattr(solved, "converged", not isinstance(status, Status) or status == Status.ok))
        self.is_joint = bool(getattr(solved, "has_joint_draws", True))

    def __contains__(self, variable: Variable) -> bool:
        return variable in (self._mean_field if self._given is None else self._given)

    def draws(self, variable: Variable) -> np.ndarray:
        """Equal-weight draws (M,), all finite."""
        draws = self._mean_field.draws(variable) if self._given is None else self._given[variable]
        draws = np.asarray(draws, dtype=float)
        if draws.ndim != 1 or not np.all(np.isfinite(draws)):
            what = "are not all finite" if draws.ndim == 1 else f"have shape {draws.shape}, (M,) is needed"
            raise GraphError(f"the draws of {variable!r} {what}")
        return draws

    def pull(self, variable: Variable, truth: float) -> float:
        """(truth - mean) / sd with the moments that the user reads; those of the draws where draws were given."""
        if self._given is not None:
            return pull_of(truth, self.draws(variable))
        mean, scale = self._mean_field.mean[variable], self._mean_field.scale[variable]
        return float((truth - mean) / scale) if scale > 0 else float("nan")


def pull_of(truth: float, draws: np.ndarray) -> float:
    """(truth - mean) / sd of ``draws``; nan where they do not differ."""
    scale = float(np.std(draws))
    return float((truth - np.mean(draws)) / scale) if scale > 0 else float("nan")


def thinned_rows(num_available: int, num_draws: int, rng: np.random.Generator) -> np.ndarray:
    """``num_draws`` different rows, at random: draws may be ordered, or stratified."""
    if num_available < num_draws:
        raise GraphError(
            f"the solver made {num_available} draws, {num_draws} are to be ranked: make more, or calibrate with fewer "
            "(num_draws=...)"
        )
    return rng.choice(num_available, num_draws, replace=False)


def joint_rows(posterior: Posterior, variables: Sequence[Variable], num: int, rng: Any) -> dict[Variable, np.ndarray]:
    """``num`` joint draws of all ``variables``, (num,) each."""
    columns = {variable: posterior.draws(variable) for variable in variables}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise GraphError(f"the variables have different numbers of draws ({min(lengths)} to {max(lengths)})")
    rows = thinned_rows(lengths.pop(), num, rng)
    return {variable: column[rows] for variable, column in columns.items()}
