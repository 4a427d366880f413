"""Ranks and what is made of them: uniform for whatever is exchangeable with the draws, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from factorgraph.calibration.bounds import Bounds
from factorgraph.calibration.quantity import Quantity, positions_of

NUM_DRAWS = 99


def ranked(sample, num=2000, seed=0):
    """Positions of one of 100 exchangeable numbers among the other 99."""
    rng = np.random.default_rng(seed)
    rows = [sample(rng) for _ in range(num)]
    return zip(*(positions_of(row[0], row[1:], rng) for row in rows), strict=True)


@pytest.mark.parametrize(
    "sample",
    [
        lambda rng: rng.standard_normal(NUM_DRAWS + 1),
        lambda rng: rng.poisson(0.5, NUM_DRAWS + 1).astype(float),
        lambda rng: np.zeros(NUM_DRAWS + 1),
    ],
    ids=["continuous", "discrete", "constant"],
)
def test_ranks_are_uniform_for_any_distribution(sample):
    ranks, positions = ranked(sample)
    counts = np.bincount(ranks, minlength=NUM_DRAWS + 1)
    assert len(counts) == NUM_DRAWS + 1
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest(positions, "uniform").pvalue > 1e-3
    assert np.all((np.array(positions) > 0) & (np.array(positions) < 1))


def test_rank_without_ties_is_the_number_of_draws_below():
    rank, position = positions_of(0.5, np.array([0.0, 0.4, 0.6, 2.0]), np.random.default_rng(0))
    assert rank == 2
    assert 2 / 5 < position < 3 / 5


def quantity_of(z: np.ndarray) -> Quantity:
    """A quantity whose truth had the normal score ``z`` (S,) in the posterior."""
    positions = stats.norm.cdf(z)
    ranks = np.minimum((positions * (NUM_DRAWS + 1)).astype(int), NUM_DRAWS)
    return Quantity(
        name="x", truths=z, ranks=ranks, uniform=positions, positions=positions, pulls=z, num_draws=NUM_DRAWS
    )


def failed(z):
    return {check.name for check in quantity_of(z).checks(Bounds(len(z), 1e-3)) if not check.passed}


SCORES = stats.norm.ppf((np.arange(200) + 0.5) / 200)  # as uniform as 200 can be


def test_statistics_are_those_of_the_definitions():
    quantity = quantity_of(1.2 * SCORES + 0.1)
    assert quantity.mean_z == pytest.approx(0.1)
    assert quantity.sd_z == pytest.approx(1.2 * np.std(SCORES))
    assert quantity.coverage(0.95) == np.mean(np.abs(1.2 * SCORES + 0.1) < stats.norm.isf(0.025))
    assert quantity.kolmogorov_smirnov == pytest.approx(stats.kstest(quantity.positions, "uniform").statistic)
    assert quantity.chi_squared == pytest.approx(
        np.sum((np.histogram(quantity.positions, 20, (0, 1))[0] - 10) ** 2 / 10)
    )
    assert len(quantity.ecdf_counts) == NUM_DRAWS
    assert quantity.ecdf_counts[49] == np.sum(quantity.ranks < 50)


def test_uniform_ranks_pass_every_check():
    assert failed(SCORES) == set()


def test_what_each_fault_looks_like():
    assert {"sd z", "95 % interval", "sd pull"} <= failed(1.3 * SCORES)
    assert {"sd z", "68.27 % interval", "sd pull"} <= failed(0.7 * SCORES)
    assert {"mean z", "KS", "ECDF band", "mean pull"} <= failed(SCORES + 0.5)
    tenths = 10 * stats.norm.cdf(SCORES)
    assert failed(stats.norm.ppf((tenths + np.floor(tenths)) / 20)) == {"chi2"}  # every other bin is empty


def test_moments_that_do_not_exist_are_not_checked():
    quantity = quantity_of(SCORES)
    pulls = np.where(np.arange(200) == 7, np.nan, SCORES)
    part = Quantity(**{name: getattr(quantity, name) for name in Quantity.__slots__} | {"pulls": pulls})
    assert "sd pull" not in {check.name for check in part.checks(Bounds(200, 1e-3))}


def test_few_simulations_have_no_bins():
    assert "chi2" not in {check.name for check in quantity_of(SCORES[::4]).checks(Bounds(50, 1e-3))}
