"""Noise of a dataset's own search (T-EP 12): the answer is unbiased, its error is stated, and the sweeps settle all the same.

Eight measurements of a Gaussian population are known by 50, 500 or 5,000 independent draws each: of their posteriors, in
place of data; or by a search that returns as many, about which the integrals are then done. The truth is quadrature.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from tests.factorgraph.test_failing_searches import ERRORS, NUM, Y, known, sample
from tests.factorgraph.test_scatter import Measurement, Object

slow = pytest.mark.slow

NUM_RUNS = 8
REFERENCE = (4.0, 4.0)  # mean and sd of the prior that the draws are made with
SIZES = [pytest.param(50, marks=slow), 500, pytest.param(5000, marks=slow)]

pytestmark = pytest.mark.filterwarnings("ignore:.*(uncertain by up to|could not be corrected).*:UserWarning")


class FewDraws:
    """An optimiser with ``num`` independent draws of any density of one variable, by its distribution function."""

    def __init__(self, num, run):
        self.num = num
        self.run = run

    def explore(self, target, *, seed):
        x = np.linspace(-8.0, 8.0, 4001)
        log_density = np.asarray(target.log_likelihoods(x[:, None])) - 0.5 * x**2
        below = np.cumsum(np.exp(log_density - log_density.max()))
        chance = np.random.default_rng([self.run, seed]).random(self.num)
        return sample(target, np.interp(chance, below / below[-1], x)[:, None])


def population_of(factors):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(3.0))
    for factor in factors:
        parent.add_drawn_variable(factor.prior_model.x)
    return fg.FactorGraphModel(*factors, parent), (parent.mean, parent.sigma)


def known_by_draws(num, run):
    precision = ERRORS**-2.0 + REFERENCE[1] ** -2.0
    mean = (Y * ERRORS**-2.0 + REFERENCE[0] * REFERENCE[1] ** -2.0) / precision
    draws = mean[:, None] + np.random.default_rng(run).standard_normal((NUM, num)) / np.sqrt(precision)[:, None]
    log_evidence = stats.norm.logpdf(Y, REFERENCE[0], np.hypot(ERRORS, REFERENCE[1]))
    return population_of(
        [
            fg.SamplesFactor({"x": x}, {"x": fg.GaussianPrior(*REFERENCE)}, log_evidence=log_z, num_draws=num)
            for x, log_z in zip(draws, log_evidence, strict=True)
        ]
    )


def searched(num, run):
    optimiser = FewDraws(num, run)
    return population_of(
        [
            fg.AnalysisFactor(fg.Model(Object), Measurement(float(y), float(error)), optimiser=optimiser)
            for y, error in zip(Y, ERRORS, strict=True)
        ]
    )


def runs_of(graph_of, num):
    """Shifts of mean and scatter, in posterior sds, and what is said of their errors; both (runs, 2)."""
    expected, _ = known()
    shifts, stated = [], []
    for run in range(NUM_RUNS):
        graph, variables = graph_of(num, run)
        result = graph.optimise(seed=run)
        assert result.converged
        assert result.num_steps < 40
        mean = np.array([result.mean_field.mean[variable] for variable in variables])
        shifts.append((mean - expected.mean) / expected.scale)
        stated.append(result._solution.inner_error)
    return np.array(shifts), np.array(stated)


def assert_honest(shifts, stated):
    """Unbiased within two standard errors (and a tenth of what is tolerated of one run), of the size that is stated."""
    standard_error = shifts.std(axis=0, ddof=1) / np.sqrt(NUM_RUNS)
    assert np.all(np.abs(shifts.mean(axis=0)) < 2.0 * standard_error + 0.004)
    scores = shifts / stated
    assert np.all(np.sqrt(np.mean(scores**2, axis=0)) < 2.5)
    assert np.all(np.median(np.abs(scores), axis=0) < 1.2)


@pytest.mark.parametrize("num", SIZES)
def test_draws_in_place_of_data(num):
    """Noise is that of the draws: what is stated falls as their root."""
    shifts, stated = runs_of(known_by_draws, num)
    assert_honest(shifts, stated)
    noise = 0.07 * np.sqrt(500 / num)
    assert np.all(np.median(stated, axis=0) < 2.0 * noise)
    assert np.all(np.median(stated, axis=0) > 0.3 * noise)


@pytest.mark.parametrize("num", SIZES)
def test_a_search_of_few_draws(num):
    """They say only where the points of the integral go, so fifty are as good as five thousand."""
    shifts, stated = runs_of(searched, num)
    assert_honest(shifts, stated)
    assert np.max(np.abs(shifts)) < 0.02


def test_sweeps_settle_at_the_noise_and_stay():
    graph, variables = known_by_draws(50, 0)
    settled, further = graph.optimise(seed=0), graph.optimise(seed=0, min_steps=60)
    assert further.num_steps >= 60
    for variable in variables:
        scale = settled.ep.mean_field.scale[variable]
        assert abs(further.ep.mean_field.mean[variable] - settled.ep.mean_field.mean[variable]) < 1e-6 * scale
        assert further.ep.mean_field.scale[variable] == pytest.approx(scale, rel=1e-6)
