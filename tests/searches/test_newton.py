"""Newton's method with differences: exact on a Gaussian, both modes of two, and never worse than where it started."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from searches.newton import find_modes


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_gaussian(xp, dimension):
    """Mode and covariance of a Gaussian whose scales differ by 1e4, from starts with wrong scales."""
    rng = np.random.default_rng(dimension)
    scales = np.logspace(0, -4, dimension)
    root = scales[:, None] * np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]
    covariance, mean = root @ root.T, rng.normal(size=dimension)
    precision = np.linalg.inv(covariance)

    def log_density(points):
        centred = points - mean
        return -0.5 * xp.einsum("ni,ij,nj->n", centred, xp.asarray(precision), centred)

    start = mean + scales * rng.normal(size=(4, dimension))
    factor = np.broadcast_to(np.diag(3.0 * scales), (4, dimension, dimension))
    with jax.enable_x64(True):
        modes = find_modes(log_density, xp.asarray(start), xp.asarray(factor), 12)
    np.testing.assert_allclose((np.asarray(modes.mean) - mean) / scales, 0.0, atol=1e-4)
    found = np.asarray(modes.cholesky)
    relative = np.linalg.inv(root) @ found @ np.swapaxes(found, 1, 2) @ np.linalg.inv(root).T
    np.testing.assert_allclose(relative, np.broadcast_to(np.eye(dimension), relative.shape), atol=1e-3)


def test_a_ridge_far_narrower_than_the_start():
    """y = x^2 known to 1e-4, seen through a start of width one: the mode and its width are found."""
    modes = find_modes(
        lambda x: -0.5 * ((2.0 - x[:, 0] ** 2) / 1e-4) ** 2, np.array([[0.7], [-2.5]]), np.ones((2, 1, 1)), 16
    )
    np.testing.assert_allclose(modes.mean[:, 0], [np.sqrt(2.0), -np.sqrt(2.0)], atol=1e-7)
    np.testing.assert_allclose(modes.cholesky[:, 0, 0], 1e-4 / np.sqrt(8.0), rtol=1e-2)


def test_a_wall_is_not_crossed():
    """Where the density is not finite no step is taken, and a start there comes back as it was."""
    modes = find_modes(
        lambda x: np.where(x[:, 0] > 0, -x[:, 0] + 2.0 * np.log(np.abs(x[:, 0])), -np.inf),
        np.array([[0.1], [-1.0]]),
        np.ones((2, 1, 1)),
        12,
    )
    np.testing.assert_allclose(modes.mean[:, 0], [2.0, -1.0], atol=0.02)
    assert modes.value[1] == -np.inf
    np.testing.assert_array_equal(modes.cholesky[1], [[1.0]])


def test_a_kink_stays_finite():
    modes = find_modes(lambda x: -np.abs(x[:, 0]), np.array([[0.3], [-4.0]]), np.ones((2, 1, 1)), 10)
    assert np.all(np.isfinite(modes.cholesky))
    assert np.all(modes.value > -4.0)
