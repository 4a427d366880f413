"""The solver on a family with a closed form: two independent exponential distributions."""

import jax
import numpy as np

from messages import dual_newton
from messages.array_namespace import namespace


def log_partition(natural, offset):
    xp = namespace(natural, offset)
    inside = natural < offset
    return -xp.where(inside, xp.log(xp.where(inside, offset - natural, 1.0)), xp.nan).sum(axis=-1)


def moments(natural, offset):
    mean = -1.0 / (natural - offset)
    return mean, dual_newton.symmetric_two(mean[..., 0] ** 2, 0.0 * mean[..., 0], mean[..., 1] ** 2)


def test_closed_form_is_found_from_far_away():
    target = np.array([[1e-6, 1e6], [2.0, 3.0], [1e8, 1.0]])
    natural = dual_newton.solve(log_partition, moments, np.full((3, 2), -1.0), target, np.array(0.5))
    np.testing.assert_allclose(natural, 0.5 - 1.0 / target, rtol=1e-12, atol=1e-15)


def test_no_solution_is_nan_and_spoils_no_other():
    natural = dual_newton.solve(
        log_partition, moments, np.full((2, 2), -1.0), np.array([[-1.0, 1.0], [2.0, 2.0]]), np.array(0.0)
    )
    assert np.isnan(natural[0]).all()
    np.testing.assert_allclose(natural[1], -0.5, rtol=1e-12)


def test_derivatives_with_respect_to_target_and_fixed_values():
    """natural = offset - 1 / target, in reverse mode, which no while loop allows by itself."""
    target, start = np.array([2.0, 5.0]), np.full(2, -1.0)

    def solution(target, offset):
        return dual_newton.solve(log_partition, moments, start, target, offset)

    with jax.enable_x64(True):
        by_target, by_offset = jax.jit(jax.jacrev(solution, (0, 1)))(target, 0.5)
    np.testing.assert_allclose(by_target, np.diag(target**-2.0), atol=1e-12)
    np.testing.assert_allclose(by_offset, 1.0, rtol=1e-12)
