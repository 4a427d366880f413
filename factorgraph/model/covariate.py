"""A known number of each dataset of a plate, for relations: ``mean=a + b * survey["log_mass"]``."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.errors import ModelError
from factorgraph.model.expression import Expression


class Covariate(Expression):
    """Stands for one number a dataset; what a dataset has in its place is that number.

    Parameters
    ----------
    name
        Of the column.
    values
        (N,) finite numbers, one a dataset.
    names
        (N,) names of the datasets.
    """

    def __init__(self, name: str, values: np.ndarray, names: tuple[str, ...]) -> None:
        values = np.asarray(values)
        if values.dtype.kind not in "iuf" or values.shape != (len(names),):
            raise ModelError(
                f"Covariate {name!r}: got an array of shape {values.shape} and type {values.dtype}; a relation needs "
                f"one number a dataset, shape ({len(names)},)."
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ModelError(
                f"Covariate {name!r}: {len(bad)} of {len(names)} values are not finite, the first that of "
                f"{names[bad[0]]!r}. Leave those datasets out, or give them an unknown in its place."
            )
        self.name = name
        self.values = values.astype(float)
        self.names = names

    def __repr__(self) -> str:
        return f"Covariate({self.name!r})"


def covariates_in(constants: Any) -> tuple[Covariate, ...]:
    """Those among the constants of `structure_of`."""
    return tuple(constant for constant in constants if isinstance(constant, Covariate))
