"""What is particular to the normal: improper sites, and accuracy far from zero."""

import numpy as np
import pytest

from messages.normal import Normal, natural_from_moments


def test_negative_precision_is_a_legitimate_site():
    posterior, site = Normal(np.array([1.0, 2.0])), Normal(np.array([0.5, -1.5]))
    assert not site.is_proper
    cavity = posterior / site
    np.testing.assert_allclose([cavity.mean, cavity.variance], [0.5 / 3.5, 1.0 / 3.5])


def test_weighted_moments_far_from_zero():
    message = Normal.from_mean_variance(1e8, 1e-4)
    draws = message.mean + np.array([-0.01, 0.01])
    np.testing.assert_allclose(
        Normal(message.natural_from_draws(draws, np.array([0.5, 0.5]))).variance, draws.var(), rtol=1e-9
    )


def test_no_variance_no_message():
    assert np.isnan(natural_from_moments(np.zeros(2), np.array([0.0, -1.0]))).all()
    with pytest.raises(ValueError, match="variance > 0"):
        Normal.from_mean_variance(np.zeros(2), np.array([1.0, np.nan]))
