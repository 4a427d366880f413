"""Projection recovers the message that made the draws, the quadrature or the mode."""

import numpy as np
import pytest
import scipy.stats

from messages import projection
from messages.bijectors import Softplus
from messages.divergence import kl_divergence
from messages.gamma import Gamma
from messages.multivariate_normal import MultivariateNormal, pack
from messages.normal import Normal
from messages.transformed import Transformed


def test_weighted_draws_of_one_message_give_another():
    """Importance weights p / q of draws from q project on p, to Monte Carlo accuracy."""
    q = MultivariateNormal.from_mean_covariance(np.zeros((3, 2)), 2.0 * np.eye(2))
    p = MultivariateNormal.from_mean_covariance(
        np.array([0.4, -0.3]) * np.ones((3, 1)), np.array([[1.0, 0.5], [0.5, 0.8]])
    )
    draws = q.sample(np.random.default_rng(0), (20_000,))
    projected = projection.from_draws(q, draws, p.log_density(draws) - q.log_density(draws))
    assert (kl_divergence(p, projected) < 1e-3).all()


def test_moments_are_matched_exactly_without_cancellation():
    draws = 1e6 + np.array([-1e-3, 0.0, 1e-3])
    message = projection.from_draws(Normal(np.zeros(2)), draws)
    np.testing.assert_allclose(message.mean, 1e6, rtol=1e-15)
    np.testing.assert_allclose(message.variance, draws.var(), rtol=1e-9)


def test_bad_draws_weigh_nothing():
    """nan as draw or as weight, and a draw outside the support, are as if they were not there."""
    draws = np.array([1.0, 2.0, 3.0, np.nan, -1.0, 5.0])
    log_weights = np.array([0.0, 0.1, 0.2, 0.3, 0.4, np.nan])
    like = Gamma(np.zeros(2))
    message = projection.from_draws(like, draws, log_weights)
    expected = projection.from_draws(like, draws[:3], log_weights[:3])
    np.testing.assert_allclose(message.natural_parameters, expected.natural_parameters, rtol=1e-12)
    np.testing.assert_allclose(
        message.expectation_parameters,
        np.average(like.sufficient_statistics(draws[:3]), axis=0, weights=np.exp(log_weights[:3])),
    )


def test_no_draws_worth_anything_give_nan():
    message = projection.from_draws(Normal(np.zeros(2)), np.ones(3), np.full(3, -np.inf))
    assert np.isnan(message.natural_parameters).all()
    assert not message.is_proper


def test_a_plate_of_draws_with_one_set_of_weights():
    draws, log_weights = np.random.default_rng(1).normal(size=(50, 4)), np.linspace(-1.0, 0.0, 50)
    together = projection.from_draws(Normal(np.zeros(2)), draws, log_weights)
    apart = [projection.from_draws(Normal(np.zeros(2)), draws[:, i], log_weights).mean for i in range(4)]
    np.testing.assert_allclose(together.mean, apart, rtol=1e-12)


def test_quadrature_of_a_tilted_distribution():
    """N(x; m, v) Phi(x): closed form of Rasmussen and Williams (2006), equations 3.82, 3.85 and 3.87."""
    m, v = np.array([-1.0, 0.5]), np.array([2.0, 0.3])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    half = 9.0 * np.sqrt(v)
    points, log_weights = m + half * nodes[:, None], np.log(half * weights[:, None])
    log_density = scipy.stats.norm.logpdf(points, m, np.sqrt(v)) + scipy.stats.norm.logcdf(points)
    message, log_normalizer = projection.from_quadrature(Normal(np.zeros(2)), points, log_weights, log_density)
    z = m / np.sqrt(1.0 + v)
    ratio = scipy.stats.norm.pdf(z) / scipy.stats.norm.cdf(z)
    np.testing.assert_allclose(log_normalizer, scipy.stats.norm.logcdf(z), rtol=1e-10)
    np.testing.assert_allclose(message.mean, m + v * ratio / np.sqrt(1.0 + v), rtol=1e-10)
    np.testing.assert_allclose(message.variance, v - v**2 * ratio / (1.0 + v) * (z + ratio), rtol=1e-9)


@pytest.mark.parametrize("curvature", [np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])])
def test_mode_and_curvature_of_a_vector_may_be_indefinite(curvature):
    mode = np.array([0.3, -2.0])
    message = projection.from_mode(MultivariateNormal(np.zeros(5)), mode, curvature)
    np.testing.assert_allclose(message.natural_parameters, pack(curvature @ mode, curvature))
    assert bool(message.is_proper) == bool((np.linalg.eigvalsh(curvature) > 0.0).all())


def test_curvature_through_a_bijector_is_that_of_the_transformed_variable():
    like = Transformed(MultivariateNormal(np.zeros(5)), Softplus(2.0))
    mode, curvature = np.array([0.8, 3.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    message = projection.from_mode(like, mode, curvature)

    def log_t(y):
        return np.sum(message.natural_parameters * message.sufficient_statistics(y))

    step = 1e-4 * np.eye(2)
    hessian = np.array(
        [
            [log_t(mode + a + b) - log_t(mode + a - b) - log_t(mode - a + b) + log_t(mode - a - b) for a in step]
            for b in step
        ]
    )
    np.testing.assert_allclose(-hessian / (4.0 * 1e-8), curvature, rtol=1e-5)


def test_effective_sample_size():
    log_weights = np.array([[0.0, 0.0], [0.0, -np.inf], [0.0, -np.inf], [0.0, np.nan]])
    np.testing.assert_allclose(projection.effective_sample_size(log_weights), [4.0, 1.0])
