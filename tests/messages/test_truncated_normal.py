"""Moments are those of the truncated distribution, wherever the limits and whatever the sign of the precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from messages.truncated_normal import TruncatedNormal, natural_from_moments


@pytest.mark.parametrize("limit", [0.0, 0.5, 0.9])
def test_standard_normal_above_a_limit(limit):
    """Mean, variance and log normalizer of a standard normal that must exceed a limit."""
    message = TruncatedNormal.from_location_scale(0.0, 1.0, lower=limit, upper=np.inf)
    referee = scipy.stats.truncnorm(limit, np.inf)
    np.testing.assert_allclose(message.mean, referee.mean(), rtol=1e-12)
    np.testing.assert_allclose(message.variance, referee.var(), rtol=1e-12)
    log_normalizer = message.log_partition - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(log_normalizer, scipy.stats.norm.logsf(limit), rtol=1e-12)


@pytest.mark.parametrize("limit", [10.0, 40.0, 1e4])
def test_far_into_the_tail_it_is_exponential(limit):
    """Asymptotics of the hazard: mean - limit = 1/limit - 2/limit^3 + O(limit^-5)."""
    message = TruncatedNormal.from_location_scale(0.0, 1.0, lower=limit, upper=np.inf)
    np.testing.assert_allclose((message.mean - limit) * limit, 1.0 - 2.0 / limit**2, atol=12.0 / limit**4 + 1e-8)
    np.testing.assert_allclose(message.variance * limit**2, 1.0 - 6.0 / limit**2, atol=60.0 / limit**4 + 1e-8)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    h=st.floats(-20.0, 20.0),
    precision=st.one_of(st.floats(-10.0, 10.0), st.just(0.0), st.floats(-1e-6, 1e-6)),
    lower=st.floats(-3.0, 3.0),
    width=st.floats(0.1, 5.0),
)
def test_any_precision_between_two_limits(h, precision, lower, width):
    upper = lower + width
    message = TruncatedNormal(np.array([h, precision]), np.array(lower), np.array(upper))
    exponent = lambda x: h * x - 0.5 * precision * x**2  # noqa: E731
    height = exponent(np.linspace(lower, upper, 1001)).max()
    vertex = [h / precision] if precision and lower < h / precision < upper else None

    def integral(of):
        f = lambda x: of(x) * np.exp(exponent(x) - height)  # noqa: E731
        return quad(f, lower, upper, epsabs=1e-13, epsrel=1e-11, points=vertex, limit=200)[0]

    total = integral(lambda x: 1.0)
    mean = integral(lambda x: x) / total
    assert message.is_proper
    np.testing.assert_allclose(message.log_partition, np.log(total) + height, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(message.mean, mean, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(message.variance, integral(lambda x: (x - mean) ** 2) / total, rtol=1e-7)
    back = message.with_natural(message.natural_from_expectation(message.expectation_parameters))
    np.testing.assert_allclose(back.mean, message.mean, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(back.variance, message.variance, rtol=1e-6)


def test_proper_exactly_where_the_integral_is_finite():
    infinite = np.inf
    for (h, precision), lower, upper, expected in [
        ((0.0, 1e-300), -infinite, infinite, True),
        ((0.0, 0.0), -infinite, infinite, False),
        ((-1e-300, 0.0), 0.0, infinite, True),
        ((0.0, 0.0), 0.0, infinite, False),
        ((1.0, 0.0), 0.0, infinite, False),
        ((1.0, 0.0), -infinite, 0.0, True),
        ((-1.0, -1e-300), 0.0, infinite, False),
        ((0.0, 0.0), 0.0, 1.0, True),
        ((0.0, -5.0), 0.0, 1.0, True),
    ]:
        message = TruncatedNormal(np.array([h, precision]), np.array(lower), np.array(upper))
        assert bool(message.is_proper) is expected
        assert bool(np.isfinite(message.log_partition)) is expected


def test_moments_that_no_member_has_are_nan():
    """Above one limit the standard deviation is less than the mean's distance from it; between two it is bounded."""
    natural = natural_from_moments(
        np.array([1.0, 1.0, 0.5]), np.array([0.99, 1.2, 0.3]), np.zeros(3), np.array([np.inf, np.inf, 1.0])
    )
    np.testing.assert_array_equal(np.isnan(natural).any(axis=-1), [False, True, True])


@pytest.mark.parametrize(("h", "precision"), [(1.0, 0.0), (3.0, -6.0), (0.0, 4.0)])
def test_draws_for_every_sign_of_the_precision(h, precision):
    message = TruncatedNormal(np.array([h, precision]), np.array(-1.0), np.array(2.0))
    draws = message.sample(np.random.default_rng(2), (2000,))
    grid = np.linspace(-1.0, 2.0, 4001)
    cumulative = scipy.integrate.cumulative_simpson(np.exp(message.log_density(grid)), x=grid, initial=0.0)
    assert scipy.stats.kstest(draws, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-4


def test_derivatives_reach_the_limits():
    """dA/d lower = -density at the limit; the inversion returns along the direction that the forward map went."""
    message = TruncatedNormal.from_location_scale(0.3, 1.2, lower=-0.5, upper=2.0)
    natural, direction = message.natural_parameters, np.array([1.0, -0.7])

    def partition(lower):
        return TruncatedNormal(natural, lower, message.upper).log_partition

    def there_and_back(natural):
        return message.natural_from_expectation(message.with_natural(natural).expectation_parameters)

    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(partition))(jnp.asarray(-0.5))
        back = jax.jit(lambda n, d: jax.jvp(there_and_back, (n,), (d,))[1])(
            jnp.asarray(natural), jnp.asarray(direction)
        )
        np.testing.assert_allclose(slope, -np.exp(message.log_density(-0.5)), rtol=1e-9)
        np.testing.assert_allclose(back, direction, rtol=1e-7)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="lower < upper"):
        TruncatedNormal.from_location_scale(0.0, 1.0, lower=1.0, upper=0.0)
    with pytest.raises(ValueError, match="scale > 0"):
        TruncatedNormal.from_location_scale(0.0, 0.0, lower=0.0, upper=1.0)
