"""Nodes that resolve the peak and reach the tails."""

import numpy as np

from messages.integration import normalised, sinh_displacements


def test_gaussian_integral_over_a_plate():
    scale = np.array([1e-3, 1.0, 50.0])
    displacement, log_spacing = sinh_displacements(scale, 38.0 * scale, 38.0 * scale)
    step = (2.0 * np.arcsinh(38.0)) / (len(displacement) - 1)
    integral = step * np.exp(log_spacing - 0.5 * (displacement / scale) ** 2).sum(0)
    np.testing.assert_allclose(integral, np.sqrt(2.0 * np.pi) * scale, rtol=1e-13)


def test_normalised_weights():
    log_weights = np.array([[1e4, -np.inf], [1e4 + np.log(3.0), -np.inf], [np.nan, np.nan]])
    weights = normalised(log_weights)
    np.testing.assert_allclose(weights[:, 0], [0.25, 0.75, 0.0], rtol=1e-9)
    assert np.isnan(weights[:, 1]).all()
