"""Importance draws: exact integrals, honest diagnostics."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from searches import Status, importance_sample
from searches.importance import student_draws, student_log_density, weigh

MEAN = np.array([1.0, -2.0])
COVARIANCE = np.array([[2.0, 0.6], [0.6, 0.5]])


def log_normal(x):
    residual = x - MEAN
    return -0.5 * np.sum(residual @ np.linalg.inv(COVARIANCE) * residual, axis=1)


LOG_INTEGRAL = 0.5 * np.linalg.slogdet(2 * np.pi * COVARIANCE)[1]


def test_evidence_and_moments_of_a_gaussian():
    draws = importance_sample(log_normal, MEAN + 0.2, 1.3 * COVARIANCE, num_draws=4096, seed=1)
    assert abs(draws.log_evidence - LOG_INTEGRAL) < 4 * draws.log_evidence_error
    assert draws.log_evidence_error < 0.02
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.all(np.abs(draws.mean - MEAN) < 4 * sd / np.sqrt(draws.effective_sample_size))
    np.testing.assert_allclose(draws.covariance, COVARIANCE, atol=0.05)
    assert draws.status == Status.ok
    assert draws.weights.sum() == pytest.approx(1)


def test_the_target_itself_as_proposal_has_equal_weights():
    draws = importance_sample(log_normal, MEAN, COVARIANCE, num_draws=256, seed=1, df=np.inf)
    assert draws.log_evidence == pytest.approx(LOG_INTEGRAL, abs=1e-12)
    assert draws.effective_sample_size == pytest.approx(256)
    assert draws.k_hat == 0


def test_student_density_is_scipys():
    cholesky = np.linalg.cholesky(COVARIANCE)
    x, log_density = student_draws(MEAN, cholesky, num_draws=64, seed=0, df=5)
    np.testing.assert_allclose(log_density, multivariate_t(MEAN, COVARIANCE, df=5).logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(
        student_log_density(x, MEAN, cholesky, df=1e7), student_log_density(x, MEAN, cholesky, df=np.inf), atol=1e-4
    )


def test_student_draws_have_the_variance_of_a_t():
    x, _ = student_draws(MEAN, np.linalg.cholesky(COVARIANCE), num_draws=2**14, seed=0, df=5)
    np.testing.assert_allclose(np.cov(x.T), 5 / 3 * COVARIANCE, rtol=0.03)


def test_narrow_proposal_is_found_out():
    draws = importance_sample(log_normal, MEAN, 0.02 * COVARIANCE, num_draws=2000, seed=1, df=np.inf)
    assert draws.k_hat > 0.7
    assert draws.status == Status.poor_proposal


def test_impossible_and_nan_points_count_for_nothing():
    def half(x):
        values = log_normal(x)
        values[x[:, 0] < MEAN[0]] = -np.inf
        values[::50] = np.nan
        return values

    draws = importance_sample(half, MEAN, COVARIANCE, num_draws=8192, seed=1)
    assert draws.log_evidence == pytest.approx(LOG_INTEGRAL + np.log(0.5 * 0.98), abs=0.02)
    assert np.all(np.isfinite(draws.mean))


def test_nothing_possible_is_a_status():
    draws = importance_sample(lambda x: np.full(len(x), -np.inf), MEAN, COVARIANCE, num_draws=128, seed=1)
    assert draws.status == Status.search_failed
    assert draws.log_evidence == -np.inf
    assert draws.k_hat == np.inf
    assert draws.effective_sample_size == 0


def test_weigh_any_proposal():
    x = np.linspace(0.005, 0.995, 100)[:, None]
    draws = weigh(x, np.log(2 * x[:, 0]), np.zeros(100))
    assert draws.log_evidence == pytest.approx(0.0, abs=1e-12)
