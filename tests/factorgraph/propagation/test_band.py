"""Banded matrices against dense ones."""

from __future__ import annotations

import numpy as np
import pytest

from factorgraph.propagation.band import backward, factorised, forward, inverse_in_band, order_of, places_in_band


def pieces(width, seed=0):
    """Three pieces of 13 variables in which neighbours up to ``width`` apart are linked, in an order that hides it."""
    rng = np.random.default_rng(seed)
    links = [(i, i + k) for k in range(1, width + 1) for i in range(39 - k) if i // 13 == (i + k) // 13]
    shuffled = rng.permutation(39)
    return shuffled[np.array(links, dtype=int).reshape(-1, 2)]


def matrices(order, links, num=3, seed=1):
    """Random diagonally dominant matrices (num, n, n) in the order, with entries where there are links."""
    rng, position = np.random.default_rng(seed), np.argsort(order.order)
    found = np.zeros((num, len(position), len(position)))
    for i, j in position[links]:
        found[:, i, j] = found[:, j, i] = rng.normal(size=num)
    return found + np.eye(len(position)) * (np.abs(found).sum(axis=2).max() + 0.1)


def banded(dense, width):
    band = np.zeros((len(dense), width + 1, dense.shape[1]))
    for k in range(width + 1):
        for j in range(dense.shape[1] - k):
            band[:, k, j] = dense[:, j + k, j]
    return band


@pytest.mark.parametrize("width", [0, 1, 2, 4])
def test_solutions_and_the_inverse_within_the_band(width):
    links = pieces(width)
    order = order_of(39, links)
    assert order.width <= 2 * width
    assert (width == 1) <= (order.width == 1)
    dense = matrices(order, links)
    factors, proper = factorised(banded(dense, order.width))
    assert np.all(proper)
    inverse, found = np.linalg.inv(dense), inverse_in_band(factors)
    for k in range(order.width + 1):
        for j in range(39 - k):
            np.testing.assert_allclose(found[:, k, j], inverse[:, j + k, j], rtol=1e-10, atol=1e-14)
    right = np.random.default_rng(2).normal(size=(3, 5, 39))
    both = backward(factors, forward(factors, right))
    np.testing.assert_allclose(both, np.linalg.solve(dense, right.swapaxes(1, 2)).swapaxes(1, 2), rtol=1e-9, atol=1e-12)


def test_components_are_what_is_linked():
    order = order_of(39, pieces(2))
    assert sorted(np.bincount(order.component)) == [13, 13, 13]
    assert np.all(np.diff(order.component) >= 0)
    assert order_of(5, np.zeros((0, 2), int)).width == 0


def test_an_improper_matrix_says_so():
    band = np.ones((2, 2, 4))
    band[0, 0] = 3.0
    band[1, 0] = 0.5
    factors, proper = factorised(band)
    assert list(proper) == [True, False]
    assert np.all(np.isfinite(factors))


def test_where_entries_stand_in_the_band():
    diagonal, column = places_in_band(np.array([[3, 5]]))
    assert diagonal.tolist() == [[[0, 2], [2, 0]]]
    assert column.tolist() == [[[3, 3], [3, 5]]]
