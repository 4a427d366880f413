"""Posteriors that one Gaussian does not describe: right, or said to be uncertain; never wrong with good diagnostics."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from tests.factorgraph.test_scatter import population, quadrature


class Level:
    def __init__(self, x=0.0):
        self.x = x


class Square(fg.Analysis):
    """The sign is not measured."""

    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x**2) / self.error) ** 2


class Saturated(fg.Analysis):
    """A detector that shows no more than its limit."""

    def __init__(self, y, error, limit):
        super().__init__()
        self.y = y
        self.error = error
        self.limit = limit

    def log_likelihood_function(self, instance):
        shown = jnp.minimum(instance.x, self.limit)
        return -0.5 * ((self.y - shown) / self.error) ** 2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class Position(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x) / self.error) ** 2


@pytest.mark.parametrize("prior_mean", [0.0, 0.2])
def test_both_modes_of_a_shared_variable(prior_mean):
    """x^2 is measured five times; the prior prefers one sign a little."""
    x = fg.GaussianPrior(prior_mean, 2.0)
    y = np.random.default_rng(1).normal(9.0, 1.0, 5)
    factors = [fg.AnalysisFactor(fg.Model(Level, x=x), Square(float(value), 1.0)) for value in y]
    result = fg.FactorGraphModel(*factors).optimise(seed=0)
    grid = np.linspace(-6.0, 6.0, 24001)
    log_joint = stats.norm.logpdf(grid, prior_mean, 2.0) - 0.5 * ((y[:, None] - grid**2) ** 2).sum(axis=0)
    weight = np.exp(log_joint - log_joint.max())
    mean = np.average(grid, weights=weight)
    scale = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
    assert not result.is_exact
    assert result.is_corrected
    assert abs(result.mean_field.mean[x] - mean) < 0.05 * scale
    assert result.mean_field.scale[x] == pytest.approx(scale, rel=0.03)
    assert result.log_evidence == pytest.approx(log_joint.max() + np.log(weight.sum() * (grid[1] - grid[0])), abs=0.05)
    assert np.mean(result.draws[:, 0] > 0.0) == pytest.approx(weight[grid > 0].sum() / weight.sum(), abs=0.03)


def test_a_likelihood_that_is_gaussian_only_from_afar():
    """Ten levels near a limit of 52 that lines about the origin do not reach."""
    random = np.random.default_rng(4)
    levels = random.normal(51.0, 3.0, 10)
    y = np.minimum(levels, 52.0) + 0.5 * random.standard_normal(10)
    a, b = fg.GaussianPrior(50.0, 20.0), fg.GammaPrior(2.0, 2.0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=a, sigma=b)
    result = population(parent, [[Saturated(float(value), 0.5, 52.0)] for value in y]).optimise(seed=0)
    x = np.linspace(20.0, 110.0, 3001)
    known = quadrature(
        lambda a, b: stats.norm.logpdf(a, 50.0, 20.0) + stats.gamma.logpdf(b, 2.0, scale=2.0),
        lambda x, a, b: stats.norm.pdf(x, a, b),
        stats.norm.pdf(y[:, None], np.minimum(x, 52.0), 0.5),
        x,
        ((35.0, 85.0), (0.05, 25.0)),
    )
    for variable, mean, scale in zip((a, b), known.mean, known.scale):
        assert abs(result.mean_field.mean[variable] - mean) < 0.1 * scale
        assert result.mean_field.scale[variable] == pytest.approx(scale, rel=0.07)


def test_a_posterior_narrower_than_rounding_is_not_trusted():
    """Three positions known to one part in 10^10 of the prior's range."""
    x = fg.UniformPrior(0.0, 1e10)
    factors = [fg.AnalysisFactor(fg.Model(Level, x=x), Position(1e9 + y, 1.0)) for y in (-1.0, 0.0, 1.0)]
    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="not be corrected|not converged"):
        result = fg.FactorGraphModel(*factors).optimise(seed=0)
    near = abs(result.mean_field.mean[x] - 1e9) < 0.2
    assert near or not result.is_corrected


class Tail(fg.Analysis):
    """Constant, but larger by ``gain`` nats below a limit that the points of the sweeps do not reach."""

    def __init__(self, limit, gain):
        super().__init__()
        self.limit = limit
        self.gain = gain

    def log_likelihood_function(self, instance):
        return jnp.where(instance.x > self.limit, 0.0, self.gain)


@pytest.mark.parametrize(("limit", "gain"), [(-2.6, 4.0), (-3.2, 6.0)])
def test_what_looks_gaussian_from_near_is_not_called_exact(limit, gain):
    """N(0, 1) wherever the sweeps look, and a fifth of the mass beyond."""
    x = fg.GaussianPrior(0.0, 1.0)
    factors = [fg.AnalysisFactor(fg.Model(Level, x=x), Tail(*pair)) for pair in ((limit, gain), (-50.0, 0.0))]
    result = fg.FactorGraphModel(*factors).optimise(seed=0)
    low, high = stats.norm.cdf(limit) * np.exp(gain), stats.norm.sf(limit)
    weight = low / (low + high)
    below, above = stats.truncnorm(-np.inf, limit), stats.truncnorm(limit, np.inf)
    mean = weight * below.mean() + (1.0 - weight) * above.mean()
    square = weight * below.moment(2) + (1.0 - weight) * above.moment(2)
    scale = np.sqrt(square - mean**2)
    assert not result.is_exact
    assert result.is_corrected
    assert abs(result.mean_field.mean[x] - mean) < 0.05 * scale
    assert result.mean_field.scale[x] == pytest.approx(scale, rel=0.03)
    assert result.log_evidence == pytest.approx(np.log(low + high), abs=0.03)


class Cube(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x**3) / self.error) ** 2


def test_a_sharp_likelihood_beside_its_prior():
    """Private positions known to a few parts in 10^6 of the population's width, by their cubes."""
    x = np.random.default_rng(2).normal(3.0, 2.0, 12)
    a, b = fg.GaussianPrior(0.0, 10.0), fg.GammaPrior(2.0, 2.0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=a, sigma=b)
    result = population(parent, [[Cube(float(value**3), 1e-4)] for value in x]).optimise(seed=0)
    grid_a, grid_b = np.meshgrid(np.linspace(-7.0, 13.0, 500), np.linspace(0.3, 12.0, 500), indexing="ij")
    log_joint = stats.norm.logpdf(grid_a, 0.0, 10.0) + stats.gamma.logpdf(grid_b, 2.0, scale=2.0)
    log_joint += sum(stats.norm.logpdf(value, grid_a, grid_b) for value in x)
    weight = np.exp(log_joint - log_joint.max())
    for variable, grid in ((a, grid_a), (b, grid_b)):
        mean = np.average(grid, weights=weight)
        scale = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
        assert abs(result.mean_field.mean[variable] - mean) < 0.1 * scale
        assert result.mean_field.scale[variable] == pytest.approx(scale, rel=0.07)
    for value, child in zip(x, result):
        assert child.instance.x == pytest.approx(value, abs=1e-3)
