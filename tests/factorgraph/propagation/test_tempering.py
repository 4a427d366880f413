"""Tempering: where importance sampling around EP's Gaussian does not reach, or reaches a part and does not know it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.propagation.tempering import Wide, temper


def wide(dimension):
    return Wide(np.ones(dimension, dtype=bool), np.zeros(dimension), np.ones(dimension))


def test_a_normal_target_with_its_evidence():
    sd = np.array([0.01, 0.3, 2.0])
    start = Wide(np.array([True, True, False]), np.zeros(3), np.ones(3))

    def log_target(phi):
        return np.sum(stats.norm.logpdf(phi, [0.5, -1.0, 4.0], sd), axis=1)

    found = temper(log_target, start, seed=0)
    assert found.k_hat < 0.7
    assert abs(found.log_evidence) < 4.0 * found.log_evidence_error
    assert 0.01 < found.log_evidence_error < 0.15
    shift = np.abs(found.phi.mean(axis=0) - [0.5, -1.0, 4.0]) / sd
    assert np.max(shift) < 4.0 / np.sqrt(found.effective_sample_size)
    np.testing.assert_allclose(found.phi.std(axis=0), sd, rtol=0.05)


def test_two_far_modes_have_their_weights():
    def log_target(phi):
        first = np.sum(stats.norm.logpdf(phi, 2.0, 0.05), axis=1) + np.log(0.25)
        second = np.sum(stats.norm.logpdf(phi, -2.0, 0.1), axis=1) + np.log(0.75)
        return np.logaddexp(first, second)

    found = temper(log_target, wide(2), seed=1)
    assert found.k_hat < 0.7
    assert abs(found.log_evidence) < 4.0 * found.log_evidence_error
    assert abs(np.mean(found.phi[:, 0] > 0.0) - 0.25) < 0.05


def test_runs_that_disagree_are_not_trusted():
    """A peak that 2,048 particles find by luck only: a run either has it or has not."""

    def log_target(phi):
        return np.logaddexp(
            np.sum(stats.norm.logpdf(phi), axis=1), 4.0 + np.sum(stats.norm.logpdf(phi, 1.0, 0.012), axis=1)
        )

    untrusted = []
    for seed in range(4):
        found = temper(log_target, wide(3), seed=seed)
        right = abs(found.log_evidence - np.log1p(np.exp(4.0))) < 0.3
        untrusted.append(not found.k_hat < 0.7)
        assert right or untrusted[-1] or found.log_evidence < 0.3  # never in between
    assert any(untrusted)


class Point:
    def __init__(self, x=0.0, y=0.0):
        self.x = x
        self.y = y


class Ridge(fg.Analysis):
    """A parabola y = x^2 - 1 known to ``error``."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((instance.y - instance.x**2 + 1.0) / self.error) ** 2


@pytest.mark.parametrize("error", [0.1, 0.02])
def test_a_sharp_ridge(error):
    x, y = fg.GaussianPrior(0.0, 1.0), fg.GaussianPrior(0.0, 1.0)
    factor = fg.AnalysisFactor(fg.Model(Point, x=x, y=y), Ridge(error))
    result = fg.FactorGraphModel(factor, fg.AnalysisFactor(fg.Model(Point, x=x, y=y), Ridge(1e3))).optimise(seed=0)

    # given x the integral over y is that of two normals
    grid = np.linspace(-6.0, 6.0, 20001)
    log_joint = stats.norm.logpdf(grid) + stats.norm.logpdf(grid**2 - 1.0, 0.0, np.hypot(1.0, error))
    log_joint += np.log(error * np.sqrt(2.0 * np.pi))
    weight = np.exp(log_joint - log_joint.max())
    scale = np.sqrt(np.average(grid**2, weights=weight))
    log_evidence = log_joint.max() + np.log(weight.sum() * (grid[1] - grid[0]))
    inside = grid[:, None] ** 2 - 1.0 + error * np.linspace(-5.0, 5.0, 41)
    given = stats.norm.pdf(inside) * stats.norm.pdf(np.linspace(-5.0, 5.0, 41))
    mean_y = np.average(np.sum(given * inside, axis=1) / np.sum(given, axis=1), weights=weight)

    assert result.is_corrected
    assert abs(result.mean_field.mean[x]) < 0.1 * scale
    assert result.mean_field.scale[x] == pytest.approx(scale, rel=0.05)
    assert abs(result.mean_field.mean[y] - mean_y) < 0.1
    assert abs(result.log_evidence - log_evidence) < max(0.05, 4.0 * result.log_evidence_error)


class Funnel:
    def __init__(self, v=0.0, x=None):
        self.v = v
        self.x = x


class Neck(fg.Analysis):
    """Ten values of scale exp(v), in the place of a likelihood: the normal density of each over that of its prior."""

    def log_likelihood_function(self, instance):
        x = jnp.stack(list(instance.x))
        return jnp.sum(-0.5 * (x / jnp.exp(instance.v)) ** 2 - instance.v + 0.5 * (x / 3.0) ** 2 + jnp.log(3.0))


@pytest.mark.slow
def test_a_funnel_of_eleven_dimensions():
    """v ~ N(0, 1) by construction, and the evidence is one."""
    v = fg.GaussianPrior(0.0, 1.0)
    values = [fg.GaussianPrior(0.0, 3.0) for _ in range(10)]
    model = fg.Model(Funnel, v=v, x=fg.Collection(*values))
    flat = fg.AnalysisFactor(fg.Model(Funnel, v=v, x=fg.Collection(*values)), Flat())
    result = fg.FactorGraphModel(fg.AnalysisFactor(model, Neck()), flat).optimise(seed=0)
    good = result.is_corrected and not result.converged or result.is_tempered
    right = abs(result.mean_field.mean[v]) < 0.1 and abs(result.mean_field.scale[v] - 1.0) < 0.07
    assert right or not good
    assert abs(result.log_evidence) < max(0.1, 4.0 * result.log_evidence_error) or not good


class Flat(fg.Analysis):
    def log_likelihood_function(self, instance):
        return 0.0 * instance.v


NUM_CALLS = [0]


class Called(fg.Analysis):
    """A parabola in plain Python: every call costs."""

    def log_likelihood_function(self, instance):
        NUM_CALLS[0] += 1
        return -0.5 * (float(instance.y) - float(instance.x) ** 2 + 1.0) ** 2 / 0.01


def test_plain_calls_are_not_spent_by_the_million():
    NUM_CALLS[0] = 0
    x, y = fg.GaussianPrior(0.0, 1.0), fg.GaussianPrior(0.0, 1.0)
    factors = [fg.AnalysisFactor(fg.Model(Point, x=x, y=y), Called()) for _ in range(2)]
    result = fg.FactorGraphModel(*factors).optimise(seed=0)
    assert not result.is_tempered
    assert result.is_corrected
    grid = np.meshgrid(np.linspace(-4.0, 4.0, 1601), np.linspace(-5.0, 6.0, 2201), indexing="ij")
    log_joint = -0.5 * (grid[0] ** 2 + grid[1] ** 2) - np.log(2.0 * np.pi) - (grid[1] - grid[0] ** 2 + 1.0) ** 2 / 0.01
    assert result.log_evidence == pytest.approx(np.log(np.sum(np.exp(log_joint)) * 0.005**2), abs=0.05)
    assert NUM_CALLS[0] < 100_000
