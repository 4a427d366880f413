"""Stars in clusters, whose private brightnesses are integrated by points: what that leaves open is reported."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import factorgraph as fg
from factorgraph.graph.coordinate import coordinate_from_value

NUM_CLUSTERS, NUM_STARS = 20, 3


class Star:
    def __init__(self, x):
        self.x = x


class Counted(fg.Analysis):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def log_likelihood_function(self, instance):
        return self.count * instance.x - jnp.exp(instance.x) - jax.scipy.special.gammaln(self.count + 1.0)


class Measured(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - instance.x) ** 2


def solved(analysis, values):
    """The result, and the stars' prior models by cluster."""
    galaxy = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(1.0, 2.0), sigma=fg.HalfNormalPrior(1.0))
    parents, factors = [galaxy], []
    for row in values:
        centre = fg.Variable("centre")
        galaxy.add_drawn_variable(centre)
        cluster = fg.HierarchicalFactor(fg.GaussianPrior, mean=centre, sigma=0.7)
        parents.append(cluster)
        for value in row:
            model = fg.Model(Star)
            cluster.add_drawn_variable(model.x)
            factors.append(fg.AnalysisFactor(model, analysis(float(value))))
    return fg.FactorGraphModel(*factors, *parents).optimise(seed=0), [parent.mean for parent in parents[1:]]


@pytest.fixture(scope="module")
def brightness():
    random = np.random.default_rng(5)
    return random.normal(2.0, 0.8, (NUM_CLUSTERS, 1)) + random.normal(0.0, 0.7, (NUM_CLUSTERS, NUM_STARS))


@pytest.mark.slow
def test_the_error_of_each_integral(brightness):
    counts = np.random.default_rng(6).poisson(np.exp(brightness)).astype(float)
    result, centres = solved(Counted, counts)
    solution = result._solution
    plate = next(p for p in solution.plates if p.plate.signature.analyses)
    reported = result.diagnostics.log_factor_error.values
    assert plate.explored

    means = np.array([result.mean_field.mean[c] for c in centres])
    x = np.linspace(-12.0, 8.0, 8001)
    log_likelihood = stats.poisson.logpmf(counts.reshape(-1, 1), np.exp(x))
    log_parent = stats.norm.logpdf(x, np.repeat(means, NUM_STARS)[:, None], 0.7)
    exact = special.logsumexp(log_likelihood + log_parent, axis=1) + np.log(x[1] - x[0])
    at_means = dict(zip(centres, means, strict=True))
    phi = np.zeros((1, len(solution.shared)))
    for column, s in enumerate(solution.shared):
        if s.variable in at_means:
            phi[0, column] = coordinate_from_value("real", at_means[s.variable], s.parameters)
    with jax.enable_x64(True):
        found, _ = plate.log_factors(phi)
    size = np.sqrt(np.mean((found[:, 0] - exact) ** 2))
    assert np.all(reported > 0.0)
    assert size / 4.0 < np.sqrt(np.mean(reported**2)) < 10.0 * size

    inner = dict(zip(result.variables, solution.inner_error, strict=True))
    assert all(inner[c] > 0.0 for c in centres)
    assert max(inner[c] for c in centres) < 0.1
    assert result.log_evidence_error >= 0.9 * np.sqrt(np.sum(reported**2))


def test_no_error_where_integrals_are_exact(brightness):
    result, _ = solved(Measured, brightness)
    assert np.all(result.diagnostics.log_factor_error.values == 0.0)
    assert np.all(result._solution.inner_error == 0.0)
