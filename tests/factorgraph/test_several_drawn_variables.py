"""Datasets with several variables drawn from parents: what stands for them in a sweep has to fill their space.

With noise of the size of the scatter and heavy tails nothing is Gaussian, and a dataset's own posterior is wide.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy import stats

import factorgraph as fg
from tests.factorgraph.test_known_answers import Moments, assert_near, of_result
from tests.factorgraph.test_known_populations import on_grid

NUM = 20


class Triple:
    def __init__(self, a=0.0, b=0.0, c=0.0):
        self.values = (a, b, c)


class HeavyTailed(fg.Analysis):
    """Each variable is measured, with an error of one and four degrees of freedom."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        values = jnp.stack(list(instance.values[: len(self.y)]))
        return jnp.sum(-2.5 * jnp.log1p((self.y - values) ** 2 / 4.0)) + len(self.y) * stats.t.logpdf(0.0, 4.0)


def exact(y):
    """The variables are independent: moments of the mean and scatter of one, with z integrated by quadrature."""
    nodes, weights = hermegauss(120)
    weights = weights / np.sqrt(2.0 * np.pi)

    def log_joint(mean, log_sigma):
        total = stats.norm.logpdf(mean, 0.0, 3.0) + stats.norm.logpdf(log_sigma)
        for value in y:
            z = mean[..., None] + np.exp(log_sigma)[..., None] * nodes
            total += np.log((1.0 + (value - z) ** 2 / 4.0) ** -2.5 @ weights) + stats.t.logpdf(0.0, 4.0)
        return total

    axes = np.linspace(-2.5, 2.5, 81), np.linspace(-3.5, 1.5, 81)
    return on_grid(log_joint, *axes, lambda mean, log_sigma: (mean, np.exp(log_sigma)))


@pytest.mark.parametrize(
    "dimension", [pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_populations_of_heavy_tailed_measurements(dimension):
    random = np.random.default_rng(3)
    theta = random.standard_normal((NUM, dimension))
    y = theta + random.standard_t(4, size=(NUM, dimension))
    parents = [
        fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.LogGaussianPrior(0.0, 1.0))
        for _ in range(dimension)
    ]
    factors = []
    for row in y:
        model = fg.Model(Triple, **dict.fromkeys("abc"[dimension:], 0.0))
        for parent, name in zip(parents, "abc"):
            parent.add_drawn_variable(getattr(model, name))
        factors.append(fg.AnalysisFactor(model, HeavyTailed(row)))
    result = fg.FactorGraphModel(*factors, *parents).optimise(seed=0)
    log_evidence = 0.0
    for parent, column in zip(parents, y.T):
        known = exact(column)
        log_evidence += known.log_evidence
        alone = Moments(known.mean, known.variance, result.log_evidence)
        assert_near(of_result(result, [parent.mean, parent.sigma]), alone, shift=0.15, spread=0.1, evidence=1.0)
    assert abs(result.log_evidence - log_evidence) < max(0.1, 3.0 * result.log_evidence_error)
