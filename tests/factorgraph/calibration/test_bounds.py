"""Bounds of calibrated statistics: a published table, known distributions, and Monte Carlo for the band."""

from __future__ import annotations

import numpy as np
import pytest

from factorgraph.calibration.bounds import Bounds, probability_inside, simultaneous_band

# N, limits of the 68.27 % and the 95 % coverage in per cent, then mean z, sd z, KS and chi2 of 20 bins, for 1e-3
TABLE = [
    (200, (57.0, 78.5), (89.5, 99.0), 0.233, 0.164, 0.137, 43.8),
    (500, (61.4, 75.0), (91.6, 97.8), 0.147, 0.104, 0.087, 43.8),
    (1000, (63.4, 73.0), (92.6, 97.1), 0.104, 0.074, 0.061, 43.8),
    (2000, (64.8, 71.7), (93.3, 96.6), 0.074, 0.052, 0.044, 43.8),
]


@pytest.mark.parametrize(("num", "inner", "outer", "mean", "sd", "distance", "chi_squared"), TABLE)
def test_the_table_of_acceptance_bounds(num, inner, outer, mean, sd, distance, chi_squared):
    bounds = Bounds(num, 1e-3)
    np.testing.assert_allclose(100 * np.array(bounds.coverage(0.6827)), inner, atol=0.0501)
    np.testing.assert_allclose(100 * np.array(bounds.coverage(0.95)), outer, atol=0.0501)
    assert bounds.mean_z == pytest.approx(mean, abs=6e-4)
    assert bounds.sd_z() == pytest.approx((1 - sd, 1 + sd), abs=6e-4)
    assert bounds.kolmogorov_smirnov == pytest.approx(distance, abs=6e-4)
    assert bounds.chi_squared == pytest.approx(chi_squared, abs=0.05)


@pytest.mark.parametrize("num", [50, 200])
def test_calibrated_statistics_keep_their_bounds(num):
    """At a false-alarm rate of 5 %, so that 4,000 repetitions measure it to 0.35 %."""
    z = np.random.default_rng(0).standard_normal((4000, num))
    bounds = Bounds(num, 0.05)
    low, high = bounds.coverage(0.6827)
    inside = np.mean(np.abs(z) < 1.0, axis=1)
    assert np.mean((inside < low) | (inside > high)) < 0.06  # the binomial's steps keep it below
    assert np.mean(np.abs(z.mean(axis=1)) > bounds.mean_z) == pytest.approx(0.05, abs=0.014)
    sd = z.std(axis=1)
    assert np.mean((sd < bounds.sd_z()[0]) | (sd > bounds.sd_z()[1])) == pytest.approx(0.05, abs=0.014)


@pytest.mark.parametrize(("num", "ranks"), [(20, 100), (200, 100), (500, 20)])
def test_uniform_ranks_stay_inside_the_band(num, ranks):
    lower, upper = simultaneous_band(num, ranks, 0.05)
    drawn = np.random.default_rng(1).integers(0, ranks, size=(4000, num))
    counts = np.stack([np.sum(drawn < k, axis=1) for k in range(1, ranks)], axis=1)
    found = np.mean(np.all((counts >= lower) & (counts <= upper), axis=1))
    exact = probability_inside(lower, upper, num)
    assert exact >= 0.95
    assert exact < 0.96  # no wider than it must be
    assert found == pytest.approx(exact, abs=4 * np.sqrt(0.05 * 0.95 / 4000))


def test_a_band_without_limits_holds_everything():
    anything = np.zeros(9), np.full(9, 30.0)
    assert probability_inside(*anything, 30) == pytest.approx(1.0, abs=1e-12)


def test_two_ranks_are_one_binomial():
    """Below the first of two ranks lie Binomial(10, 1/2) simulations."""
    assert probability_inside(np.array([5.0]), np.array([5.0]), 10) == pytest.approx(252 / 1024, rel=1e-10)
