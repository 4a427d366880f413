"""Equal-weight draws from weighted points: unbiased, and less noisy than independent ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from factorgraph.propagation.resampling import equal_weight_rows, weighted_quantile

NUM, NUM_POINTS, NUM_REPEATS = 1024, 8192, 40


def weighted_points(dimension, seed):
    """A standard normal as weighted points of a t-distribution."""
    points = np.random.default_rng([seed, dimension]).standard_t(5.0, (NUM_POINTS, dimension))
    log_weight = np.sum(stats.norm.logpdf(points) - stats.t.logpdf(points, 5.0), axis=1)
    weights = np.exp(log_weight - log_weight.max())
    return points, weights / weights.sum()


@pytest.mark.parametrize(("dimension", "gain"), [(1, 10.0), (2, 4.0), (4, 1.5), (12, 0.85)])
def test_means_of_draws_are_those_of_the_points(dimension, gain):
    """``gain``: how much less noise than independent draws have; there is no bias."""
    error = []
    for seed in range(NUM_REPEATS):
        points, weights = weighted_points(dimension, seed)
        rows = equal_weight_rows(points, weights, NUM, np.random.default_rng(seed))
        assert rows.shape == (NUM,)
        error.append(points[rows].mean(axis=0) - weights @ points)
    noise = np.sqrt(np.mean(np.square(error)))
    assert noise * gain < 1.0 / np.sqrt(NUM)
    assert np.max(np.abs(np.mean(error, axis=0))) < 4.5 * noise / np.sqrt(NUM_REPEATS)


def test_a_point_comes_as_often_as_it_weighs():
    points = np.random.default_rng(1).normal(size=(6, 2))
    weights = np.array([0.5, 0.25, 0.125, 0.125, 0.0, 0.0])
    rows = equal_weight_rows(points, weights, NUM, np.random.default_rng(2))
    assert np.max(np.abs(np.bincount(rows, minlength=6) - NUM * weights)) <= 2
    assert set(rows) <= {0, 1, 2, 3}


def test_quantiles_of_weighted_points():
    points, weights = weighted_points(1, seed=3)
    q = np.array([0.05, 0.5, 0.95])
    assert weighted_quantile(points[:, 0], weights, q) == pytest.approx(stats.norm.ppf(q), abs=0.1)
    values = np.array([3.0, 1.0, 2.0, 1.5])
    equal = np.full(4, 0.25)
    assert weighted_quantile(values, equal, 0.5) == pytest.approx(np.median(values))
