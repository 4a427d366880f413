"""What every message inherits: algebra within one family, and refusal outside it."""

import jax
import numpy as np
import pytest

from messages.family import interior_point
from messages.gamma import Gamma
from messages.normal import Normal
from messages.point_mass import PointMass
from messages.truncated_normal import TruncatedNormal


def truncated(lower, upper=np.inf):
    return TruncatedNormal.from_location_scale(0.0, 1.0, lower=lower, upper=upper)


def test_limits_survive_the_algebra():
    message = (truncated(0.5) * truncated(0.5)) ** 0.5 / truncated(0.5)
    assert message.lower == 0.5
    assert message.upper == np.inf


@pytest.mark.parametrize(
    ("left", "right", "error", "words"),
    [
        (Normal(np.zeros(2)), Gamma(np.zeros(2)), TypeError, "Project one of them"),
        (truncated(0.0), truncated(0.5), ValueError, "same limits"),
        (PointMass.at(1.0), PointMass.at(2.0), ValueError, "different fixed values"),
    ],
)
def test_unlike_messages_are_refused(left, right, error, words):
    for operation in (left.product, left.quotient):
        with pytest.raises(error, match=words):
            operation(right)


def test_traced_limits_are_taken_to_agree():
    message = truncated(0.5)
    with jax.enable_x64(True):
        result = jax.jit(lambda a, b: (a * b).natural_parameters)(message, message)
    np.testing.assert_array_equal(np.asarray(result), 2.0 * message.natural_parameters)


def test_power_takes_one_exponent_for_each_message():
    message = Normal(np.array([[1.0, 2.0], [3.0, 4.0]])) ** np.array([2.0, -1.0])
    np.testing.assert_array_equal(message.natural_parameters, [[2.0, 4.0], [-3.0, -4.0]])


def test_plates_broadcast():
    assert (Normal(np.ones((5, 1, 2))) * Normal(np.ones((3, 2)))).plate_shape == (5, 3)


@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (2.0, np.inf), (-np.inf, -3.0), (-1.0, 4.0)])
def test_interior_point(limits):
    point = interior_point(*limits)
    assert limits[0] < point < limits[1]
    assert np.isfinite(point)
