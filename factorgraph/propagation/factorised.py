"""Sites without correlations between blocks of variables: mean field, or whatever the user asks for.

By default one Gaussian over all shared variables holds all their correlations. Where it is to be a product over blocks,
each site is the one with which the posterior has the tilted distribution's moments within the blocks: what expectation
propagation is for that family (Minka 2001, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.plates import SharedVariable
from factorgraph.propagation.regression import Design
from messages.multivariate_normal import log_partition, natural_from_moments, pack, unpack

MEAN_FIELD = "mean field"

_NONE = 1e-9  # of the largest coefficient: a correlation that rounding has left


def blocks_of(shared: Sequence[SharedVariable], blocks: Any) -> np.ndarray | None:
    """The block (D,) of each shared variable, or None where all are one.

    Parameters
    ----------
    blocks
        None, `MEAN_FIELD`, or groups of variables; those in no group are by themselves.

    Raises
    ------
    GraphError
        Not a shared variable, or in two groups.
    """
    if blocks is None:
        return None
    found = np.arange(len(shared))
    if isinstance(blocks, str):
        if blocks != MEAN_FIELD:
            raise GraphError(
                f"optimise: blocks = {blocks!r}; None (one block of all shared variables), {MEAN_FIELD!r} or groups of "
                "variables are allowed, such as blocks=[(parent.mean, parent.sigma)]."
            )
        return found
    place = {s.variable: i for i, s in enumerate(shared)}
    grouped: set[Any] = set()
    for group in blocks:
        members = list(group) if isinstance(group, (list, tuple, set, frozenset)) else [group]
        for variable in members:
            if variable in grouped:
                raise GraphError(f"optimise: {variable!r} is in two blocks; a variable is in one.")
            grouped.add(variable)
            if variable in place:
                found[place[variable]] = place[next(v for v in members if v in place)]
    return found


def check_blocks(shared: Sequence[SharedVariable], blocks: Any) -> None:
    """Every variable of ``blocks`` is one of the ``shared`` ones."""
    blocks_of(shared, blocks)
    known = {s.variable for s in shared}
    groups = [] if blocks is None or isinstance(blocks, str) else blocks
    for group in groups:
        for variable in group if isinstance(group, (list, tuple, set, frozenset)) else [group]:
            if variable not in known:
                raise GraphError(
                    f"optimise: blocks has {variable!r}, which is no shared variable of this graph; private ones are "
                    "integrated out, with all their correlations."
                )


def together(blocks: np.ndarray | None, index: np.ndarray) -> np.ndarray | None:
    """Whether two of the variables that a term touches, ``index`` (N, d), are in one block, (N, d, d); None where all
    of all terms are."""
    if blocks is None:
        return None
    of_term = blocks[index]
    found = of_term[:, :, None] == of_term[:, None, :]
    return None if np.all(found) else found


def masked(natural: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Natural parameters (N, p) without those that join two blocks."""
    h, precision = unpack(natural, within.shape[-1])
    return pack(h, np.where(within, precision, 0.0))


def joins_blocks(natural: np.ndarray, within: np.ndarray) -> np.ndarray:
    """(N,) whether natural parameters (N, p) join two blocks."""
    _, precision = unpack(natural, within.shape[-1])
    size = np.max(np.abs(precision), axis=(1, 2), initial=0.0)
    return np.max(np.abs(np.where(within, 0.0, precision)), axis=(1, 2), initial=0.0) > _NONE * size


def matching(change: np.ndarray, within: np.ndarray, power: float = 1.0) -> np.ndarray:
    """The change (N, p) of a site that matches moments within the blocks, from the one that matches all.

    Both are in the frame where the posterior is N(0, I). Where the tilted distribution is none, the part of ``change``
    that joins no blocks.
    """
    dimension = within.shape[-1]
    h, curvature = unpack(power * change, dimension)
    precision = np.eye(dimension) + curvature
    proper = np.linalg.eigvalsh(precision)[:, 0] > 0.0
    covariance = np.linalg.inv(np.where(proper[:, None, None], precision, np.eye(dimension)))
    mean = np.einsum("nij,nj->ni", covariance, h)
    standard = pack(np.zeros(dimension), np.eye(dimension))
    found = (natural_from_moments(mean, np.where(within, covariance, 0.0)) - standard) / power
    return np.where(proper[:, None], found, masked(change, within))


def log_mean(change: np.ndarray, dimension: int, power: float = 1.0) -> np.ndarray:
    """log E[exp(power change . T)] / power under N(0, I), (N,); zero where that is none."""
    standard = pack(np.zeros(dimension), np.eye(dimension))
    with np.errstate(invalid="ignore"):
        found = (log_partition(standard + power * change, dimension) - log_partition(standard, dimension)) / power
    return np.nan_to_num(found, nan=0.0)


def regressed(change: np.ndarray, within: np.ndarray, points: Design) -> np.ndarray:
    """A change (N, p) found by regression on all statistics, as it is by regression on those within the blocks."""
    found = np.zeros_like(change)
    gram = np.linalg.inv(points.inverse_gram)
    patterns, number = np.unique(within.reshape(len(within), -1), axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        rows = number.ravel() == k
        kept = masked(np.ones((1, change.shape[1])), pattern.reshape(1, *within.shape[1:]))[0] > 0
        moments = change[rows] @ gram[:, kept]
        found[np.ix_(rows, kept)] = moments @ np.linalg.inv(gram[np.ix_(kept, kept)])
    return found
