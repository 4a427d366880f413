"""Mixtures as proposals: their density is scipy's, their draws have its moments, a fit finds what made the points."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from searches import mixture as mixtures
from searches.mixture import Mixture
from searches.quasi import uniform_points


def example(dimension: int, scale: float = 1.0) -> Mixture:
    random = np.random.default_rng(dimension)
    factor = np.tril(random.normal(size=(3, dimension, dimension)), -1) * 0.3 + np.eye(dimension)
    return Mixture(
        np.log([0.5, 0.3, 0.2]),
        random.normal(size=(3, dimension)) * 2.0,
        scale * factor * np.array([1, 0.5, 2])[:, None, None],
    )


def scipy_log_density(mixture: Mixture, points: np.ndarray) -> np.ndarray:
    parts = [
        weight + stats.multivariate_normal(mean, factor @ factor.T).logpdf(points)
        for weight, mean, factor in zip(*mixture)
    ]
    return np.logaddexp.reduce(parts, axis=0)


@pytest.mark.parametrize("dimension", [1, 2, 3, 6])
def test_log_density(dimension):
    mixture = example(dimension)
    points = np.random.default_rng(1).normal(size=(50, dimension)) * 3.0
    np.testing.assert_allclose(mixtures.log_density(mixture, points), scipy_log_density(mixture, points), atol=1e-10)


def test_log_density_of_a_narrow_component_beside_a_wide_one():
    """Widths a million times smaller than the distance of the means."""
    mixture = Mixture(
        np.log([0.5, 0.5]), np.array([[0.0, 0.0], [30.0, -20.0]]), np.array([5.0, 1e-5])[:, None, None] * np.eye(2)
    )
    points = mixture.mean[1] + 1e-5 * np.random.default_rng(2).normal(size=(40, 2))
    np.testing.assert_allclose(mixtures.log_density(mixture, points), scipy_log_density(mixture, points), atol=1e-6)


@pytest.mark.parametrize("dimension", [1, 3])
def test_draws_have_the_moments(dimension):
    mixture = example(dimension)
    points = mixtures.draws(mixture, uniform_points(2**14, 1 + dimension, 0))
    weights = np.exp(mixture.log_weight)
    mean = weights @ mixture.mean
    second = sum(w * (f @ f.T + np.outer(m, m)) for w, m, f in zip(weights, mixture.mean, mixture.cholesky))
    np.testing.assert_allclose(points.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(points.T, ddof=0), second - np.outer(mean, mean), atol=0.1)


@pytest.mark.parametrize("centre", [0.0, 1e6])
def test_fit_finds_two_modes(centre):
    random = np.random.default_rng(3)
    points = centre + np.concatenate([random.normal(-4.0, 0.5, (600, 2)), random.normal(4.0, 1.0, (400, 2))])
    fitted = mixtures.fit(points, np.full(1000, 1e-3), 2, num_steps=30)
    order = np.argsort(fitted.mean[:, 0])
    np.testing.assert_allclose(np.exp(fitted.log_weight[order]), [0.6, 0.4], atol=0.01)
    np.testing.assert_allclose(fitted.mean[order] - centre, [[-4.0, -4.0], [4.0, 4.0]], atol=0.2)
    np.testing.assert_allclose(fitted.cholesky[order][:, 0, 0], [0.5, 1.0], atol=0.1)


def test_a_kernel_fits_what_numpy_fits():
    random = np.random.default_rng(4)
    points, weights = random.normal(size=(256, 3)), random.dirichlet(np.ones(256))
    with jax.enable_x64(True):
        traced = jax.jit(lambda p, w: mixtures.fit(p, w, 4))(points, weights)
        density = jax.jit(mixtures.log_density)(traced, points)
    host = mixtures.fit(points, weights, 4)
    for a, b in zip(traced, host):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(density, mixtures.log_density(host, points), rtol=1e-6)
