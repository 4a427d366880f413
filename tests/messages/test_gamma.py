"""The gamma function's inverse problem over many orders of magnitude, and draws that do not underflow."""

import numpy as np
import pytest
import scipy.special

from messages.gamma import Gamma, shape_from_log_gap


def test_shape_from_log_gap():
    shape = np.logspace(-3, 6, 40)
    gap = np.log(shape) - scipy.special.digamma(shape)
    # The gap is a difference of numbers of size log(shape): it carries a relative error of about eps * shape.
    np.testing.assert_allclose(shape_from_log_gap(gap) / shape, 1.0, atol=1e-13 + 2e-15 * shape.max())
    np.testing.assert_allclose(shape_from_log_gap(gap[:20]), shape[:20], rtol=1e-12)


def test_a_gap_that_no_gamma_has_is_nan():
    assert np.isnan(shape_from_log_gap(np.array([0.0, -1.0, np.nan]))).all()


def test_draws_of_a_tiny_shape():
    """E[log x] = digamma(0.01), about -100: most draws are below 1e-10."""
    message = Gamma.from_shape_rate(0.02, 1.0)
    draws = np.log(message.sample(np.random.default_rng(0), (4000,)))
    np.testing.assert_allclose(draws.mean(), scipy.special.digamma(0.02), rtol=0.1)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="shape > 0"):
        Gamma.from_shape_rate(-1.0, 1.0)
