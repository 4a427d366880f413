"""k-hat against generalised Pareto tails whose shape is known."""

import jax
import numpy as np
import pytest
from scipy.stats import genpareto

from searches.pareto import fit_generalized_pareto, pareto_k, pareto_smooth, tail_length


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 1.0])
def test_fit_recovers_shape_and_scale(shape):
    draws = genpareto.rvs(shape, scale=2.0, size=(40, 2000), random_state=1)
    k, sigma = fit_generalized_pareto(np.sort(draws, axis=1))
    towards_prior = (2000 * shape + 5) / 2010
    assert abs(k.mean() - towards_prior) < 4 * k.std() / np.sqrt(40) + 0.005
    assert abs(sigma.mean() - 2.0) < 0.05


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.2])
def test_k_hat_of_pareto_weights(shape):
    # w = u^-k has exactly the tail index k
    log_weights = shape * np.random.default_rng(0).exponential(size=(60, 5000))
    num_tail = tail_length(5000)
    expected = (num_tail * shape + 5) / (num_tail + 10)
    k = pareto_k(log_weights)
    assert abs(k.mean() - expected) < 4 * k.std() / np.sqrt(60) + 0.02


def test_host_traced_and_single_agree():
    log_weights = np.random.default_rng(1).normal(size=(3, 500))
    with jax.enable_x64(True):
        traced = np.asarray(jax.jit(pareto_k)(log_weights))
    np.testing.assert_allclose(traced, pareto_k(log_weights), rtol=1e-9)
    np.testing.assert_allclose([pareto_smooth(row)[1] for row in log_weights], pareto_k(log_weights), rtol=1e-12)


def test_k_hat_ignores_scale_and_stands_impossible_points():
    log_weights = np.random.default_rng(2).normal(size=1000)
    _, k = pareto_smooth(log_weights)
    assert pareto_smooth(log_weights + 700)[1] == pytest.approx(k)
    assert pareto_smooth(np.append(log_weights, np.full(500, -np.inf)))[1] == pytest.approx(k)


def test_smoothing_lowers_the_variance_of_a_heavy_tailed_mean():
    shape, rng = 0.8, np.random.default_rng(3)
    exact = 1 / (1 - shape)
    raw, smoothed = [], []
    for _ in range(300):
        log_weights = shape * rng.exponential(size=1000)
        raw.append(np.exp(log_weights).mean())
        smoothed.append(np.exp(pareto_smooth(log_weights)[0]).mean())
    assert np.mean((np.array(smoothed) - exact) ** 2) < np.mean((np.array(raw) - exact) ** 2)


def test_smoothing_keeps_order_and_body():
    log_weights = np.random.default_rng(4).standard_t(3, size=800)
    smoothed, k = pareto_smooth(log_weights)
    order = np.argsort(log_weights)
    assert np.isfinite(k)
    assert np.all(np.diff(smoothed[order]) >= 0)
    assert np.array_equal(smoothed[order[: -tail_length(800)]], log_weights[order[: -tail_length(800)]])
    assert smoothed.max() <= log_weights.max()


@pytest.mark.parametrize(
    ("log_weights", "expected"),
    [(np.zeros(100), 0.0), (np.zeros(4), np.inf), (np.full(100, -np.inf), np.inf)],
    ids=["equal", "too few", "none possible"],
)
def test_edges(log_weights, expected):
    smoothed, k = pareto_smooth(log_weights)
    assert k == expected
    assert np.array_equal(smoothed, log_weights)
    assert pareto_k(log_weights) == expected


def test_one_dominating_weight_is_not_trusted():
    log_weights = np.full(1000, -1000.0)
    log_weights[0] = 0.0
    assert pareto_k(log_weights) > 0.7
