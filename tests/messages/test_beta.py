"""Natural parameters from E[log x] and E[log(1 - x)]."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.beta import Beta


@settings(max_examples=60, derandomize=True, deadline=None)
@given(log_alpha=st.floats(-4.0, 9.0), log_beta=st.floats(-4.0, 9.0))
def test_inversion_over_many_orders_of_magnitude(log_alpha, log_beta):
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    message = Beta.from_alpha_beta(alpha, beta)
    natural = message.natural_from_expectation(message.expectation_parameters)
    # The digamma difference carries a relative error of eps times alpha + beta.
    np.testing.assert_allclose(natural + 1.0, [alpha, beta], rtol=1e-10 + 1e-12 * (alpha + beta))


def test_expectations_that_no_beta_has_are_nan():
    """x and 1 - x cannot both have a geometric mean of 0.6."""
    natural = Beta(np.zeros((2, 2))).natural_from_expectation(np.log([[0.6, 0.6], [0.5, 0.5]]))
    assert np.isnan(natural).all()


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="alpha > 0"):
        Beta.from_alpha_beta(0.0, 1.0)
