"""NUTS against posteriors in closed form, and what it says of itself where it fails."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, polygamma

import factorgraph as fg
from searches import (
    NUTS,
    LikelihoodFailedError,
    LikelihoodTypeError,
    SearchError,
    SearchWarning,
    SettingError,
    Status,
    Target,
    TargetError,
)
from tests.searches.targets import correlated_gaussian, two_modes

pytest.importorskip("blackjax")


@pytest.mark.parametrize("dimension", [1, 10])
def test_correlated_gaussian(dimension):
    known = correlated_gaussian(dimension)
    samples = NUTS().run(known.target, seed=1)
    ess, sd = samples.diagnostics["ess"], np.sqrt(np.diag(known.covariance))
    assert np.all(ess > 400)
    assert np.all(samples.diagnostics["r_hat"] < 1.01)
    assert samples.diagnostics["status"] == Status.ok
    assert samples.diagnostics["num_divergent"] == 0
    assert np.all(np.abs(samples.mean - known.mean) < 4 * sd / np.sqrt(ess))
    assert np.all(np.abs(samples.standard_deviation / sd - 1) < 4 / np.sqrt(ess))
    assert np.isnan(samples.log_evidence)
    assert len(samples) == len(samples.diagnostics["chain"]) == 4000
    assert samples.num_calls > 2 * len(samples)
    np.testing.assert_allclose(samples.log_likelihood, known.target.log_likelihoods(samples.x), rtol=1e-9)


def flat(x, data):
    return 0.0 * x[0]


def skewed(x, data):
    """The logarithm of a Gamma variable of this shape, far from the origin."""
    return data * (x[0] - 20.0) - jnp.exp(x[0] - 20.0)


def test_an_improper_prior_is_started_about_the_mode():
    """log Gamma(2) has mean digamma(2) and variance trigamma(2)."""
    target = Target(names=("a",), log_likelihood=skewed, log_prior=flat, data=2.0, proper_prior=False)
    samples = NUTS(num_draws=500).run(target, seed=1)
    error = 4.0 / np.sqrt(samples.diagnostics["ess"][0])
    sd = np.sqrt(polygamma(1, 2.0))
    assert samples.diagnostics["r_hat"][0] < 1.02
    assert abs(samples.mean[0] - 20.0 - digamma(2.0)) < error * sd
    assert samples.standard_deviation[0] == pytest.approx(sd, rel=error)


def test_chains_in_different_modes_are_noticed():
    samples = NUTS(num_draws=200).run(two_modes(2).target, seed=2)
    assert np.max(samples.diagnostics["r_hat"]) > 1.2
    assert samples.diagnostics["status"] == Status.max_steps_reached


def test_same_seed_same_draws():
    target = correlated_gaussian(2).target
    first, again, other = (NUTS(num_draws=50).run(target, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


def funnel(x, data):
    """The sd of x_1 is exp(4 x_0)."""
    return -0.5 * ((x[1] - data) * jnp.exp(-4.0 * x[0])) ** 2 - 4.0 * x[0]


def test_divergent_draws_are_said():
    with pytest.warns(SearchWarning, match="divergent.*target_acceptance"):
        samples = NUTS(num_chains=2, num_warmup=100, num_draws=100, max_num_doublings=5).run(
            Target(names=("a", "b"), log_likelihood=funnel, data=0.0), seed=0
        )
    assert samples.diagnostics["num_divergent"] > 0


def half_line(x, data):
    return jnp.where(x[0] > 0.0, -0.5 * jnp.sum(x**2), data)


@pytest.mark.parametrize("value", [-np.inf, np.nan])
@pytest.mark.filterwarnings("ignore::searches.errors.SearchWarning")
def test_impossible_models(value):
    """Half a normal of variance 1/2: its mean is 1 / sqrt(pi)."""
    samples = NUTS().run(Target(names=("a",), log_likelihood=half_line, data=value), seed=1)
    assert np.all(samples.x > 0.0)
    assert np.all(np.isfinite(samples.log_likelihood))
    error = samples.standard_deviation[0] / np.sqrt(samples.diagnostics["ess"][0])
    assert abs(samples.mean[0] - 1.0 / np.sqrt(np.pi)) < 4.0 * error
    assert (samples.diagnostics["num_bad"] > 0) == np.isnan(value)


def plain(x, data):
    return jnp.sum(x * data)


def test_what_it_refuses():
    with pytest.raises(LikelihoodFailedError, match="nan"):
        NUTS().run(Target(names=("a",), log_likelihood=plain, data=np.full(1, np.nan)), seed=1)
    with pytest.raises(LikelihoodTypeError, match=r"shape \(2,\)"):
        NUTS().run(Target(names=("a", "b"), log_likelihood=lambda x, data: x), seed=1)
    with pytest.raises(TargetError, match="DynestyStatic"):
        NUTS().run(Target(names=("a",), log_likelihood=plain, is_jax=False), seed=1)
    improper = Target(names=("a",), log_likelihood=plain, log_prior=plain, data=np.zeros(1), proper_prior=False)
    with pytest.raises(SearchError, match="without curvature.*proper prior"):
        NUTS().run(improper, seed=1)
    with pytest.raises(SettingError, match="Did you mean 'num_draws'"):
        NUTS(num_draw=1)
    with pytest.raises(SettingError, match="num_chains must be positive"):
        NUTS(num_chains=1)


class Place:
    def __init__(self, x=0.0):
        self.x = x


class Reading(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - instance.x) ** 2


def readings(y):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(4.0, 0.5))
    factors = []
    for value in y.tolist():
        model = fg.Model(Place)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, Reading(value)))
    return fg.FactorGraphModel(*factors, parent), parent


@pytest.mark.slow
def test_a_hierarchy_is_solved_as_by_propagation():
    """All unknowns at once, and only the shared ones, against expectation propagation, which is exact to 1 % here."""
    y = np.random.default_rng(3).normal(1.0, 2.2, 10)
    graph, parent = readings(y)
    known = graph.optimise(seed=0).mean_field
    search = fg.NUTS(num_warmup=200, num_draws=400, target_acceptance=0.9)
    for analysis in (graph, graph.contracted):
        result = search.fit(model=analysis.global_prior_model, analysis=analysis, seed=1)
        moments = result.mean_field
        for variable in (parent.mean, parent.sigma):
            assert abs(moments.mean[variable] - known.mean[variable]) < 0.15 * known.scale[variable]
            assert moments.scale[variable] == pytest.approx(known.scale[variable], rel=0.1)
    assert np.isnan(result.log_evidence)
    assert "SMC" in result.log_evidence_note
    found = result.samples.diagnostics
    told = f"R-hat at most {np.max(found['r_hat']):.3f}, effective draws at least {np.min(found['ess']):.0f} of 1,600"
    assert told in result.info
    assert np.min(found["ess"]) < 1600


@pytest.mark.slow
def test_it_explores_a_factor():
    y = np.random.default_rng(3).normal(1.0, 2.2, 3)
    graph, parent = readings(y)
    known = graph.optimise(seed=0).mean_field
    graph, again = readings(y)
    found = graph.optimise(optimiser=fg.NUTS(num_warmup=200, num_draws=250), seed=0).mean_field
    assert abs(found.mean[again.mean] - known.mean[parent.mean]) < 0.1 * known.scale[parent.mean]
