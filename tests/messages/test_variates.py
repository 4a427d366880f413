"""A NumPy generator draws with NumPy, a key with JAX; both repeat themselves."""

import jax
import numpy as np
import pytest

from messages import variates


@pytest.mark.parametrize("draw", [variates.standard_normal, variates.uniform])
def test_the_key_chooses_the_namespace(draw):
    assert isinstance(draw(np.random.default_rng(0), (3,)), np.ndarray)
    assert isinstance(draw(jax.random.key(0), (3,)), jax.Array)
    np.testing.assert_array_equal(draw(np.random.default_rng(1), (3,)), draw(np.random.default_rng(1), (3,)))


def test_log_gamma_draws_of_an_improper_message_are_nan():
    draws = variates.log_standard_gamma(np.random.default_rng(0), np.array([2.0, np.nan]), (5, 2))
    np.testing.assert_array_equal(np.isnan(draws).all(axis=0), [False, True])
