"""The correction where a scatter may be zero: EP's Gaussian ends before the tail does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import factorgraph as fg


class Value:
    def __init__(self, value=0.0):
        self.value = value


class Measurement(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.value) / self.error) ** 2


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_a_scatter_that_may_be_zero(seed):
    random = np.random.default_rng(seed)
    errors = random.uniform(0.7, 1.3, 20)
    y = 0.3 + 0.4 * random.standard_normal(20) + errors * random.standard_normal(20)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 1.0), sigma=fg.HalfNormalPrior(1.0))
    factors = []
    for value, error in zip(y, errors):
        model = fg.Model(Value)
        parent.add_drawn_variable(model.value)
        factors.append(fg.AnalysisFactor(model, Measurement(value, error)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)

    mu, tau = np.meshgrid(np.linspace(-5.0, 5.0, 801), (np.arange(1000) + 0.5) * 0.005, indexing="ij")
    log_joint = stats.norm.logpdf(mu) + stats.halfnorm.logpdf(tau)
    for value, error in zip(y, errors):
        log_joint += stats.norm.logpdf(value, mu, np.hypot(tau, error))
    weight = np.exp(log_joint - log_joint.max())
    weight /= weight.sum()
    mean = float((weight * tau).sum())
    sd = float(np.sqrt((weight * (tau - mean) ** 2).sum()))
    low = float(np.interp(0.05, np.cumsum(weight.sum(axis=0)), tau[0]))

    assert result.is_corrected
    assert abs(result.mean_field.mean[parent.sigma] - mean) < 0.05 * sd
    assert abs(result.mean_field.scale[parent.sigma] / sd - 1.0) < 0.03
    assert abs(np.quantile(result.mean_field.draws(parent.sigma), 0.05) - low) < 0.15 * sd
