"""A known variable."""

import numpy as np

from messages import projection
from messages.point_mass import PointMass


def test_density_counts_one_point():
    message = PointMass.at(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(message.log_density(np.array([1.0, 1.0])), [0.0, -np.inf])
    assert message.natural_parameters.shape == (2, 0)


def test_draws_teach_it_nothing():
    message = PointMass.at(np.array([1.0, 2.0]))
    projected = projection.from_draws(message, np.zeros((5, 2)))
    np.testing.assert_array_equal(projected.mean, message.mean)
    assert projected.natural_parameters.shape == (2, 0)


def test_a_value_that_is_none_is_improper():
    np.testing.assert_array_equal(PointMass.at(np.array([1.0, np.nan])).is_proper, [True, False])
