"""Polynomials in place of log f: exact for polynomials, refused for what they cannot follow, -inf where log f is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.gaussian import Gaussian
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
    predicted, _, _ = surrogate.evaluate(np.arange(num_datasets), points)
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


class Plain(ContractedPlate):
    """log f = -cosh(phi_0) - phi_1^2, of every dataset."""

    def __init__(self, size):
        signature = SimpleNamespace(num_shared=2)
        self.plate = SimpleNamespace(size=size, shared_index=np.tile([0, 1], (size, 1)), signature=signature)
        self.surrogate = None
        self.num_evaluated = 0

    def integrate(self, points, chosen):
        phi = points(chosen)
        self.num_evaluated += phi.shape[1]
        values = -np.cosh(phi[..., 0]) - phi[..., 1] ** 2
        return values, np.zeros_like(values)

    def explore(self, around, *, proper, rounds=1, chosen=None):
        raise NotImplementedError

    def frozen(self, rows):
        raise NotImplementedError

    def local_posterior(self, phi, chance, chosen=None):
        raise NotImplementedError

    @property
    def is_explored(self):
        return np.ones(self.plate.size, dtype=bool)


def test_far_away_the_integrals_are_done_themselves():
    """A t-tailed draw at twelve standard deviations must not see what a polynomial has become there."""
    plate = Plain(3)
    plate.fit_surrogate(Gaussian(np.zeros(2), 0.04 * np.eye(2)))
    assert plate.surrogate is not None
    plate.num_evaluated = 0
    phi = np.array([[0.1, 0.2], [2.4, 0.0], [-0.3, 0.1], [0.0, -4.0]])
    values, _ = plate.log_factors(phi)
    expected, _ = Plain(3).log_factors(phi)
    assert plate.num_evaluated == 2
    np.testing.assert_array_equal(values[:, [1, 3]], expected[:, [1, 3]])
    np.testing.assert_allclose(values, expected, atol=1e-3)
    some, _ = plate.log_factors(phi, np.array([0, 2]))
    np.testing.assert_array_equal(some, values[[0, 2]])
