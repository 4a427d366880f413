"""A parent that is a mixture: outliers, and populations of two kinds, against the exact posterior on a grid."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.errors import PriorError
from factorgraph.model import family as families
from factorgraph.model.structure import structure_of

BROAD = 20.0


class Place:
    def __init__(self, x=0.0):
        self.x = x


class Measured(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x) / self.error) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi * self.error**2)


def simulated(num, seed):
    random = np.random.default_rng(seed)
    outlier = random.random(num) < 0.15
    z = 1.0 + random.standard_normal(num) * np.where(outlier, BROAD, 1.5)
    return z + 0.5 * random.standard_normal(num)


def with_outliers(y):
    mean, scatter = fg.GaussianPrior(0.0, 5.0), fg.HalfNormalPrior(5.0)
    weight = fg.DirichletPrior([8.0, 2.0])
    parent = fg.HierarchicalFactor(
        fg.GaussianMixturePrior, weight=weight, mean=(mean, mean), sigma=(scatter, BROAD), name="population"
    )
    factors = []
    for value in y:
        model = fg.Model(Place)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, Measured(float(value), 0.5)))
    return fg.FactorGraphModel(*factors, parent), (mean, scatter, weight[0])


def exact(y):
    """On a grid of (mean, scatter, weight): a normal measurement of a mixture is a mixture."""
    mean = np.linspace(-2.0, 4.0, 121)[:, None, None]
    scatter = ((np.arange(160) + 0.5) * 0.03)[None, :, None]
    weight = ((np.arange(100) + 0.5) / 100.0)[None, None, :]
    log_joint = stats.norm.logpdf(mean, 0.0, 5.0) + stats.halfnorm.logpdf(scatter, scale=5.0)
    log_joint = log_joint + stats.beta.logpdf(weight, 8.0, 2.0)
    for value in y:
        core = weight * stats.norm.pdf(value, mean, np.hypot(scatter, 0.5))
        log_joint = log_joint + np.log(core + (1.0 - weight) * stats.norm.pdf(value, mean, np.hypot(BROAD, 0.5)))
    p = np.exp(log_joint - log_joint.max())
    cell = 0.05 * 0.03 * 0.01
    log_evidence = log_joint.max() + np.log(p.sum() * cell)
    p /= p.sum()
    centre = [np.sum(p * axis) for axis in (mean, scatter, weight)]
    scale = [np.sqrt(np.sum(p * (axis - c) ** 2)) for axis, c in zip((mean, scatter, weight), centre)]
    return np.array(centre), np.array(scale), log_evidence


@pytest.mark.parametrize("num", [pytest.param(25, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.slow)])
def test_outliers(num):
    y = simulated(num, seed=num)
    graph, asked = with_outliers(y)
    result = graph.optimise(seed=0)
    centre, scale, log_evidence = exact(y)
    assert result.is_corrected
    found = np.array([result.mean_field.mean[v] for v in asked])
    sd = np.array([result.mean_field.scale[v] for v in asked])
    np.testing.assert_array_less(np.abs(found - centre) / scale, 0.1)
    np.testing.assert_array_less(np.abs(sd / scale - 1.0), 0.07)
    assert abs(result.log_evidence - log_evidence) < 0.15


def test_names_and_weights():
    y = simulated(5, seed=1)
    graph, (mean, scatter, weight) = with_outliers(y)
    names = set(graph.names.values())
    assert {"population.weight", "population.mean.0", "population.sigma.0"} <= names
    three = fg.DirichletPrior([1.0, 2.0, 3.0])
    assert len(three) == 3
    fractions = [0.2, 0.5]
    assert [f.parameters for f in three.fractions] == [(1.0, 5.0), (2.0, 3.0)]
    structure, variables, constants = structure_of(tuple(three))
    assert variables == three.fractions
    np.testing.assert_allclose(structure.build(fractions, constants), [0.2, 0.4, 0.4])


def test_the_family_against_scipy():
    family, parameters = families.GaussianMixture(2), (0.3, 0.7, -1.0, 4.0, 0.5, 2.0)
    value = np.linspace(-4.0, 12.0, 41)
    density = 0.3 * stats.norm.pdf(value, -1.0, 0.5) + 0.7 * stats.norm.pdf(value, 4.0, 2.0)
    cdf = 0.3 * stats.norm.cdf(value, -1.0, 0.5) + 0.7 * stats.norm.cdf(value, 4.0, 2.0)
    np.testing.assert_allclose(np.exp(family.log_density(value, *parameters)), density, rtol=1e-12)
    x = family.to_normal(value, *parameters)
    np.testing.assert_allclose(stats.norm.cdf(x), cdf, rtol=1e-10)
    np.testing.assert_allclose(family.from_normal(x, *parameters), value, atol=1e-8)


def test_misuse_is_told():
    with pytest.raises(PriorError, match="as many of each"):
        fg.HierarchicalFactor(fg.GaussianMixturePrior, weight=(0.5, 0.5), mean=(0.0,), sigma=(1.0, 1.0))
    with pytest.raises(PriorError, match="must sum to 1"):
        fg.GaussianMixturePrior(weight=(0.5, 0.6), mean=(0.0, 1.0), sigma=(1.0, 1.0))
    with pytest.raises(PriorError, match="greater than 0"):
        fg.HierarchicalFactor(
            fg.GaussianMixturePrior, weight=(0.5, 0.5), mean=(fg.GaussianPrior(0.0, 1.0), 0.0), sigma=(1.0, -1.0)
        )
    with pytest.raises(PriorError, match="a sequence is needed"):
        fg.HierarchicalFactor(fg.GaussianMixturePrior, weight=0.5, mean=(0.0, 1.0), sigma=(1.0, 1.0))
    with pytest.raises(PriorError, match="HierarchicalFactor"):
        fg.GaussianMixturePrior(weight=(0.5, 0.5), mean=(fg.GaussianPrior(0.0, 1.0), 0.0), sigma=(1.0, 1.0))
    with pytest.raises(PriorError, match="DirichletPrior"):
        fg.DirichletPrior([1.0])


def test_as_a_prior_of_its_own():
    """The posterior of one measured value under two kinds."""
    x = fg.GaussianMixturePrior(weight=(0.3, 0.7), mean=(-2.0, 2.0), sigma=(0.5, 1.0))
    result = fg.FactorGraphModel(fg.AnalysisFactor(fg.Model(Place, x=x), Measured(-0.5, 1.0))).optimise(seed=0)
    grid = np.linspace(-8.0, 8.0, 4001)
    p = 0.3 * stats.norm.pdf(grid, -2.0, 0.5) + 0.7 * stats.norm.pdf(grid, 2.0, 1.0)
    p = p * stats.norm.pdf(-0.5, grid, 1.0)
    mean = np.average(grid, weights=p)
    assert result.mean_field.mean[x] == pytest.approx(mean, abs=0.02)
    assert result.mean_field.variance[x] == pytest.approx(np.average((grid - mean) ** 2, weights=p), rel=0.03)
    assert result.log_evidence == pytest.approx(np.log(p.sum() * (grid[1] - grid[0])), abs=0.02)
