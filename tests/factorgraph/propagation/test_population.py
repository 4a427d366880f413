"""Nodes stand for all points of a dataset: what that costs, over many datasets of which all are integrated alike."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import factorgraph as fg

NUM = 200


class Place:
    def __init__(self, x=0.0):
        self.x = x


class HeavyTailed(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -jnp.log(jnp.pi) - jnp.log1p((self.y - instance.x) ** 2)


def exact(y):
    """Log evidence, means and sds of the population's mean and scatter, on grids."""
    x = np.linspace(-80.0, 80.0, 8001)
    likelihood = stats.cauchy.pdf(y[:, None], x) * (x[1] - x[0])
    means, sigmas = np.linspace(-1.5, 3.5, 81), np.linspace(1.0, 5.0, 81)
    log_joint = np.empty((len(means), len(sigmas)))
    for i, mean in enumerate(means):
        log_prior = stats.norm.logpdf(mean, 0.0, 3.0) + stats.gamma.logpdf(sigmas, 2.0, scale=2.0)
        log_joint[i] = np.log(likelihood @ stats.norm.pdf(x[:, None], mean, sigmas)).sum(axis=0) + log_prior
    weight = np.exp(log_joint - logsumexp(log_joint))
    moments = []
    for values, share in ((means, weight.sum(1)), (sigmas, weight.sum(0))):
        moments.append((values @ share, np.sqrt((values - values @ share) ** 2 @ share)))
    return logsumexp(log_joint) + np.log((means[1] - means[0]) * (sigmas[1] - sigmas[0])), *np.transpose(moments)


@pytest.mark.parametrize("seed", [0, 1])
def test_errors_of_the_integrals_do_not_add_up(seed):
    random = np.random.default_rng(seed)
    y = random.normal(1.0, 2.5, NUM) + random.standard_cauchy(NUM)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(2.0, 2.0))
    factors = []
    for value in y.tolist():
        model = fg.Model(Place)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, HeavyTailed(value)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=seed)
    log_evidence, means, sds = exact(y)
    moments = result.mean_field
    for variable, mean, sd in zip((parent.mean, parent.sigma), means, sds, strict=True):
        assert moments.mean[variable] == pytest.approx(mean, abs=0.01 * sd)
        assert moments.scale[variable] == pytest.approx(sd, rel=0.01)
    assert abs(result.log_evidence - log_evidence) < 0.05
