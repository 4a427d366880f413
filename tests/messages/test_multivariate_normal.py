"""The algebra of h and packed precision against numpy.linalg."""

import jax
import numpy as np
import pytest
import scipy.stats

from messages import multivariate_normal as mvn
from messages.normal import Normal

DIMENSIONS = [1, 2, 3, 5]


def problem(d, plate=(4,), seed=0):
    rng = np.random.default_rng(seed + d)
    root = rng.normal(size=(*plate, d, d))
    return rng.normal(size=(*plate, d)), root @ np.swapaxes(root, -1, -2) + 0.2 * np.eye(d)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_packing(d):
    h, precision = problem(d)
    packed = mvn.pack_symmetric(precision)
    assert packed.shape == (4, d * (d + 1) // 2)
    np.testing.assert_array_equal(mvn.unpack_symmetric(packed, d), precision)
    natural = mvn.pack(h, precision)
    assert mvn.dimension_of(natural) == d
    for got, expected in zip(mvn.unpack(natural, d), (h, precision), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_size_that_no_dimension_has_is_refused():
    with pytest.raises(ValueError, match="got 4"):
        mvn.dimension_of(np.zeros(4))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_natural_times_statistics_is_the_quadratic_form(d):
    h, precision = problem(d)
    x = np.random.default_rng(9).normal(size=(7, 4, d))
    expected = np.einsum("pi,npi->np", h, x) - 0.5 * np.einsum("npi,pij,npj->np", x, precision, x)
    np.testing.assert_allclose((mvn.pack(h, precision) * mvn.sufficient_statistics(x)).sum(-1), expected, atol=1e-12)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_moments_and_partition(d):
    h, precision = problem(d)
    natural = mvn.pack(h, precision)
    mean, covariance = np.linalg.solve(precision, h[..., None])[..., 0], np.linalg.inv(precision)
    got_mean, got_covariance = mvn.moments_from_natural(natural, d)
    np.testing.assert_allclose(got_mean, mean, rtol=1e-10)
    np.testing.assert_allclose(got_covariance, covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mvn.natural_from_moments(mean, covariance), natural, rtol=1e-9, atol=1e-11)
    for i in range(4):
        at_zero = scipy.stats.multivariate_normal(mean[i], covariance[i]).logpdf(np.zeros(d))
        np.testing.assert_allclose(mvn.log_partition(natural[i], d), -at_zero, rtol=1e-11)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_an_improper_message_is_nan_and_spoils_no_other(d):
    h, precision = problem(d)
    precision[1, d - 1, d - 1] = -1.0
    natural = mvn.pack(h, precision)
    np.testing.assert_array_equal(mvn.is_proper(natural, d), [True, False, True, True])
    mean, covariance = mvn.moments_from_natural(natural, d)
    for value in (mvn.log_partition(natural, d), mean, covariance):
        assert np.isnan(value[1]).all()
        assert np.isfinite(value[[0, 2, 3]]).all()


def test_traced_equals_host():
    d = 3
    natural = mvn.pack(*problem(d))
    calls = (mvn.log_partition, mvn.moments_from_natural, mvn.is_proper)
    with jax.enable_x64(True):
        got = jax.jit(lambda n: [call(n, d) for call in calls])(natural)
    expected = [call(natural, d) for call in calls]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), b, rtol=1e-12), got, expected)


def test_units_of_the_variables_do_not_matter():
    """Standard deviations of 1e-8 and 1e6, correlation 0.999."""
    mean, covariance = np.array([0.6, 1e6]), np.array([[1.0, 0.999], [0.999, 1.0]])
    scale = np.array([1e-8, 1e6])
    natural = mvn.natural_from_moments(mean, covariance * np.outer(scale, scale))
    got_mean, got_covariance = mvn.moments_from_natural(natural, 2)
    np.testing.assert_allclose((got_mean - mean) / scale, 0.0, atol=1e-5)
    np.testing.assert_allclose(got_covariance / np.outer(scale, scale), covariance, rtol=1e-11)


def test_one_dimension_is_the_normal():
    wide, narrow = np.array([[0.3, 2.0]]), Normal(np.array([0.3, 2.0]))
    message = mvn.MultivariateNormal(wide)
    np.testing.assert_allclose(message.log_partition, [narrow.log_partition])
    np.testing.assert_allclose(message.marginals.natural_parameters[:, 0], wide)
    np.testing.assert_allclose(message.log_density(np.array([0.7])), [narrow.log_density(0.7)])


def test_covariance_that_is_none_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        mvn.MultivariateNormal.from_mean_covariance(np.zeros(2), np.ones((2, 2)))
