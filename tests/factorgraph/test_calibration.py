"""Is the engine calibrated? Surveys simulated from their own priors, solved, and their truths ranked.

The model of mean and scatter has an exact posterior, so that each simulation is also compared with it. The function
`fg.calibrate` itself is tested in `tests/factorgraph/calibration`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from tests.factorgraph.calibration.exact import grid_moments, moved, solver
from tests.factorgraph.calibration.models import (
    CASES,
    Counts,
    Measurement,
    gaussian_parent,
    mean_and_scatter,
    population,
)
from tests.factorgraph.test_scatter import assert_close, midpoints, quadrature

long = pytest.mark.long
SEED = 1


class Kept:
    """``graph.optimise``, and the draws of what is ranked, by the seed it was called with."""

    def __init__(self) -> None:
        self.draws: dict[int, dict[fg.Variable, np.ndarray]] = {}

    def __call__(self, survey: fg.FactorGraphModel, seed: int) -> fg.Result:
        result = survey.optimise(seed=seed)
        ranked = (*result.variables, survey.factors[0].prior_model.x)
        self.draws[seed] = {variable: result.mean_field.draws(variable) for variable in ranked}
        return result

    def with_fault(self, width: float = 1.0, shift: float = 0.0) -> Any:
        """``solve(survey, seed)`` that returns what was kept, spoiled."""
        return lambda _, seed: {v: moved(draws, width, shift) for v, draws in self.draws[seed].items()}


@pytest.fixture(scope="module")
def solved():
    """200 surveys of twenty datasets."""
    case, kept = mean_and_scatter(), Kept()
    return case, kept, fg.calibrate(case.graph, case.simulate, solve=kept, seed=SEED)


# --- 200 surveys of the cheapest model ---


@pytest.mark.slow
def test_mean_and_scatter(solved):
    _, _, found = solved
    assert found.passed, found.info
    assert not found.failed
    assert not found.unconverged


@pytest.mark.slow
def test_each_truth_lies_where_it_does_in_the_exact_posterior(solved):
    """Far sharper than uniform ranks: the noise of the truths is the same on both sides, that of 1,000 draws remains."""
    case, _, found = solved
    exact = fg.calibrate(case.graph, case.simulate, solve=solver(), seed=SEED)
    for name in ("parent.mean", "parent.sigma", "dataset_0.x"):
        np.testing.assert_array_equal(found[name].truths, exact[name].truths)
        difference = found[name].z - exact[name].z
        assert np.abs(np.mean(difference)) < 0.03, name
        assert np.sqrt(np.mean(difference**2)) < 0.15, name
        assert np.polyfit(exact[name].z, found[name].z, 1)[0] == pytest.approx(1.0, abs=0.04), name


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"width": 0.8}, {"width": 1.3}, {"shift": 0.3}], ids=str)
def test_a_fault_of_the_engine_would_be_caught(solved, fault):
    case, kept, _ = solved
    found = fg.calibrate(case.graph, case.simulate, solve=kept.with_fault(**fault), seed=SEED)
    assert len(found.failures) >= 2, found.info


# --- all models ---


@long
@pytest.mark.parametrize("name", [name for name in CASES if name != mean_and_scatter.__name__])
def test_a_model_is_calibrated(name):
    case = CASES[name]()
    found = fg.calibrate(case.graph, case.simulate, seed=0)
    assert found.passed, found.info


@long
@pytest.mark.parametrize("num", [1, 200])
def test_one_dataset_and_two_hundred(num):
    case = mean_and_scatter(num=num)
    found = fg.calibrate(case.graph, case.simulate, seed=2)
    assert found.passed, found.info


@long
def test_two_thousand_surveys():
    """Which see a posterior that is 5 % too narrow."""
    case = mean_and_scatter()
    found = fg.calibrate(case.graph, case.simulate, num_simulations=2000, seed=3)
    assert found.passed, found.info


# --- faults planted in the graph ---


def with_prior_twice(survey: fg.FactorGraphModel, seed: int) -> dict[fg.Variable, np.ndarray]:
    """N(0, 1) and HalfNormal(1), squared, are the same with a scale of sqrt(1/2)."""
    narrow = np.sqrt(0.5)
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, narrow), sigma=fg.HalfNormalPrior(narrow)
    )
    twin = population(parent, [factor.analysis for factor in survey.factors])
    draws, original = twin.optimise(seed=seed).mean_field.draws, survey.hierarchical_factors[0]
    return {original.mean: draws(parent.mean), original.sigma: draws(parent.sigma)}


def with_first_dataset_twice(survey: fg.FactorGraphModel, seed: int) -> fg.Result:
    first = survey.factors[0]
    again = fg.AnalysisFactor(first.prior_model, first.analysis, name="again")
    return fg.FactorGraphModel(*survey.factors, again, *survey.hierarchical_factors).optimise(seed=seed)


@long
@pytest.mark.parametrize(
    ("solve", "noise", "quantity"),
    [(with_prior_twice, 3.0, "parent.sigma"), (with_first_dataset_twice, 1.0, "dataset_0.x")],
)
def test_a_fault_of_the_graph_is_caught(solve, noise, quantity):
    case = mean_and_scatter(noise=noise)
    found = fg.calibrate(case.graph, case.simulate, solve=solve, seed=SEED)
    assert quantity in {check.quantity for check in found.failures}, found.info


# --- against NUTS on the joint model ---


@pytest.mark.slow
def test_nuts_over_all_unknowns():
    """T-CAL 4: counts of fifty objects. Means within 0.1 sds, sds within 10 %; both agree with quadrature, EP by far the
    better."""
    pytest.importorskip("blackjax")
    rng = np.random.default_rng(7)
    exposures = np.geomspace(2.0, 40.0, 50)
    counts = rng.poisson(exposures * np.exp(rng.normal(0.5, 0.6, 50))).astype(float)
    parent = gaussian_parent()
    graph = population(parent, [Counts(*pair) for pair in zip(counts.tolist(), exposures.tolist())])
    result = graph.optimise(seed=0)
    chains = fg.NUTS(num_warmup=500, num_draws=2000).fit(model=graph.global_prior_model, analysis=graph, seed=1)
    assert np.min(chains.samples.diagnostics["ess"]) > 0.03**-2.0

    shared = [parent.mean, parent.sigma]
    variables = shared + [factor.prior_model.x for factor in graph.factors]
    (mean, scale), (nuts_mean, nuts_scale) = (
        (np.array([moments.mean[v] for v in variables]), np.array([moments.scale[v] for v in variables]))
        for moments in (result.mean_field, chains.mean_field)
    )
    assert np.max(np.abs(mean - nuts_mean) / nuts_scale) < 0.1
    assert np.max(np.abs(scale / nuts_scale - 1.0)) < 0.1
    assert result.k_hat < 0.7
    assert f"k-hat {result.k_hat:.2f}" in result.info

    x = midpoints(-4.0, 5.0, 1800)
    known = quadrature(
        lambda a, b: stats.norm.logpdf(a) + stats.halfnorm.logpdf(b),
        stats.norm.pdf,
        stats.poisson.pmf(counts[:, None], exposures[:, None] * np.exp(x)),
        x,
        ((-1.0, 2.0), (0.02, 3.0)),
    )
    assert_close(result, shared, known, shift=0.02, spread=0.02)
    assert_close(result.ep, shared, known, shift=0.1, spread=0.1)
    assert_close(chains, shared, known, shift=0.1, spread=0.1)


# --- edges ---


class Missing(fg.Analysis):
    """A dataset of which nothing was recorded."""

    def log_likelihood_function(self, instance):
        return 0.0 * instance.x


def test_without_data_the_posterior_is_the_prior():
    parent = gaussian_parent()
    graph = population(parent, [Missing() for _ in range(20)])
    result = graph.optimise(seed=0)
    draws = result.mean_field.draws
    scatter = stats.halfnorm.ppf((np.arange(2000) + 0.5) / 2000)

    def predictive(x):
        return np.mean(stats.norm.cdf(np.asarray(x)[:, None], scale=np.hypot(1.0, scatter)), axis=-1)

    assert stats.kstest(draws(parent.mean), stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(draws(parent.sigma), stats.halfnorm.cdf).pvalue > 1e-3
    for factor in graph.factors[::5]:
        assert stats.kstest(draws(factor.prior_model.x), predictive).pvalue > 1e-3


@pytest.mark.parametrize(
    ("y", "error"),
    [
        pytest.param([8.0 + 0.1 * i for i in range(20)], 0.5, id="prior-data conflict"),
        pytest.param([1.5], 0.5, id="one dataset", marks=long),
        pytest.param([6.0], 0.5, id="one dataset, in conflict with the prior", marks=long),
    ],
)
def test_the_exact_posterior_at_the_edges(y, error):
    parent = gaussian_parent()
    result = population(parent, [Measurement(value, error) for value in y]).optimise(seed=0)
    mean, scale = grid_moments(np.array(y), np.full(len(y), error))
    found = result.mean_field
    for i, variable in enumerate((parent.mean, parent.sigma)):
        assert abs(found.mean[variable] - mean[i]) < 0.1 * scale[i]
        assert found.scale[variable] == pytest.approx(scale[i], rel=0.1)
