"""Precision matrices of linked variables: banded, once the variables stand in a good order.

Chains, grids and small groups have a narrow band, and everything below costs time linear in the number of variables: a
Cholesky factor, solutions with it, and those entries of the inverse that lie within the band (Takahashi, Fagan & Chin
1973; Rue & Martino 2007), which is all that the marginals of factors need. Matrices are stored by diagonals,
``band[r, k, j] = A[j + k, j]`` (R, width + 1, n), one for each of R replicas.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpbtrf, dtbtrs
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee


class Order(NamedTuple):
    """``order`` (n,): which variable comes where; ``width`` of the band then; ``component`` (n,) of each variable, in
    the new order, from 0."""

    order: np.ndarray
    width: int
    component: np.ndarray


def order_of(num: int, links: np.ndarray) -> Order:
    """An order of ``num`` variables in which ``links`` (m, 2) join near ones (Cuthill & McKee 1969, reversed)."""
    if num == 0:
        return Order(np.zeros(0, int), 0, np.zeros(0, int))
    ones = np.ones(len(links))
    graph = csr_array(coo_array((ones, (links[:, 0], links[:, 1])), shape=(num, num)))
    graph = csr_array(graph + graph.T)
    order = np.asarray(reverse_cuthill_mckee(graph, symmetric_mode=True), dtype=int)
    position = np.argsort(order)
    width = int(np.max(np.abs(position[links[:, 0]] - position[links[:, 1]]), initial=0))
    component = connected_components(graph, directed=False)[1][order]
    first = {label: number for number, label in enumerate(dict.fromkeys(component.tolist()))}
    return Order(order, width, np.array([first[label] for label in component.tolist()], dtype=int))


def places_in_band(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and column (N, d, d) of the entries that join the variables at ``place`` (N, d)."""
    first, second = place[:, :, None], place[:, None, :]
    return np.abs(first - second), np.minimum(first, second)


def factorised(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cholesky factors, as bands, and which are those of a positive definite matrix (R,); others are the identity."""
    factors, proper = np.zeros_like(band), np.zeros(len(band), dtype=bool)
    for r, matrix in enumerate(band):
        if matrix.shape[1] == 0:
            proper[r] = True
            continue
        found, info = dpbtrf(matrix, lower=1)
        proper[r] = info == 0 and bool(np.all(np.isfinite(found[0])) and np.all(found[0] > 0.0))
        factors[r] = found if proper[r] else np.eye(len(matrix), 1)
    return factors, proper


def forward(factors: np.ndarray, right: np.ndarray) -> np.ndarray:
    """L^-1 b for ``right`` (R, m, n)."""
    return _solved(factors, right, b"N")


def backward(factors: np.ndarray, right: np.ndarray) -> np.ndarray:
    """L^-T b for ``right`` (R, m, n)."""
    return _solved(factors, right, b"T")


def _solved(factors: np.ndarray, right: np.ndarray, trans: bytes) -> np.ndarray:
    if right.shape[-1] == 0:
        return right
    return np.stack([dtbtrs(f, b.T, uplo=b"L", trans=trans)[0].T for f, b in zip(factors, right, strict=True)])


def inverse_in_band(factors: np.ndarray) -> np.ndarray:
    """The entries of the inverse that lie within the band, from the last column to the first."""
    num_replicas, height, num = factors.shape
    width = height - 1
    found = np.zeros_like(factors)
    if width == 0 or num == 0:
        return np.divide(1.0, factors**2, out=found)
    square = 1.0 / factors[:, 0] ** 2  # (R, n)
    if width == 1:
        return _inverse_of_chain(square, factors[:, 1] / factors[:, 0])
    ratio = np.ascontiguousarray(np.moveaxis(factors[:, 1:] / factors[:, :1], 2, 0))  # (n, R, w)
    window = np.zeros((num_replicas, width, width))  # of the inverse, over the next variables
    columns = np.empty((num, num_replicas, height))
    for j in range(num - 1, -1, -1):
        below = -np.matmul(window, ratio[j][:, :, None])[:, :, 0]
        diagonal = square[:, j] - np.einsum("rk,rk->r", ratio[j], below)
        columns[j, :, 0], columns[j, :, 1:] = diagonal, below
        window[:, 1:, 1:] = window[:, :-1, :-1].copy()
        window[:, 0] = columns[j, :, :width]
        window[:, :, 0] = columns[j, :, :width]
    return np.moveaxis(columns, 0, 2)


def _inverse_of_chain(square: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """The same of one diagonal below the main one; it is by far the most frequent."""
    first, slope = np.ascontiguousarray(square.T), np.ascontiguousarray(ratio.T**2)  # (n, R)
    diagonal, following = np.empty_like(first), np.zeros(first.shape[1])
    for j in range(len(first) - 1, -1, -1):
        following = first[j] + slope[j] * following
        diagonal[j] = following
    below = -ratio * np.concatenate([diagonal[1:], np.zeros((1, len(following)))]).T
    return np.stack([diagonal.T, below], axis=1)
