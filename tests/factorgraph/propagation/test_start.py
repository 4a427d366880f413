"""The start finds a Gaussian posterior from anywhere, alone or beside factors that are not Gaussian."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg


class Pair:
    def __init__(self, a, b):
        self.a = a
        self.b = b


class Linear(fg.Analysis):
    def __init__(self, y, weight, error):
        super().__init__()
        self.y = y
        self.weight = weight
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.a - self.weight * instance.b) / self.error) ** 2


class Rate(fg.Analysis):
    """Counts with rate exp(b - offset)."""

    def __init__(self, counts, offset):
        super().__init__()
        self.counts = counts
        self.offset = offset

    def log_likelihood_function(self, instance):
        log_rate = instance.b - self.offset
        return self.counts * log_rate - jnp.exp(log_rate)


def linear_factors(a, b, truth, error):
    weights = (-1.0, 0.0, 1.0, 2.0)
    return [
        fg.AnalysisFactor(fg.Model(Pair, a=a, b=b), Linear(truth[0] + w * truth[1], w, error)) for w in weights
    ], np.array([[1.0, w] for w in weights])


@pytest.mark.parametrize(("truth", "error"), [((3.0e5, -2.0e4), 1e-3), ((0.0, 0.0), 1e-6), ((1.0e8, 1.0), 10.0)])
def test_a_gaussian_far_away_with_flat_priors(truth, error):
    """Millions of posterior standard deviations from where an unknown with a flat prior is first looked for."""
    a, b = fg.FlatPrior(), fg.FlatPrior()
    factors, matrix = linear_factors(a, b, truth, error)
    moments = fg.FactorGraphModel(*factors).optimise().mean_field
    covariance = np.linalg.inv(matrix.T @ matrix) * error**2
    for variable, value, variance in zip((a, b), truth, np.diag(covariance)):
        assert moments.scale[variable] == pytest.approx(np.sqrt(variance), rel=1e-6)
        assert abs(moments.mean[variable] - value) < 1e-3 * np.sqrt(variance) + 1e-12 * abs(value)


def test_a_gaussian_far_away_beside_a_factor_that_is_not():
    """Three counts at a rate that the Gaussian factors place at one: exact by quadrature over b."""
    a, b = fg.FlatPrior(), fg.FlatPrior()
    truth, error = (2.0e4, 5.0e3), 1.0
    factors, matrix = linear_factors(a, b, truth, error)
    model = fg.Model(Pair, a=0.0, b=b)
    factors.append(fg.AnalysisFactor(model, Rate(3.0, truth[1])))
    result = fg.FactorGraphModel(*factors).optimise()
    sd = error * np.sqrt(np.linalg.inv(matrix.T @ matrix)[1, 1])
    grid = np.linspace(-6.0, 6.0, 4001)
    weight = np.exp(-0.5 * (grid / sd) ** 2 + 3.0 * grid - np.exp(grid))
    mean = np.average(grid, weights=weight)
    scale = np.sqrt(np.average((grid - mean) ** 2, weights=weight))
    assert result.converged
    assert abs(result.mean_field.mean[b] - truth[1] - mean) < 0.02 * scale
    assert result.mean_field.scale[b] == pytest.approx(scale, rel=0.02)
