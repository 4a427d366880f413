"""Normal distributions over the shared variables, as plates see them: by the few variables that a term touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Around(Protocol):
    """A normal distribution that datasets are explored about."""

    def marginals(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (N, d) and Cholesky factor (N, d, d) over the variables ``index`` (N, d) of each term."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Gaussian:
    """N(mean, covariance) over D variables, (D,) and (D, D)."""

    mean: np.ndarray
    covariance: np.ndarray

    def marginals(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return marginals(self.mean, self.covariance, index)


def marginals(mean: np.ndarray, covariance: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, d) and Cholesky factor (N, d, d) of the posterior over the variables each term touches."""
    if index.shape[1] == 0:
        return np.zeros((len(index), 0)), np.zeros((len(index), 0, 0))
    if np.all(index == index[0]):
        factor = np.linalg.cholesky(covariance[np.ix_(index[0], index[0])])
        return np.broadcast_to(mean[index[0]], index.shape), np.broadcast_to(factor, (len(index), *factor.shape))
    return mean[index], np.linalg.cholesky(covariance[index[:, :, None], index[:, None, :]])
