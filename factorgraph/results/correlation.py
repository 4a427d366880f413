"""The posterior of a correlation matrix, from the draws of what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.model.correlation import Correlation
from factorgraph.results.mean_field import MeanField, UnknownKey


@dataclass(frozen=True, eq=False, slots=True)
class CorrelationPosterior:
    """Of a correlation matrix: ``mean`` and standard deviation ``scale`` (D, D), and equal-weight ``draws`` (M, D,
    D)."""

    mean: np.ndarray
    scale: np.ndarray
    draws: np.ndarray


def correlation_of(mean_field: MeanField, parent: Any) -> CorrelationPosterior:
    """Of the correlation of a multivariate ``parent``.

    Raises
    ------
    UnknownKey
        The parent has no correlation, or it is known.
    """
    correlation = getattr(parent, "arguments", {}).get("correlation")
    if not isinstance(correlation, Correlation) or not correlation.partial:
        raise UnknownKey(
            f"result.correlation({parent!r}): its correlation is no unknown. A HierarchicalFactor with "
            "fg.MultivariateNormalPrior and correlation=fg.LKJPrior(...) has one."
        )
    d = correlation.dimension
    num = len(mean_field.draws(correlation[1, 0]))
    draws = np.broadcast_to(np.eye(d), (num, d, d)).copy()
    for i in range(d):
        for j in range(i):
            draws[:, i, j] = draws[:, j, i] = mean_field.draws(correlation[i, j])
    mean, scale = draws.mean(axis=0), draws.std(axis=0)
    for (i, j), variable in correlation.partial.items():  # of those that are unknowns themselves more is known
        if j == 0:
            mean[i, j] = mean[j, i] = mean_field.mean[variable]
            scale[i, j] = scale[j, i] = mean_field.scale[variable]
    return CorrelationPosterior(mean, scale, draws)
