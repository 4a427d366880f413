"""Weighted samples: moments, quantiles, resampling, the names users know from PyAutoFit."""

import numpy as np
import pytest
from scipy.stats import norm

from searches import Samples


def weighted_normal(n=20_000, seed=0):
    """Uniform points weighted to N(3, 0.5^2) and N(-1, 2^2)."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-5, 5, size=(n, 2))
    parameters = np.array([3.0, -1.0]) + np.array([0.5, 2.0]) * u
    log_likelihood = norm.logpdf(u).sum(axis=1)
    return Samples(
        x=u,
        parameters=parameters,
        log_likelihood=log_likelihood,
        log_prior=np.full(n, -np.log(100.0)),
        log_weight=log_likelihood + 123.0,
        names=("a", "b"),
    )


SAMPLES = weighted_normal()


def test_weights_are_normalised():
    assert SAMPLES.weights.sum() == pytest.approx(1)
    assert 1 < SAMPLES.effective_sample_size < len(SAMPLES)


def test_moments():
    error = 4 * np.array([0.5, 2.0]) / np.sqrt(SAMPLES.effective_sample_size)
    assert np.all(np.abs(SAMPLES.mean - [3.0, -1.0]) < error)
    np.testing.assert_allclose(SAMPLES.covariance, np.diag([0.25, 4.0]), atol=0.1)
    np.testing.assert_allclose(SAMPLES.standard_deviation, np.sqrt(np.diag(SAMPLES.covariance)))


def test_quantiles():
    levels = np.array([[0.05, 0.5], [0.84, 0.99]])
    expected = np.array([3.0, -1.0]) + np.array([0.5, 2.0]) * norm.ppf(levels)[..., None]
    assert SAMPLES.quantile(levels).shape == (2, 2, 2)
    np.testing.assert_allclose(SAMPLES.quantile(levels), expected, atol=0.15)


def test_quantiles_of_equal_weights_are_numpys():
    values = np.random.default_rng(1).normal(size=(50, 1))
    zeros = np.zeros(50)
    samples = Samples(
        x=values, parameters=values, log_likelihood=zeros, log_prior=zeros, log_weight=zeros, names=("a",)
    )
    levels = [0.1, 0.5, 0.93]
    np.testing.assert_allclose(samples.quantile(levels)[:, 0], np.quantile(values, levels, method="hazen"))


def test_resampling_keeps_moments_and_takes_no_impossible_point():
    impossible = SAMPLES.take(np.arange(len(SAMPLES)), np.where(SAMPLES.x[:, 0] > 0, SAMPLES.log_weight, -np.inf))
    draws = impossible.resample(seed=3, num_draws=4000)
    assert len(draws) == 4000
    assert np.all(draws.x[:, 0] > 0)
    assert np.ptp(draws.weights) == 0
    assert np.all(np.abs(draws.mean - impossible.mean) < 4 * impossible.standard_deviation / np.sqrt(4000))
    assert np.array_equal(draws.x, impossible.resample(seed=3, num_draws=4000).x)


def test_resampled_points_carry_their_own_densities():
    draws = SAMPLES.resample(seed=1, num_draws=100)
    np.testing.assert_allclose(draws.log_likelihood, norm.logpdf(draws.x).sum(axis=1))


def test_names_of_the_seeds():
    assert SAMPLES.parameter_lists[9][1] == SAMPLES.parameters[9, 1]
    assert SAMPLES.log_posterior_list[5] == SAMPLES.log_likelihood_list[5] + SAMPLES.log_prior_list[5]
    assert SAMPLES.weight_list == SAMPLES.weights.tolist()
    assert SAMPLES.max_log_likelihood_index == np.argmax(SAMPLES.log_likelihood)
    np.testing.assert_allclose(SAMPLES.median_pdf_vector, [3.0, -1.0], atol=0.1)
    np.testing.assert_allclose(SAMPLES.vector_at_upper_sigma(sigma=2.0), [4.0, 3.0], atol=0.2)
    np.testing.assert_allclose(SAMPLES.vector_at_lower_sigma(sigma=2.0), [2.0, -5.0], atol=0.2)
    (lower, upper), _ = SAMPLES.values_at_sigma(sigma=1.0)
    (below, above), _ = SAMPLES.errors_at_sigma(sigma=1.0)
    assert (below, above) == pytest.approx((SAMPLES.median_pdf_vector[0] - lower, upper - SAMPLES.median_pdf_vector[0]))
