"""The rounds of the correction: more draws where few of them count; on targets in closed form."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

from factorgraph.propagation.correction import correct, tempered
from factorgraph.propagation.tempering import Wide

NUM = 2048
SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


class Term:
    """One dataset whose log factor is the whole log density."""

    def __init__(self, log_density):
        self.log_density = log_density

    def log_factors(self, phi):
        value = self.log_density(phi)[None]
        return value, np.zeros_like(value)


def solved(log_density, mean, covariance):
    graph = SimpleNamespace(
        plates=(Term(log_density),),
        whitened=np.zeros(len(mean), dtype=bool),
        log_joint=lambda phi, factors, lost=None: factors[0][0],
    )
    return graph, SimpleNamespace(phi_moments=lambda: (mean, covariance), status=())


def corrected(log_density, mean, covariance, seed=0, **settings):
    return correct(*solved(log_density, mean, covariance), [], num_draws=NUM, seed=seed, **settings)


@pytest.mark.parametrize(("shape", "more"), [(0.7, True), (30.0, False)])
def test_skewed_variables(shape, more):
    """The logarithms of eight Gamma variables: means digamma, variances trigamma; the start has other correlations."""
    dimension = 8
    mean, variance = np.full(dimension, digamma(shape)), polygamma(1, shape)
    found = corrected(
        lambda phi: np.sum(stats.loggamma.logpdf(phi, shape), axis=1),
        mean + 0.3 * np.sqrt(variance),
        variance * (0.7 * np.eye(dimension) + 0.3),
    )
    assert found.trusted
    assert (found.num_rounds > 1) is more
    assert found.worth > 0.4 * NUM
    assert len(found.phi) == (4 * NUM if more else NUM)
    assert np.exp(found.log_weight).sum() == pytest.approx(1.0)
    centre = found.weights @ found.phi
    sd = np.sqrt(found.weights @ (found.phi - centre) ** 2 / variance)
    assert np.max(np.abs(centre - mean)) < 4.0 * np.sqrt(variance / found.effective_sample_size)
    assert np.max(np.abs(sd - 1.0)) < 6.0 / np.sqrt(found.effective_sample_size)
    assert abs(found.log_evidence) < 4.0 * found.log_evidence_error


def test_a_gaussian_takes_one_round():
    mean, covariance = np.arange(8.0), np.eye(8) + 0.5
    known = stats.multivariate_normal(mean, covariance)
    found = corrected(known.logpdf, mean, covariance)
    assert found.num_rounds == 1
    assert len(found.phi) == NUM
    assert found.worth > 1e9  # the control variate leaves no noise
    assert found.log_evidence == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_standard_deviations_of_heavy_tails(seed):
    """Inverse Gamma variables of shape three, seen in their logarithms: no fourth moment, so that weighted draws of the
    posterior leave the standard deviation, sqrt(1 / (shape - 2)) / (shape - 1), to the largest few."""
    dimension, shape = 4, 3.0

    def log_density(phi):
        return np.sum(stats.loggamma.logpdf(-phi, shape), axis=1)

    mean, covariance = np.full(dimension, -digamma(shape)), polygamma(1, shape) * np.eye(dimension)
    plain = corrected(log_density, mean, covariance, seed)
    found = corrected(log_density, mean, covariance, seed, values=np.exp)
    assert np.max(np.min(plain.spread_errors(np.exp(plain.phi)), axis=0)) > 0.05
    theta = np.exp(found.phi)
    centre = found.weights @ theta
    sd = np.sqrt(found.weights @ (theta - centre) ** 2) * (shape - 1.0) * np.sqrt(shape - 2.0)
    error = np.min(found.spread_errors(theta), axis=0)
    assert found.trusted
    assert np.max(error) < 0.04
    assert np.all(np.abs(sd - 1.0) < 4.0 * error)
    assert centre * (shape - 1.0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_particles_become_weighted_draws(seed):
    """Two far modes, of one EP knows nothing: particles find both, and a mixture fitted to them knows evidence, means and
    standard deviations far better than they do."""
    share, centre, sd = np.array([0.25, 0.75]), np.array([2.0, -2.0]), np.array([0.2, 0.4])

    def log_density(phi):
        parts = [np.sum(stats.norm.logpdf(phi, c, s), axis=1) for c, s in zip(centre, sd, strict=True)]
        return np.logaddexp(*(np.log(share)[:, None] + parts))

    graph, state = solved(log_density, np.full(2, -2.0), 0.16 * np.eye(2))
    first = correct(graph, state, [], num_draws=NUM, seed=seed)
    wide = Wide(np.ones(2, dtype=bool), np.zeros(2), np.ones(2))
    found = tempered(graph, state, first, wide, num_draws=4 * NUM, seed=seed)
    assert found.is_tempered
    assert len(found.phi) == 4 * NUM
    assert found.trusted
    assert found.log_evidence_error < 0.02
    assert abs(found.log_evidence) < 4.0 * found.log_evidence_error
    mean = found.weights @ found.phi
    spread = np.sqrt(found.weights @ (found.phi - mean) ** 2)
    assert mean == pytest.approx(share @ centre, abs=0.06)
    assert spread == pytest.approx(np.sqrt(share @ (sd**2 + centre**2) - (share @ centre) ** 2), rel=0.03)
