"""Polynomials in place of log f: exact for polynomials, refused for what they cannot follow, -inf where log f is."""

from __future__ import annotations

import numpy as np
import pytest

from factorgraph.propagation.surrogate import design_points, fit_surrogate, is_accurate


def _fitted(function, dimension, num_datasets, lost=()):
    """A surrogate around N(1, 0.5^2 I), and its residuals at the points held back."""
    mean, factor = np.ones((num_datasets, dimension)), np.tile(0.5 * np.eye(dimension), (num_datasets, 1, 1))
    fitted, held_back = design_points(dimension)
    phi = 1.0 + 0.5 * np.concatenate([fitted, held_back])
    values = np.stack([function(phi, index) for index in range(num_datasets)])
    mask = np.isin(np.arange(num_datasets), lost)
    values[mask] = -np.inf
    num = len(fitted)
    surrogate = fit_surrogate(mean, factor, fitted, values[:, :num], np.zeros_like(values[:, :num]), mask)
    points = np.broadcast_to(phi[num:], (num_datasets, *phi[num:].shape))
    predicted, _ = surrogate.evaluate(np.arange(num_datasets), points)
    return surrogate, values[:, num:], predicted


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_cubic_is_reproduced(dimension):
    def cubic(phi, index):
        return phi[:, 0] ** 3 - 2.0 * phi[:, -1] ** 2 + index

    _, values, predicted = _fitted(cubic, dimension, 4)
    np.testing.assert_allclose(predicted, values, atol=1e-8)
    assert is_accurate(values - predicted)


def test_what_no_polynomial_follows_is_refused():
    _, values, predicted = _fitted(lambda phi, index: np.where(phi[:, 0] > 1.1, 3.0, 0.0), 1, 4)
    assert not is_accurate(values - predicted)


def test_a_lost_dataset_stays_lost():
    _, _, predicted = _fitted(lambda phi, index: -(phi[:, 0] ** 2), 2, 3, lost=(1,))
    assert np.all(predicted[1] == -np.inf)
    assert np.all(np.isfinite(predicted[[0, 2]]))
