"""What every search must do, on targets of known evidence. A new search adds its row to `SEARCHES`."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from searches import (
    SMC,
    DynestyDynamic,
    DynestyStatic,
    Laplace,
    LikelihoodFailedError,
    LikelihoodTypeError,
    Samples,
    SearchWarning,
    SettingError,
    Status,
    Target,
    TargetError,
    UltraNest,
)
from tests.searches.targets import correlated_gaussian

SEARCHES = {
    "SMC": SMC(num_particles=500),
    "SMC with gradients": SMC(num_particles=500, gradient=True),
    "Laplace": Laplace(num_draws=512),
    "DynestyStatic": DynestyStatic(nlive=100),
    "DynestyDynamic": DynestyDynamic(nlive=60, maxbatch=1, nlive_batch=60),
    "UltraNest": UltraNest(min_num_live_points=100, max_num_improvement_loops=0),
}
JAX_ONLY = ("SMC", "SMC with gradients")
ON_HOST = [name for name in SEARCHES if name not in JAX_ONLY]
CASES = [(name, True) for name in SEARCHES] + [(name, False) for name in ON_HOST]
each_search = pytest.mark.parametrize("name", SEARCHES)
each_host_search = pytest.mark.parametrize("name", ON_HOST)
each_case = pytest.mark.parametrize(
    ("name", "is_jax"), CASES, ids=[f"{name}-{'jax' if is_jax else 'host'}" for name, is_jax in CASES]
)


@cache
def run(name: str, is_jax: bool, seed: int = 1) -> Samples:
    return SEARCHES[name].run(correlated_gaussian(2, is_jax=is_jax).target, seed=seed)


@each_case
def test_evidence(name, is_jax):
    samples, known = run(name, is_jax), correlated_gaussian(2)
    assert abs(samples.log_evidence - known.log_evidence) < 4 * samples.log_evidence_error
    assert 0 < samples.log_evidence_error < 0.5


@each_case
def test_moments(name, is_jax):
    samples, known = run(name, is_jax), correlated_gaussian(2)
    sd, effective = np.sqrt(np.diag(known.covariance)), samples.effective_sample_size
    assert np.all(np.abs(samples.mean - known.mean) < 4 * sd / np.sqrt(effective))
    assert np.all(np.abs(samples.standard_deviation / sd - 1) < 4 / np.sqrt(2 * effective))
    correlation = known.covariance[0, 1] / np.prod(sd)
    found = samples.covariance[0, 1] / np.prod(samples.standard_deviation)
    assert abs(found - correlation) < 4 * (1 - correlation**2) / np.sqrt(effective)


@each_case
def test_samples_are_complete(name, is_jax):
    samples, target = run(name, is_jax), correlated_gaussian(2, is_jax=is_jax).target
    n = len(samples)
    assert samples.names == target.names
    assert samples.weights.sum() == pytest.approx(1)
    assert samples.x.shape == samples.parameters.shape == (n, 2)
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float64 for array in vars_of(samples))
    np.testing.assert_allclose(samples.log_likelihood, target.log_likelihoods(samples.x), rtol=1e-9)
    np.testing.assert_allclose(samples.log_prior, norm.logpdf(samples.x).sum(axis=1), rtol=1e-9)
    assert samples.num_calls > 0
    assert samples.diagnostics["status"] == Status.ok
    assert samples.diagnostics["num_bad"] == 0


def vars_of(samples: Samples) -> list[np.ndarray]:
    return [samples.x, samples.parameters, samples.log_likelihood, samples.log_prior, samples.log_weight]


@each_search
def test_same_seed_same_result_bitwise(name):
    first = run(name, True)
    again = SEARCHES[name].run(correlated_gaussian(2).target, seed=1)
    other = run(name, True, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(vars_of(first), vars_of(again)))
    assert first.log_evidence == again.log_evidence
    assert other.log_evidence != first.log_evidence


@each_search
def test_nothing_outside_is_touched(name, capfd):
    np.random.seed(123)
    before, flag = np.random.get_state(), jax.config.jax_enable_x64
    SEARCHES[name].run(correlated_gaussian(2).target, seed=3)
    after = np.random.get_state()
    assert before[2:] == after[2:]
    assert np.array_equal(before[1], after[1])
    assert jax.config.jax_enable_x64 == flag
    assert jnp.zeros(1).dtype == (jnp.float64 if flag else jnp.float32)
    assert capfd.readouterr().out == ""


@each_search
@pytest.mark.filterwarnings("ignore:.*(plateau|All the initial likelihood):Warning")
def test_parameters_are_in_the_users_coordinates(name):
    target = Target(
        names=("a",), log_likelihood=flat, to_parameters=lambda x: 10 + 2 * x, data=np.zeros(1)
    )  # the posterior is the prior
    samples = SEARCHES[name].run(target, seed=1)
    np.testing.assert_allclose(samples.parameters, 10 + 2 * samples.x)
    assert abs(samples.log_evidence) < max(4 * samples.log_evidence_error, 1e-9)
    assert abs(samples.mean[0] - 10) < 4 * 2 / np.sqrt(samples.effective_sample_size)


def flat(x, data):
    return jnp.sum(x * data)


EDGE, SD = -0.5, 0.5


def cut(x, data):
    """N(x; 0, sd^2 I) for x_0 above the edge, `data` below it."""
    inside = -0.5 * jnp.sum(x**2) / SD**2 - x.shape[0] * jnp.log(SD * jnp.sqrt(2 * jnp.pi))
    return jnp.where(x[0] < EDGE, data, inside)


def host_cut(x, data):
    if x[0] < EDGE:
        if data is None:
            raise FloatingPointError("below the edge")
        return data
    return float(norm.logpdf(x, scale=SD).sum())


def check_cut(samples: Samples) -> None:
    """Z and the mean of x_0 of the truncated posterior, in closed form."""
    posterior_sd = SD / np.sqrt(1 + SD**2)
    expected = 2 * norm.logpdf(0, scale=np.sqrt(1 + SD**2)) + norm.logsf(EDGE / posterior_sd)
    truncated = truncnorm(EDGE / posterior_sd, np.inf, scale=posterior_sd)
    assert abs(samples.log_evidence - expected) < 4 * samples.log_evidence_error
    assert abs(samples.mean[0] - truncated.mean()) < 4 * truncated.std() / np.sqrt(samples.effective_sample_size)
    assert np.all(samples.x[samples.weights > 0, 0] >= EDGE)


@each_search
@pytest.mark.parametrize("value", [-np.inf, np.nan, np.inf], ids=str)
def test_impossible_models_on_jax(name, value):
    target = Target(names=("a", "b"), log_likelihood=cut, data=value)
    with nullcontext() if value == -np.inf else pytest.warns(SearchWarning, match="counted as impossible"):
        samples = SEARCHES[name].run(target, seed=1)
    check_cut(samples)
    assert (samples.diagnostics["num_bad"] > 0) == (value != -np.inf)


@each_host_search
@pytest.mark.filterwarnings("ignore::searches.errors.SearchWarning")
@pytest.mark.parametrize("value", [-np.inf, np.nan, np.inf, None], ids=["-inf", "nan", "inf", "raises"])
def test_impossible_models_on_the_host(name, value):
    target = Target(names=("a", "b"), log_likelihood=host_cut, data=value, is_jax=False)
    samples = SEARCHES[name].run(target, seed=1)
    check_cut(samples)
    assert (samples.diagnostics["num_bad"] > 0) == (value != -np.inf)
    if value is None:
        assert "below the edge" in samples.diagnostics["bad_points"][0].reason


def raises(x, data):
    raise KeyError("flux")


@each_host_search
def test_a_likelihood_that_always_raises(name):
    target = Target(names=("a",), log_likelihood=raises, is_jax=False)
    with pytest.raises(LikelihoodFailedError, match=r"KeyError: 'flux'.*raise KeyError\(\"flux\"\)"):
        SEARCHES[name].run(target, seed=1)


@each_search
def test_a_likelihood_that_is_always_nan(name):
    with pytest.raises(LikelihoodFailedError, match="nan"):
        SEARCHES[name].run(Target(names=("a",), log_likelihood=flat, data=np.full(1, np.nan)), seed=1)


@each_search
def test_a_likelihood_that_is_not_scalar(name):
    with pytest.raises(LikelihoodTypeError, match=r"shape \(2,\)"):
        SEARCHES[name].run(Target(names=("a", "b"), log_likelihood=lambda x, data: x), seed=1)


@each_search
def test_searches_and_samples_travel_to_a_worker(name):
    assert repr(pickle.loads(pickle.dumps(SEARCHES[name]))) == repr(SEARCHES[name])
    samples = pickle.loads(pickle.dumps(run(name, True)))
    np.testing.assert_array_equal(samples.x, run(name, True).x)


@each_search
def test_no_parameters(name):
    with pytest.raises(TargetError, match="at least one free parameter"):
        SEARCHES[name].run(Target(names=(), log_likelihood=flat, data=np.zeros(0)), seed=1)


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "Laplace"])
def test_improper_prior(name):
    target = Target(names=("a",), log_likelihood=flat, log_prior=flat, data=np.zeros(1), proper_prior=False)
    with pytest.raises(TargetError, match=r"proper prior.*optimise\(\)"):
        SEARCHES[name].run(target, seed=1)


@pytest.mark.parametrize("name", JAX_ONLY)
def test_host_target_for_a_jax_search(name):
    with pytest.raises(TargetError, match="DynestyStatic"):
        SEARCHES[name].run(Target(names=("a",), log_likelihood=raises, is_jax=False), seed=1)


@pytest.mark.parametrize(
    ("search", "setting", "meant"),
    [
        (SMC, "num_particle", "num_particles"),
        (Laplace, "num_drawss", "num_draws"),
        (DynestyStatic, "n_live", "nlive"),
        (DynestyDynamic, "max_batch", "maxbatch"),
        (UltraNest, "min_live_points", "min_num_live_points"),
    ],
)
def test_unknown_settings_are_refused_with_a_suggestion(search, setting, meant):
    with pytest.raises(SettingError, match=f"{search.__name__} has no setting '{setting}'. Did you mean '{meant}'"):
        search(**{setting: 1})


@pytest.mark.parametrize(
    ("search", "setting"),
    [(SMC, "num_moves"), (SMC, "ess_fraction"), (Laplace, "df"), (DynestyStatic, "nlive"), (DynestyStatic, "dlogz")],
)
def test_settings_must_be_positive(search, setting):
    with pytest.raises(SettingError, match=f"{setting} must be positive, got -1"):
        search(**{setting: -1})


@pytest.mark.parametrize(
    "search",
    [
        SMC(max_stages=1, num_particles=500),
        DynestyStatic(nlive=50, maxiter=60),
        DynestyStatic(nlive=50, maxcall=60),
        DynestyDynamic(nlive=50, maxiter=60, dlogz_init=0.5),
        UltraNest(min_num_live_points=50, max_iters=60),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:The sampling was stopped short:UserWarning")
def test_running_out_of_steps_is_said(search):
    assert search.run(correlated_gaussian(2).target, seed=1).diagnostics["status"] == Status.max_steps_reached
