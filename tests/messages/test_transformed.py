"""The Jacobian is counted once, and moments are those of the transformed variable."""

import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad

from messages.bijectors import Affine, Exp, Logistic, NormalCdf, Softplus
from messages.gamma import Gamma
from messages.inverse_gamma import InverseGamma
from messages.multivariate_normal import MultivariateNormal
from messages.normal import Normal
from messages.transformed import Transformed
from messages.truncated_normal import TruncatedNormal

BIJECTORS = [Affine(1.0, -2.0), Exp(), Softplus(2.0), Logistic(-1.0, 3.0), NormalCdf(-1.0, 3.0)]


@pytest.mark.parametrize("bijector", BIJECTORS, ids=lambda b: type(b).__name__)
def test_density_and_moments_of_a_product_by_quadrature(bijector):
    """A product through a bijector is still one normalised density, with one Jacobian."""
    prior, site = Normal.from_mean_variance(0.2, 0.8), Normal.from_mean_variance(-0.4, 0.5)
    message = Transformed(prior, bijector) * Transformed(site, bijector)
    np.testing.assert_array_equal(message.base.natural_parameters, (prior * site).natural_parameters)
    ends = sorted(bijector.forward(np.array([-9.0, 9.0])))
    middle = [bijector.forward(message.base.mean)]

    def expectation(of):
        return quad(lambda y: of(y) * np.exp(message.log_density(y)), *ends, points=middle, limit=200, epsabs=1e-12)[0]

    mean = expectation(lambda y: y)
    np.testing.assert_allclose(expectation(lambda y: 1.0), 1.0, rtol=1e-8)
    np.testing.assert_allclose(message.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(message.variance, expectation(lambda y: (y - mean) ** 2), rtol=1e-7)


def test_mean_is_no_median():
    """A log-uniform variable, as two bijectors around a standard normal: mean (b - a) / log(b / a)."""
    lower, upper = 1e-2, 1e2
    standard = Normal.from_mean_variance(0.0, 1.0)
    message = Transformed(Transformed(standard, NormalCdf(np.log(lower), np.log(upper))), Exp())
    referee = scipy.stats.loguniform(lower, upper)
    np.testing.assert_allclose(message.mean, referee.mean(), rtol=1e-10)
    np.testing.assert_allclose(message.variance, referee.var(), rtol=1e-10)
    np.testing.assert_allclose(message.log_density(np.array([0.02, 1.0, 99.0])), referee.logpdf([0.02, 1.0, 99.0]))
    assert message.log_density(101.0) == -np.inf


def test_a_moment_that_does_not_exist_is_nan():
    """E exp(x) under Gamma(2, rate) is (1 - 1/rate)^-2 for rate > 1, E exp(2x) needs rate > 2."""
    message = Transformed(Gamma.from_shape_rate(2.0, np.array([0.5, 1.0, 1.5, 3.0])), Exp())
    expected = np.array([np.nan, np.nan, 9.0, 2.25])
    np.testing.assert_allclose(message.mean, expected, rtol=1e-10)
    np.testing.assert_allclose(message.variance, [np.nan, np.nan, np.nan, 9.0 - 2.25**2], rtol=1e-10)
    assert np.isnan(Transformed(InverseGamma.from_shape_scale(1.0, 1.0), Affine(0.0, 2.0)).mean)


def test_truncated_base():
    message = Transformed(TruncatedNormal.from_location_scale(0.0, 1.0, lower=-1.0, upper=1.5), Exp())
    total = scipy.stats.norm.cdf(1.5) - scipy.stats.norm.cdf(-1.0)
    mean = np.exp(0.5) * (scipy.stats.norm.cdf(0.5) - scipy.stats.norm.cdf(-2.0)) / total
    np.testing.assert_allclose(message.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(message.support, (np.exp(-1.0), np.exp(1.5)))


def test_a_vector_component_by_component():
    """Marginal moments of each component; the density has the product of the Jacobians."""
    covariance = np.array([[0.5, 0.3], [0.3, 0.4]])
    base = MultivariateNormal.from_mean_covariance(np.array([0.1, -0.2]), covariance)
    message = Transformed(base, Exp())
    np.testing.assert_allclose(message.mean, np.exp([0.1 + 0.25, -0.2 + 0.2]), rtol=1e-12)
    y = np.array([0.7, 1.9])
    np.testing.assert_allclose(message.log_density(y), base.log_density(np.log(y)) - np.log(y).sum(), rtol=1e-12)
    assert message.log_density(np.array([-1.0, 1.0])) == -np.inf
