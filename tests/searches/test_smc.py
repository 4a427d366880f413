"""Tempered SMC against evidences in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from searches import SMC, Status, Target, standard_normal_log_density, tempered_smc
from tests.searches.targets import correlated_gaussian, gaussian_log_likelihood, two_modes

GRADIENT = pytest.mark.parametrize("gradient", [False, True], ids=["random walk", "gradient"])


def pulls(known, search, seeds):
    """(log Z - exact) / error, the shift of the mean in standard errors, and the ratio of sds, one row a seed."""
    runs = [search.run(known.target, seed=seed) for seed in seeds]
    sd = np.sqrt(np.diag(known.covariance))
    evidence = np.array([(run.log_evidence - known.log_evidence) / run.log_evidence_error for run in runs])
    shifts = np.array([(run.mean - known.mean) / sd for run in runs])
    ratios = np.array([run.standard_deviation / sd for run in runs])
    return evidence, shifts, ratios


@pytest.mark.parametrize(("dimension", "gradient"), [(1, False), (2, True), (5, False)])
def test_correlated_gaussian(dimension, gradient):
    known = correlated_gaussian(dimension)
    evidence, shifts, ratios = pulls(known, SMC(num_particles=500, gradient=gradient), range(6))
    assert np.all(np.abs(evidence) < 4)
    assert np.all(np.abs(shifts) < 5 / np.sqrt(500))
    assert np.all(np.abs(ratios - 1) < 5 / np.sqrt(2 * 500))


def test_two_modes():
    known = two_modes(2)
    evidence, _, _ = pulls(known, SMC(), range(6))
    assert np.all(np.abs(evidence) < 4)
    near = np.array([np.mean(SMC().run(known.target, seed=seed).x[:, 0] > 0) for seed in range(6)])
    assert np.all(np.abs(near - 0.3) < 0.15)
    assert abs(near.mean() - 0.3) < 0.06


@pytest.mark.slow
@GRADIENT
@pytest.mark.parametrize("known", [correlated_gaussian(2, correlation=0.95), correlated_gaussian(10), two_modes(5)])
def test_the_stated_error_is_the_scatter_over_seeds(known, gradient):
    evidence, shifts, ratios = pulls(known, SMC(gradient=gradient), range(50))
    assert abs(evidence.mean()) < 0.5
    assert 0.7 < evidence.std() < 1.5
    assert np.all(np.abs(shifts.mean(axis=0)) < 4 * shifts.std(axis=0) / np.sqrt(50))
    assert np.all(np.abs(ratios.mean(axis=0) - 1) < 0.02)


@pytest.mark.slow
def test_funnel():
    """x_0 sets the sd exp(1.5 x_0) of a normal likelihood of four parameters: the evidence by quadrature over x_0."""

    def log_likelihood(x, data):
        log_sd = 1.5 * x[0]
        return -0.5 * jnp.sum((x[1:] - data) ** 2) * jnp.exp(-2 * log_sd) - (x.shape[0] - 1) * log_sd

    def integrand(y):
        return norm.pdf(y) * (np.sqrt(2 * np.pi) * norm.pdf(0, scale=np.sqrt(1 + np.exp(3 * y)))) ** 4

    exact = np.log(quad(integrand, -8, 8)[0])
    target = Target(names=tuple("abcde"), log_likelihood=log_likelihood, data=np.zeros(4))
    runs = [SMC(num_particles=2000).run(target, seed=seed) for seed in range(10)]
    assert abs(np.mean([run.log_evidence - exact for run in runs])) < 0.3


def test_a_plate_of_datasets_is_a_vmap():
    """Each dataset gets its own evidence, whatever the batch; started near its posterior it needs one stage."""
    known = [correlated_gaussian(2, sd=sd) for sd in (0.1, 0.3, 1.0, 0.3)]
    near = known[3]
    means = np.array([[0.0, 0.0]] * 3 + [near.mean])
    cholesky = np.array([np.eye(2)] * 3 + [np.linalg.cholesky(1.2 * near.covariance)])
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *[k.target.data for k in known])

    def run(seed, data, mean, cholesky):
        return tempered_smc(
            seed,
            gaussian_log_likelihood,
            standard_normal_log_density,
            data,
            mean,
            cholesky,
            num_particles=300,
            num_moves=30,
        )

    with jax.enable_x64(True):
        plate = (np.arange(4), data, means, cholesky)
        batched = jax.jit(jax.vmap(run))
        batch = jax.device_get(batched(*plate))
        again = jax.device_get(batched(*jax.tree.map(lambda leaf: leaf[::-1], plate)))
    exact = np.array([k.log_evidence for k in known])
    assert batch.particles.shape == (4, 300, 2)
    assert np.all(batch.status == Status.ok)
    assert np.all(np.abs(batch.log_evidence - exact) < 4 * batch.log_evidence_error)
    assert np.array_equal(batch.log_evidence, again.log_evidence[::-1])
    assert batch.num_stages[0] > batch.num_stages[2]
    assert batch.num_stages[3] == 1
    assert batch.log_evidence_error[3] < 0.04


def test_running_out_of_stages_keeps_the_rest_as_weights():
    known = correlated_gaussian(2)
    samples = SMC(num_particles=500, max_stages=2).run(known.target, seed=0)
    assert samples.diagnostics["status"] == Status.max_steps_reached
    assert samples.diagnostics["temperature"] < 1
    assert samples.effective_sample_size < 500
    assert abs(samples.log_evidence - known.log_evidence) < 4 * samples.log_evidence_error


def test_one_kernel_for_all_datasets_of_a_kind(count_compilations):
    search = SMC(num_particles=500, gradient=True)
    search.run(correlated_gaussian(2, sd=0.3).target, seed=0)
    with count_compilations() as seen:
        search.run(correlated_gaussian(2, sd=0.4).target, seed=1)
    assert seen.count == 0


def test_mostly_impossible_prior():
    """x_0 > 1.5 is 7 % of the prior; the evidence is that probability."""

    def log_likelihood(x, data):
        return jnp.where(x[0] > data, 0.0, -jnp.inf)

    samples = SMC(num_particles=2000).run(Target(names=("a", "b"), log_likelihood=log_likelihood, data=1.5), seed=0)
    assert abs(samples.log_evidence - norm.logsf(1.5)) < 4 * samples.log_evidence_error
    assert 0 < samples.log_evidence_error < 0.2
