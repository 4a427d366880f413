"""Targets: batches, coordinates, few compilations."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from searches import Target, TargetError, from_unit_cube, standard_normal_log_density


def log_likelihood(x, data):
    return -jnp.sum((x - data) ** 2)


def test_batches_on_jax_and_host_agree():
    points = np.random.default_rng(0).normal(size=(11, 2))
    data = np.array([1.0, 2.0])
    traced = Target(names=("a", "b"), log_likelihood=log_likelihood, data=data)
    host = Target(names=("a", "b"), log_likelihood=lambda x, d: -np.sum((x - d) ** 2), data=data, is_jax=False)
    expected = -np.sum((points - data) ** 2, axis=1)
    np.testing.assert_allclose(traced.log_likelihoods(points), expected, rtol=1e-14)
    np.testing.assert_allclose(host.log_likelihoods(points), expected, rtol=1e-14)
    np.testing.assert_allclose(traced.log_densities(points), expected + norm.logpdf(points).sum(axis=1), rtol=1e-13)
    assert traced.guard()(points[0]) == pytest.approx(expected[0], rel=1e-14)


def test_compilations_are_bounded_by_powers_of_two_and_shared_between_datasets(count_compilations):
    def fresh(x, data):
        return jnp.sum(x * data)

    def run(data):
        target = Target(names=("a", "b"), log_likelihood=fresh, data=data)
        for n in (1, 2, 5, 8, 9, 13, 16):
            assert len(target.log_likelihoods(np.ones((n, 2)))) == n

    with count_compilations() as seen:
        run(np.ones(2))
    assert seen.count == 2
    with count_compilations() as seen:
        run(np.array([3.0, 4.0]))
    assert seen.count == 0


def test_many_points_are_evaluated_in_blocks():
    target = Target(names=("a",), log_likelihood=log_likelihood, data=np.zeros(1))
    points = np.linspace(-1, 1, 5000)[:, None]
    np.testing.assert_allclose(target.log_likelihoods(points), -(points[:, 0] ** 2), rtol=1e-14)
    assert target.log_likelihoods(points[:0]).shape == (0,)


def test_standard_normal_prior_is_scipys():
    points = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(standard_normal_log_density(points), norm.logpdf(points).sum(axis=1))


def test_an_explicit_prior_is_evaluated():
    points = np.array([[0.5], [-2.0]])
    for is_jax in (True, False):
        target = Target(
            names=("a",),
            log_likelihood=log_likelihood,
            log_prior=lambda x, data: -x[0] * data[0],
            data=np.array([3.0]),
            is_jax=is_jax,
            proper_prior=False,
        )
        np.testing.assert_allclose(target.log_priors(points), [-1.5, 6.0])


def test_unit_cube_is_finite_at_its_edges():
    assert np.all(np.isfinite(from_unit_cube(np.array([0.0, 1.0]))))
    u = np.random.default_rng(0).random(10_000)
    np.testing.assert_allclose(norm.cdf(from_unit_cube(u)), u, atol=1e-12)


def test_integers_are_real_numbers_too():
    target = Target(names=("a",), log_likelihood=lambda x, data: -jnp.sum(data), data=np.array([1, 2]))
    assert np.array_equal(target.log_likelihoods(np.zeros((2, 1))), [-3.0, -3.0])


def test_names_must_differ_and_densities_be_hashable():
    with pytest.raises(TargetError, match="occur twice: a"):
        Target(names=("a", "b", "a"), log_likelihood=log_likelihood)

    class Unhashable:
        __hash__ = None

        def __call__(self, x, data):
            return 0.0

    with pytest.raises(TargetError, match="hashable"):
        Target(names=("a",), log_likelihood=Unhashable())


def test_a_target_travels_to_a_worker():
    target = pickle.loads(pickle.dumps(Target(names=("a",), log_likelihood=log_likelihood, data=np.zeros(1))))
    assert target.log_likelihoods(np.ones((1, 1))) == -1.0
