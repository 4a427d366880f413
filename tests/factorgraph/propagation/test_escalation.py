"""A private ridge far narrower than its prior and curved: what importance sampling misses is noticed, and mended."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import factorgraph as fg
from tests.compilations import count_compilations

NUM = 10


class Pair:
    def __init__(self, u=0.0, v=0.0):
        self.u = u
        self.v = v


class Product(fg.Analysis):
    """u v is measured sharply, u badly."""

    def __init__(self, y, w, sharpness):
        super().__init__()
        self.y = y
        self.w = w
        self.sharpness = sharpness

    def log_likelihood_function(self, instance):
        sharp = ((self.y - instance.u * instance.v) / self.sharpness) ** 2
        return -0.5 * (sharp + (self.w - instance.u) ** 2) - jnp.log(2.0 * jnp.pi * self.sharpness)


def exact(y, w, sharpness):
    """Means and sds of the population's mean and scatter, and log evidence: u by hand, the others on grids."""
    v = -12.0 + 24.0 * (np.arange(24000) + 0.5) / 24000
    of_y, both, of_w = 4.0 * v**2 + sharpness**2, 4.0 * v, 5.0
    determinant = of_y * of_w - both**2
    square = of_w * y[:, None] ** 2 - 2.0 * both * y[:, None] * w[:, None] + of_y * w[:, None] ** 2
    log_likelihood = -0.5 * square / determinant - 0.5 * np.log(determinant) - np.log(2.0 * np.pi)
    top = log_likelihood.max(axis=1, keepdims=True)
    likelihood = np.exp(log_likelihood - top) * (v[1] - v[0])
    limits = np.array([[-4.0, 5.0], [0.005, 5.0]])
    for _ in range(3):
        steps = (limits[:, 1] - limits[:, 0]) / 31
        axes = limits[:, :1] + (np.arange(31) + 0.5) * steps[:, None]
        mean, sigma = (a.ravel() for a in np.meshgrid(*axes, indexing="ij"))
        log_joint = stats.norm.logpdf(mean, 0.0, 2.0) + stats.gamma.logpdf(sigma, 2.0, scale=0.5) + top.sum()
        with np.errstate(divide="ignore"):
            log_joint = log_joint + np.log(likelihood @ stats.norm.pdf(v[:, None], mean, sigma)).sum(axis=0)
        weight = np.exp(log_joint - logsumexp(log_joint))
        points = np.stack([mean, sigma])
        means = points @ weight
        sds = np.sqrt((points - means[:, None]) ** 2 @ weight)
        reach = 8.0 * np.maximum(sds, steps)
        limits = np.stack([np.maximum(limits[:, 0], means - reach), np.minimum(limits[:, 1], means + reach)], axis=1)
    return means, sds, logsumexp(log_joint) + np.log(steps).sum()


@pytest.mark.filterwarnings("ignore:.*may be wrong")
@pytest.mark.parametrize("sharpness", [0.01, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_curved_ridge(sharpness):
    random = np.random.default_rng(2)
    u, v = random.normal(0.0, 2.0, NUM), random.normal(1.0, 0.5, NUM)
    y, w = u * v + sharpness * random.normal(size=NUM), u + random.normal(size=NUM)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=fg.GammaPrior(2.0, 0.5))
    factors = []
    for one, other in zip(y.tolist(), w.tolist(), strict=True):
        model = fg.Model(Pair, u=fg.GaussianPrior(0.0, 2.0))
        parent.add_drawn_variable(model.v)
        factors.append(fg.AnalysisFactor(model, Product(one, other, sharpness)))
    with count_compilations() as compilations:
        result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    means, sds, log_evidence = exact(y, w, sharpness)
    found = np.array([result.mean_field.mean[x] for x in (parent.mean, parent.sigma)])
    scales = np.array([result.mean_field.scale[x] for x in (parent.mean, parent.sigma)])
    np.testing.assert_allclose((found - means) / sds, 0.0, atol=0.2)
    np.testing.assert_allclose(scales / sds, 1.0, atol=0.15)
    assert abs(result.log_evidence - log_evidence) < 0.3
    if sharpness < 0.05:
        assert "sequential Monte Carlo" in result.info
    assert compilations.count <= 8, "a kernel a stage, the costlier way included"
