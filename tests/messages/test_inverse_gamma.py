"""Moments of a heavy tail."""

import numpy as np
import pytest

from messages.inverse_gamma import InverseGamma


def test_moments_that_do_not_exist_are_nan():
    message = InverseGamma.from_shape_scale(np.array([0.5, 1.0, 1.5, 2.0, 3.0]), 2.0)
    assert message.is_proper.all()
    np.testing.assert_allclose(message.mean, [np.nan, np.nan, 4.0, 2.0, 1.0])
    np.testing.assert_allclose(message.variance, [np.nan, np.nan, np.nan, np.nan, 1.0])


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="scale > 0"):
        InverseGamma.from_shape_scale(1.0, 0.0)
