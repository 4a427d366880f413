"""Laws that hold for every message family. A new family costs one row in ``families.py``."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import projection
from messages.divergence import kl_divergence
from tests.messages.families import CASES

PLATE = 3
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # compiles in half the time


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    return CASES[name]


def element(message, index):
    """One message of the plate; fixed fields without a plate stay as they are."""
    return jax.tree.map(lambda leaf: leaf[index] if np.ndim(leaf) and len(leaf) == PLATE else leaf, message)


def plate_axes(message):
    return jax.tree.map(lambda leaf: 0 if np.ndim(leaf) and len(leaf) == PLATE else None, message)


def numbers(message, x, edges):
    """Everything a message says about itself, and the derivatives that laws speak about."""

    def log_partition(natural):
        return message.with_natural(natural).log_partition

    def expectation(natural):
        return message.with_natural(natural).expectation_parameters

    natural = message.natural_parameters
    return {
        "mean": message.mean,
        "variance": message.variance,
        "is_proper": message.is_proper,
        "log_partition": message.log_partition,
        "expectation": message.expectation_parameters,
        "log_density": message.log_density(x),
        "gradient": jax.grad(log_partition)(natural),
        "hessian": jax.jacfwd(expectation)(natural),  # the gradient is checked to be the expectation
        "edges": jax.vmap(jax.value_and_grad(message.log_density))(edges),
    }


@cache
def traced(name):
    """`numbers` of a case, by one jitted and vmapped call, as NumPy arrays."""
    case = CASES[name]
    over_plate = jax.vmap(numbers, (plate_axes(case.message), 0, 1))
    with jax.enable_x64(True):
        return jax.tree.map(
            np.asarray, jax.jit(over_plate, compiler_options=QUICK)(case.message, case.points, case.edges)
        )


def covariance_of_statistics(message):
    """Cov[T], ``(plate, natural, natural)``, by a quadrature that is exact for it."""
    base = getattr(message, "base", message)
    if message.event_ndim:
        nodes, weights = np.polynomial.hermite_e.hermegauss(5)
        z = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
        w = np.outer(weights, weights).reshape(-1, 1) / (2.0 * np.pi)
        points = base.mean + np.einsum("pij,nj->npi", np.linalg.cholesky(base.covariance), z)
        statistics = base.sufficient_statistics(points)
    else:
        points, w = base.quadrature()
        statistics = base.sufficient_statistics(points)
    centred = statistics - (w[..., None] * statistics).sum(0)
    return np.einsum("np,npi,npj->pij", np.broadcast_to(w, centred.shape[:-1]), centred, centred)


def scaled(matrix, by):
    """A matrix in units of the standard deviations of T."""
    sd = np.sqrt(np.diagonal(by, axis1=-2, axis2=-1))
    return matrix / (sd[..., :, None] * sd[..., None, :])


def test_natural_to_expectation_and_back(case):
    natural = case.message.natural_parameters
    back = case.message.natural_from_expectation(case.message.expectation_parameters)
    np.testing.assert_allclose(back, natural, rtol=1e-8, atol=1e-8)


def test_gradient_of_log_partition_is_expectation(name, case):
    np.testing.assert_allclose(traced(name)["gradient"], case.message.expectation_parameters, rtol=1e-8, atol=1e-12)


def test_hessian_of_log_partition_is_covariance_of_statistics(name, case):
    covariance = covariance_of_statistics(case.message)
    hessian = traced(name)["hessian"]
    assert np.isfinite(hessian).all()
    np.testing.assert_allclose(scaled(hessian, covariance), scaled(covariance, covariance), atol=1e-6)


def test_vmap_and_jit_are_the_loop_over_numpy(name, case):
    got = traced(name)
    for i in range(PLATE):
        message, x = element(case.message, i), case.points[i]
        assert bool(got["is_proper"][i]) == bool(message.is_proper)
        for key, expected in [
            ("mean", message.mean),
            ("variance", message.variance),
            ("log_partition", message.log_partition),
            ("expectation", message.expectation_parameters),
            ("log_density", message.log_density(x)),
        ]:
            np.testing.assert_allclose(got[key][i], expected, rtol=1e-9, atol=1e-10, err_msg=key)


def test_plate_is_the_loop_over_its_elements(case):
    together = case.message.log_density(case.points)
    apart = [element(case.message, i).log_density(case.points[i]) for i in range(PLATE)]
    np.testing.assert_allclose(together, apart, rtol=1e-13)
    np.testing.assert_allclose(case.message.mean, [element(case.message, i).mean for i in range(PLATE)], rtol=1e-14)


def test_numpy_in_numpy_out(case):
    message = case.message
    everything = (
        message.mean,
        message.variance,
        message.is_proper,
        message.log_partition,
        message.expectation_parameters,
        message.natural_from_expectation(message.expectation_parameters),
        message.log_density(case.points),
        message.sample(np.random.default_rng(0), (2,)),
        (message * case.other / case.other**0.5).natural_parameters,
        kl_divergence(message, case.other),
        projection.from_draws(message, message.quadrature()[0] if not message.event_ndim else case.edges),
    )
    for leaf in jax.tree.leaves(everything):
        assert not isinstance(leaf, jax.Array)


def test_edges_have_finite_gradients_and_no_density_outside(name, case):
    values, gradients = traced(name)["edges"]
    assert not np.isnan(values).any()
    assert np.isfinite(gradients).all()
    inside = np.array([[bool(element(case.message, i).contains(x[i])) for x in case.edges] for i in range(PLATE)])
    assert np.isfinite(values[inside]).all()
    assert (values[~inside] == -np.inf).all()


@settings(max_examples=20, derandomize=True, deadline=None)
@given(exponent=st.floats(-3.0, 3.0), shift=st.floats(-2.0, 2.0))
@pytest.mark.parametrize("name", CASES)
def test_algebra_of_the_functions(name, exponent, shift):
    """log t = natural . T adds up under product, quotient and power, for improper messages too."""
    case = CASES[name]
    left, right = case.message.power(shift), case.other

    def log_t(message):
        return np.sum(message.natural_parameters * message.sufficient_statistics(case.points), axis=-1)

    same = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(log_t(left * right), log_t(left) + log_t(right), **same)
    np.testing.assert_allclose(log_t(left / right), log_t(left) - log_t(right), **same)
    np.testing.assert_allclose(log_t(right**exponent), exponent * log_t(right), **same)
    np.testing.assert_allclose((left * right / right).natural_parameters, left.natural_parameters, **same)
    np.testing.assert_allclose(log_t(left / left), 0.0, atol=1e-12)


def test_divergence_is_the_mean_log_ratio_under_the_first_argument(case):
    q, p = case.message, case.other
    draws = q.sample(np.random.default_rng(3), (4000,))
    ratio = q.log_density(draws) - p.log_density(draws)
    standard_error = ratio.std(0) / np.sqrt(len(draws)) + 1e-12
    assert (np.abs(ratio.mean(0) - kl_divergence(q, p)) < 4.5 * standard_error).all()
    assert (kl_divergence(q, p) >= 0.0).all()
    assert (kl_divergence(p, q) >= 0.0).all()
    np.testing.assert_allclose(kl_divergence(q, q), 0.0, atol=1e-9)


def test_proper_exactly_up_to_the_boundary(case):
    like = element(case.message, 0)
    assert case.message.is_proper.all()
    for natural in case.proper:
        message = like.with_natural(np.asarray(natural))
        assert message.is_proper
        assert np.isfinite(message.log_partition)
    for natural in case.improper:
        message = like.with_natural(np.asarray(natural))
        assert not message.is_proper
        assert np.isnan(message.log_partition)
        assert np.isnan(message.mean).all()
        assert np.isnan(message.variance).all()
        assert np.isnan(message.expectation_parameters).any()


def test_agrees_with_scipy(case):
    if case.referee is None:
        pytest.skip("scipy.stats has no such distribution")
    for i, referee in enumerate(case.referee):
        message = element(case.message, i)
        if message.event_ndim:
            mean, variance, x = referee.mean, np.diag(referee.cov), case.points[i]
            density = referee.logpdf(x)
        else:
            mean, variance = referee.stats("mv")
            x = referee.ppf([0.001, 0.3, 0.5, 0.9, 0.999])
            density = referee.logpdf(x)
        np.testing.assert_allclose(message.mean, mean, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(message.variance, variance, rtol=1e-7)  # johnsonsb integrates numerically
        np.testing.assert_allclose(message.log_density(x), density, rtol=1e-9, atol=1e-9)


def test_draws_follow_the_density(case):
    """Each marginal, by its moments and, where SciPy has it, by its distribution function."""
    draws = case.message.sample(np.random.default_rng(1), (4000,))
    assert draws.shape == (4000, *np.shape(case.message.mean))
    error = np.sqrt(case.message.variance / 4000) + 1e-12
    assert (np.abs(draws.mean(0) - case.message.mean) < 4.5 * error).all()
    for i, referee in enumerate(case.referee or []):
        if not case.message.event_ndim:
            assert scipy.stats.kstest(draws[:, i], referee.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", ["normal", "truncated_normal", "gamma"])
def test_jax_draws_follow_the_density(name):
    message = CASES[name].message
    with jax.enable_x64(True):
        draws = np.asarray(jax.jit(lambda m, key: m.sample(key, (4000,)))(message, jax.random.key(0)))
    error = np.sqrt(message.variance / 4000) + 1e-12
    assert (np.abs(draws.mean(0) - message.mean) < 4.5 * error).all()
    np.testing.assert_allclose(draws.var(0), message.variance, rtol=0.15, atol=1e-12)


def test_projection_of_its_own_quadrature_is_itself(case):
    if case.message.event_ndim:
        pytest.skip("the nodes are those of the marginals")
    points, weights = case.message.quadrature()
    with np.errstate(divide="ignore"):
        projected = projection.from_draws(case.message, points, np.log(weights))
    np.testing.assert_allclose(projected.natural_parameters, case.message.natural_parameters, rtol=1e-7, atol=1e-7)


def test_mode_and_curvature_give_the_message_back(case):
    """Where the density relative to the base measure has a maximum: the second message, at its numerical mode."""
    if case.message.event_ndim or case.message.natural_parameters.shape[-1] == 0:
        pytest.skip("see test_projection")
    message = case.message * case.message * case.other  # strong enough to have a mode inside
    points, _ = message.quadrature()
    lower, upper = points.min(0), points.max(0)
    like = projection.from_mode(message, case.points, np.ones(PLATE))
    step = 1e-4 * np.minimum(np.abs(case.points), 1.0)
    log_t = [
        (like.natural_parameters * like.sufficient_statistics(case.points + d)).sum(-1)
        for d in (-step, 0.0 * step, step)
    ]
    assert ((case.points > lower) & (case.points < upper)).all()
    np.testing.assert_allclose((log_t[2] - log_t[0]) / (2.0 * step), 0.0, atol=1e-3)
    np.testing.assert_allclose((2.0 * log_t[1] - log_t[0] - log_t[2]) / step**2, 1.0, rtol=1e-3)


def test_is_a_pytree(case):
    leaves, structure = jax.tree.flatten(case.message)
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert type(rebuilt) is type(case.message)
    assert rebuilt.natural_parameters is case.message.natural_parameters


def test_zero_natural_parameters_are_the_constant_one(case):
    unit = case.message.with_natural(np.zeros_like(case.message.natural_parameters))
    np.testing.assert_array_equal((case.message * unit).natural_parameters, case.message.natural_parameters)
    assert (np.sum(unit.natural_parameters * unit.sufficient_statistics(case.points), axis=-1) == 0.0).all()


def test_float64_survives_tracing(name):
    assert traced(name)["log_partition"].dtype == np.float64
    assert jnp.zeros(1).dtype == np.float32  # and no setting was flipped
