"""Plates inside plates: stars in clusters in a galaxy, against linear algebra and a grid."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg

STAR = 0.8  # scatter of the stars within a cluster


class Star:
    def __init__(self, age=0.0):
        self.age = age


class Measured(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.age) / self.error) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi * self.error**2)


def simulated(num_clusters, num_stars, seed):
    random = np.random.default_rng(seed)
    clusters = random.normal(5.0, 1.5, num_clusters)
    errors = random.uniform(0.3, 1.0, (num_clusters, num_stars))
    return clusters[:, None] + np.hypot(errors, STAR) * random.standard_normal(errors.shape), errors


def galaxy(y, errors, scatter):
    of_clusters = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=scatter)
    factors, parents = [], [of_clusters]
    for row, error in zip(y, errors):
        centre = fg.Variable("cluster")
        of_clusters.add_drawn_variable(centre)
        of_stars = fg.HierarchicalFactor(fg.GaussianPrior, mean=centre, sigma=STAR)
        parents.append(of_stars)
        for value, sd in zip(row, error):
            model = fg.Model(Star)
            of_stars.add_drawn_variable(model.age)
            factors.append(fg.AnalysisFactor(model, Measured(float(value), float(sd))))
    return fg.FactorGraphModel(*factors, *parents), of_clusters


def log_likelihood(y, errors, scatter):
    """Of all stars given the scatter of the clusters, the galaxy's mean integrated out; and its mean and variance."""
    weight = 1.0 / (errors**2 + STAR**2)
    total = np.sum(stats.norm.logpdf(y, 0.0, np.sqrt(1.0 / weight)))
    w, h = weight.sum(axis=1), (weight * y).sum(axis=1)
    # a cluster: exp(h c - w c^2 / 2) times N(c | mu, scatter) is Gaussian in mu
    shrunk = 1.0 / (1.0 + w * scatter**2)
    total += 0.5 * np.sum(h**2 * scatter**2 * shrunk) + 0.5 * np.sum(np.log(shrunk))
    precision, slope = np.sum(w * shrunk) + 0.01, np.sum(h * shrunk)
    total += 0.5 * slope**2 / precision - 0.5 * np.log(precision) - np.log(10.0)
    return total, slope / precision, 1.0 / precision


def test_known_scatters_are_exact():
    y, errors = simulated(8, 6, seed=1)
    graph, of_clusters = galaxy(y, errors, 1.5)
    result = graph.optimise(seed=0)
    log_evidence, mean, variance = log_likelihood(y, errors, 1.5)
    assert result.is_exact
    assert result.mean_field.mean[of_clusters.mean] == pytest.approx(mean, abs=1e-6)
    assert result.mean_field.variance[of_clusters.mean] == pytest.approx(variance, rel=1e-6)
    assert result.log_evidence == pytest.approx(log_evidence, abs=1e-6)


def test_unknown_scatter_of_the_clusters():
    y, errors = simulated(10, 5, seed=2)
    scatter = fg.HalfNormalPrior(3.0)
    graph, of_clusters = galaxy(y, errors, scatter)
    result = graph.optimise(seed=0)
    grid = (np.arange(1500) + 0.5) * 0.01
    found = [log_likelihood(y, errors, value) for value in grid]
    log_joint = np.array([f[0] for f in found]) + stats.halfnorm.logpdf(grid, scale=3.0)
    p = np.exp(log_joint - log_joint.max())
    log_evidence = log_joint.max() + np.log(p.sum() * 0.01)
    p /= p.sum()
    means, variances = np.array([f[1] for f in found]), np.array([f[2] for f in found])
    for variable, centre, second in (
        (scatter, p @ grid, p @ grid**2),
        (of_clusters.mean, p @ means, p @ (variances + means**2)),
    ):
        sd = np.sqrt(second - centre**2)
        assert abs(result.mean_field.mean[variable] - centre) < 0.1 * sd
        assert result.mean_field.scale[variable] == pytest.approx(sd, rel=0.07)
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.1)
