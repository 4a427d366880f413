"""Quasi-random points: in the open cube, standardised, reproducible."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from searches.quasi import normal_points, uniform_points, whitened


@pytest.mark.parametrize("num_points", [1, 7, 64, 1000])
def test_uniform_points_lie_inside_the_cube(num_points):
    points = uniform_points(num_points, 3, seed=1)
    assert points.shape == (num_points, 3)
    assert np.all((points > 0) & (points < 1))


def test_uniform_points_integrate_better_than_independent_draws():
    exact = (1 - np.exp(-1)) ** 4
    estimates = [np.exp(-uniform_points(1024, 4, seed).sum(axis=1)).mean() for seed in range(10)]
    variance_of_independent = ((1 - np.exp(-2)) / 2) ** 4 - exact**2
    assert np.std(np.array(estimates) - exact) < 0.1 * np.sqrt(variance_of_independent / 1024)


def test_normal_points_are_normal():
    assert kstest(normal_points(4096, 1, seed=3)[:, 0], norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("num_points", "dimension"), [(16, 1), (64, 3), (512, 10), (33, 20)])
def test_whitened_moments_are_exact(num_points, dimension):
    points = normal_points(num_points, dimension, seed=2, whiten=True)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(points.T @ points / num_points, np.eye(dimension), atol=1e-13)


def test_seed_decides_the_points():
    assert np.array_equal(normal_points(32, 2, seed=5), normal_points(32, 2, seed=5))
    assert not np.array_equal(normal_points(32, 2, seed=5), normal_points(32, 2, seed=6))


def test_no_dimension_gives_empty_points():
    assert normal_points(8, 0, seed=0).shape == (8, 0)


def test_too_few_points_to_whiten():
    with pytest.raises(ValueError, match="take more than 4"):
        whitened(np.zeros((4, 4)))
