"""NumPy and JAX give the same numbers, and neither is chosen where the other was passed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from messages import array_namespace as an

X = np.array([-30.0, -2.0, -0.1, 0.3, 4.0])
P = np.array([1e-300, 0.2, 0.5, 0.9])
POSITIVE = np.array([1e-3, 0.4, 2.0, 300.0])
CALLS = {
    "ndtr": (X,),
    "log_ndtr": (X,),
    "ndtri": (P,),
    "gammaln": (POSITIVE,),
    "digamma": (POSITIVE,),
    "trigamma": (POSITIVE,),
    "gammainc": (POSITIVE, np.array([0.1, 0.5, 1.0, 320.0])),
    "betainc": (POSITIVE, POSITIVE[::-1], P),
    "betaln": (POSITIVE, POSITIVE[::-1]),
    "logsumexp": (X,),
    "expit": (X,),
    "softplus": (X,),
    "softplus_inverse": (POSITIVE,),
}


@pytest.mark.parametrize("name", CALLS)
def test_both_namespaces_agree(name):
    arguments = CALLS[name]
    expected = getattr(an, name)(*arguments)
    assert not isinstance(expected, jax.Array)
    with jax.enable_x64(True):
        got = getattr(an, name)(*[jnp.asarray(argument) for argument in arguments])
        assert isinstance(got, jax.Array)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-10)


def test_namespace_of_a_tracer_is_jax():
    assert an.namespace(1.0, np.ones(2)) is np
    assert jax.eval_shape(lambda x: x * (an.namespace(x) is jnp), 1.0).shape == ()
    jax.eval_shape(lambda x: (_ for _ in ()).throw(AssertionError) if an.namespace(1.0, x) is np else x, 1.0)


def test_softplus_inverse_inverts_far_out():
    y = np.array([1e-12, 1e-3, 1.0, 700.0])
    np.testing.assert_allclose(an.softplus(an.softplus_inverse(y)), y, rtol=1e-13)


@pytest.mark.parametrize("dimension", [1, 2, 3, 6])
def test_cholesky_and_solve_are_batched_and_flag_a_non_positive_matrix(dimension):
    rng = np.random.default_rng(dimension)
    root = rng.normal(size=(4, dimension, dimension))
    matrix = root @ np.swapaxes(root, -1, -2) + np.eye(dimension)
    matrix[2, -1, -1] = -1.0
    b = rng.normal(size=(4, dimension, 3))
    good = [0, 1, 3]

    def solve(matrix, b):
        factor = an.cholesky(matrix)
        return factor, an.solve_triangular(factor, an.solve_triangular(factor, b), trans=1)

    with jax.enable_x64(True):
        on_device = [np.asarray(a) for a in jax.jit(solve)(matrix, b)]
    for factor, solution in [solve(matrix, b), on_device]:
        np.testing.assert_allclose(factor[good] @ np.swapaxes(factor[good], -1, -2), matrix[good], atol=1e-12)
        np.testing.assert_allclose(solution[good], np.linalg.solve(matrix[good], b[good]), rtol=1e-9, atol=1e-12)
        assert np.isnan(factor[2]).any()
        assert np.isnan(solution[2]).any()


def test_solve_triangular_takes_one_vector():
    factor = np.linalg.cholesky(np.eye(5) + 0.5)
    np.testing.assert_allclose(factor @ an.solve_triangular(factor, np.arange(5.0)), np.arange(5.0), atol=1e-13)


@pytest.mark.parametrize("num", [1, 2, 100, 1280])
def test_argsort_orders_as_numpy_does(num):
    random = np.random.default_rng(num)
    x = random.normal(size=num) * 10.0 ** random.integers(-8, 8, num)
    x[:: max(num // 3, 1)] = 0.0
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(an.argsort)(x))
    np.testing.assert_array_equal(found, np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(an.argsort(x), found)


def test_quantile_in_the_tails_at_the_edges_and_its_slope():
    p = np.concatenate(
        [10.0 ** -np.arange(1.0, 308.0, 3.0), np.linspace(0.001, 0.999, 999), 1.0 - 10.0 ** -np.arange(1.0, 16.0)]
    )
    with jax.enable_x64(True):
        found = np.asarray(an.ndtri(jnp.asarray(p)))
        edges = np.asarray(an.ndtri(jnp.asarray([0.0, 1.0, -0.1, 1.1, np.nan])))
        slope = jax.vmap(jax.grad(an.ndtri))(jnp.asarray(p))
    np.testing.assert_allclose(found, scipy.special.ndtri(p), rtol=2e-15, atol=1e-16)
    np.testing.assert_array_equal(edges, [-np.inf, np.inf, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(slope, 1.0 / scipy.stats.norm.pdf(scipy.special.ndtri(p)), rtol=1e-12)
