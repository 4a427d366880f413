"""Likelihoods that read shared and private variables at once: against quadrature, however sharp, in every lane."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import factorgraph as fg

NUM, ERROR = 6, 0.5


class Law:
    def __init__(self, x=0.0, c=0.0):
        self.x = x
        self.c = c


class Squares(fg.Analysis):
    """x is measured with an error of a half, c x^2 as sharply as one likes."""

    def __init__(self, y, w, sharpness):
        super().__init__()
        self.y = y
        self.w = w
        self.sharpness = sharpness

    def log_likelihood_function(self, instance):
        near = ((self.y - instance.x) / ERROR) ** 2
        sharp = ((self.w - instance.c * instance.x**2) / self.sharpness) ** 2
        return -0.5 * (near + sharp) - jnp.log(2.0 * jnp.pi * ERROR * self.sharpness)


class CalledSquares(Squares):
    """In plain Python, so that JAX cannot trace it."""

    def log_likelihood_function(self, instance):
        near = ((self.y - float(instance.x)) / ERROR) ** 2
        sharp = ((self.w - float(instance.c) * float(instance.x) ** 2) / self.sharpness) ** 2
        return -0.5 * (near + sharp) - np.log(2.0 * np.pi * ERROR * self.sharpness)


def data(sharpness, seed):
    random = np.random.default_rng(seed)
    x = random.normal(1.5, 0.7, NUM)
    return x + ERROR * random.normal(size=NUM), 1.2 * x**2 + sharpness * random.normal(size=NUM)


def graph(y, w, sharpness, analysis=Squares):
    c = fg.GaussianPrior(1.0, 1.0)
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(2.0, 0.5), name="parent"
    )
    factors = []
    for one, other in zip(y.tolist(), w.tolist(), strict=True):
        model = fg.Model(Law, c=c)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, analysis(one, other, sharpness)))
    return fg.FactorGraphModel(*factors, parent), (c, parent.mean, parent.sigma)


def exact(y, w, sharpness, num=31):
    """Means and sds (3,) of c, mean and sigma, and log evidence, by quadrature that closes in on the posterior."""
    x = -3.5 + 9.5 * (np.arange(9500) + 0.5) / 9500
    limits = np.array([[0.02, 4.0], [-1.5, 4.0], [0.01, 4.0]])
    for _ in range(3):
        steps = (limits[:, 1] - limits[:, 0]) / num
        axes = limits[:, :1] + (np.arange(num) + 0.5) * steps[:, None]
        mean, sigma = (a.ravel() for a in np.meshgrid(axes[1], axes[2], indexing="ij"))
        drawn = stats.norm.pdf(x[:, None], mean, sigma) * (x[1] - x[0])
        prior = stats.norm.logpdf(mean, 0.0, 3.0) + stats.gamma.logpdf(sigma, 2.0, scale=0.5)
        values = np.empty((num, mean.size))
        for k, c in enumerate(axes[0]):
            log_likelihood = stats.norm.logpdf(y[:, None], x, ERROR) + stats.norm.logpdf(
                w[:, None], c * x**2, sharpness
            )
            top = log_likelihood.max(axis=1, keepdims=True)
            with np.errstate(divide="ignore"):
                factors = np.log(np.exp(log_likelihood - top) @ drawn)
            values[k] = factors.sum(axis=0) + top.sum() + stats.norm.logpdf(c, 1.0, 1.0) + prior
        weight = np.exp(values - logsumexp(values))
        points = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")])
        means = points @ weight.ravel()
        sds = np.sqrt((points - means[:, None]) ** 2 @ weight.ravel())
        reach = 7.0 * np.maximum(sds, 0.7 * steps)
        limits = np.stack([np.maximum(limits[:, 0], means - reach), np.minimum(limits[:, 1], means + reach)], axis=1)
    return means, sds, logsumexp(values) + np.log(steps).sum()


def check(result, variables, expected):
    means, sds, log_evidence = expected
    found = np.array([result.mean_field.mean[v] for v in variables])
    scales = np.array([result.mean_field.scale[v] for v in variables])
    np.testing.assert_allclose((found - means) / sds, 0.0, atol=0.1)
    np.testing.assert_allclose(scales / sds, 1.0, atol=0.1)
    assert abs(result.log_evidence - log_evidence) < max(0.1, 3.0 * result.log_evidence_error)
    assert result.converged


@pytest.mark.parametrize(
    "sharpness", [pytest.param(0.02, marks=pytest.mark.slow), pytest.param(0.1, marks=pytest.mark.slow), 1.0]
)
def test_sharp_likelihood(sharpness):
    y, w = data(sharpness, 4)
    asked, variables = graph(y, w, sharpness)
    check(asked.optimise(seed=0), variables, exact(y, w, sharpness))


@pytest.mark.slow
def test_explored_by_an_optimiser():
    """A search explores, the kernels evaluate: the same answer."""
    y, w = data(0.3, 5)
    asked, variables = graph(y, w, 0.3)
    check(asked.optimise(seed=0, optimiser=fg.LaplaceOptimiser()), variables, exact(y, w, 0.3))


@pytest.mark.slow
def test_called_likelihood():
    y, w = data(1.0, 4)
    asked, variables = graph(y, w, 1.0, CalledSquares)
    check(asked.optimise(seed=0), variables, exact(y, w, 1.0))


class Scaled:
    def __init__(self, x=0.0, gain=1.0):
        self.x = x
        self.gain = gain


class Gain(fg.Analysis):
    """gain x is measured, and the gain, badly."""

    def __init__(self, y, gain):
        super().__init__()
        self.y = y
        self.gain = gain

    def log_likelihood_function(self, instance):
        product = ((self.y - instance.gain * instance.x) / 0.2) ** 2
        return -0.5 * (product + ((self.gain - instance.gain) / 0.4) ** 2) - jnp.log(2.0 * jnp.pi * 0.08)


@pytest.mark.slow
def test_a_gamma_prior_of_a_private_variable():
    """It is no part of what the parent re-weights, and its quantiles are not needed."""
    random = np.random.default_rng(3)
    x, gains = random.normal(2.0, 0.5, 12), random.gamma(9.0, 1.0 / 9.0, 12)
    y, measured = gains * x + 0.2 * random.normal(size=12), gains + 0.4 * random.normal(size=12)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(2.0, 0.5))
    factors = []
    for one, other in zip(y.tolist(), measured.tolist(), strict=True):
        model = fg.Model(Scaled, gain=fg.GammaPrior(9.0, 1.0 / 9.0))
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, Gain(one, other)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)

    grid = (np.arange(400) + 0.5) * 4.0 / 400  # of the gain; x is integrated by hand
    means, sigmas = -1.0 + 6.0 * (np.arange(240) + 0.5) / 240, (np.arange(240) + 0.5) * 2.5 / 240
    mean, sigma = (a.ravel() for a in np.meshgrid(means, sigmas, indexing="ij"))
    log_joint = stats.norm.logpdf(mean, 0.0, 3.0) + stats.gamma.logpdf(sigma, 2.0, scale=0.5)
    prior = stats.gamma.pdf(grid, 9.0, scale=1.0 / 9.0) * (grid[1] - grid[0])
    for one, other in zip(y, measured, strict=True):
        weight = prior * stats.norm.pdf(other, grid, 0.4)
        sd = np.sqrt(0.04 + (grid[:, None] * sigma) ** 2)
        log_joint = log_joint + np.log(weight @ stats.norm.pdf(one, grid[:, None] * mean, sd))
    log_evidence = logsumexp(log_joint) + np.log((means[1] - means[0]) * (sigmas[1] - sigmas[0]))
    posterior = np.exp(log_joint - logsumexp(log_joint))
    for variable, values in ((parent.mean, mean), (parent.sigma, sigma)):
        expected = posterior @ values
        scale = np.sqrt(posterior @ (values - expected) ** 2)
        assert abs(result.mean_field.mean[variable] - expected) < 0.1 * scale
        assert result.mean_field.scale[variable] == pytest.approx(scale, rel=0.07)
    assert abs(result.log_evidence - log_evidence) < max(0.1, 3.0 * result.log_evidence_error)
