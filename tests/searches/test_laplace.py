"""Mode and curvature: exact on a normal, safe elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from searches import (
    Laplace,
    SearchError,
    Status,
    Target,
    TargetError,
    find_mode,
    newton_mode,
    standard_normal_log_density,
)
from tests.searches.targets import correlated_gaussian, gaussian_log_likelihood, two_modes


@pytest.mark.parametrize("is_jax", [True, False], ids=["jax", "host"])
@pytest.mark.parametrize(("dimension", "sd"), [(1, 0.2), (3, 1e-4), (6, 3.0)])
def test_exact_on_a_gaussian(dimension, sd, is_jax):
    known = correlated_gaussian(dimension, sd=sd, is_jax=is_jax)
    mode = find_mode(known.target)
    tolerance = 1e-10 if is_jax else 1e-4
    scale = np.sqrt(np.diag(known.covariance))
    np.testing.assert_allclose((mode.x - known.mean) / scale, 0, atol=tolerance)
    np.testing.assert_allclose(
        mode.covariance / np.outer(scale, scale), known.covariance / np.outer(scale, scale), atol=tolerance
    )
    assert mode.log_evidence == pytest.approx(known.log_evidence, abs=10 * tolerance)
    assert mode.converged
    if is_jax:
        assert mode.num_steps == 2


def poisson(x, data):
    return data * x[0] - jnp.exp(x[0])


@pytest.mark.parametrize("is_jax", [True, False], ids=["jax", "host"])
@pytest.mark.parametrize("start", [0.0, -6.0, 5.0])
def test_converges_from_afar(start, is_jax):
    count = 40.0
    exact = minimize_scalar(lambda x: np.exp(x) - count * x + 0.5 * x**2, bracket=(0, 5), tol=1e-12).x
    mode = find_mode(Target(names=("x",), log_likelihood=poisson, data=count, is_jax=is_jax), np.array([start]))
    assert mode.converged
    assert mode.x[0] == pytest.approx(exact, abs=1e-6 if is_jax else 1e-4)
    assert mode.covariance[0, 0] == pytest.approx(1 / (1 + np.exp(exact)), rel=1e-5 if is_jax else 1e-2)


def rosenbrock(x, data):
    return -data * (x[1] - x[0] ** 2) ** 2 - (1 - x[0]) ** 2


@pytest.mark.parametrize("is_jax", [True, False], ids=["jax", "host"])
def test_curved_valley(is_jax):
    def log_prior(x, data):
        return 0.0 * x[0]

    target = Target(
        names=("a", "b"), log_likelihood=rosenbrock, log_prior=log_prior, data=100.0, is_jax=is_jax, proper_prior=False
    )
    mode = find_mode(target, np.array([-1.2, 1.0]))
    np.testing.assert_allclose(mode.x, [1.0, 1.0], atol=1e-6 if is_jax else 0.05)
    assert mode.converged


def test_a_wall_of_nan_is_not_crossed():
    def log_likelihood(x, data):
        return jnp.log(x[0] - 1.0) * 5 - 3 * x[0]

    mode = find_mode(Target(names=("x",), log_likelihood=log_likelihood), np.array([20.0]))
    # 5 / (x - 1) - 3 - x = 0
    assert mode.x[0] == pytest.approx(-1 + np.sqrt(1 + 8), abs=1e-6)
    assert mode.converged


def test_a_plate_of_modes_is_a_vmap():
    known = [correlated_gaussian(2, sd=sd) for sd in (0.1, 1.0)]
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *[k.target.data for k in known])
    with jax.enable_x64(True):
        modes = jax.device_get(
            jax.jit(jax.vmap(lambda d, x: newton_mode(gaussian_log_likelihood, standard_normal_log_density, d, x)))(
                data, np.zeros((2, 2))
            )
        )
    np.testing.assert_allclose(modes.x, [k.mean for k in known], rtol=1e-9)
    np.testing.assert_allclose(modes.covariance, [k.covariance for k in known], rtol=1e-9)


def test_of_two_modes_one_is_found():
    """The draws cover one mode of two: the evidence is 30 % or 70 % of the whole."""
    known = two_modes(2)
    samples = Laplace().run(known.target, seed=0)
    share = np.exp(samples.log_evidence - known.log_evidence)
    assert min(abs(share - 0.3), abs(share - 0.7)) < 0.05


def test_skewed_target_is_corrected_by_the_weights():
    from scipy.integrate import quad

    def density(x):
        return np.exp(2.0 * x - np.exp(x) - 0.5 * x * x) / np.sqrt(2 * np.pi)

    integral = quad(density, -10, 10)[0]
    mean = quad(lambda x: x * density(x), -10, 10)[0] / integral
    samples = Laplace(num_draws=4096).run(Target(names=("x",), log_likelihood=poisson, data=2.0), seed=0)
    assert samples.log_evidence == pytest.approx(np.log(integral), abs=4 * samples.log_evidence_error)
    assert samples.mean[0] == pytest.approx(mean, abs=4 * samples.standard_deviation[0] / 60)
    assert samples.diagnostics["k_hat"] < 0.5
    assert samples.diagnostics["laplace_log_evidence"] != samples.log_evidence


def test_improper_prior_has_no_evidence_but_a_posterior():
    known = correlated_gaussian(2)

    def flat(x, data):
        return 0.0 * x[0]

    target = Target(
        names=known.target.names,
        log_likelihood=gaussian_log_likelihood,
        log_prior=flat,
        data=known.target.data,
        proper_prior=False,
    )
    samples = Laplace().run(target, seed=0)
    assert np.isnan(samples.log_evidence)
    np.testing.assert_allclose(samples.mean, known.target.data["mean"], atol=0.03)
    assert samples.diagnostics["status"] == Status.ok


def test_flat_direction_and_hopeless_starts_are_errors():
    def flat(x, data):
        return 0.0 * x[0]

    with pytest.raises(SearchError, match="without curvature"):
        Laplace().run(Target(names=("x",), log_likelihood=flat, log_prior=flat, proper_prior=False), seed=0)
    with pytest.raises(TargetError, match="give `start=`"):
        Laplace().run(Target(names=("x",), log_likelihood=lambda x, data: -jnp.inf + 0 * x[0]), seed=0)
