"""A posterior without correlations between blocks of shared variables: mean field, or groups that the user names."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError
from messages.multivariate_normal import log_partition, pack


class Line(fg.Analysis):
    def __init__(self, slopes, y):
        super().__init__()
        self.slopes, self.y = slopes, float(y)

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - sum(a * b for a, b in zip(self.slopes, instance, strict=True))) ** 2


SLOPES, Y = np.random.default_rng(5).normal(size=(7, 3)), np.random.default_rng(6).normal(size=7)


def regression():
    x = [fg.GaussianPrior(0.0, 2.0) for _ in range(3)]
    factors = [fg.AnalysisFactor(fg.Collection(*x), Line(a, y)) for a, y in zip(SLOPES, Y, strict=True)]
    return fg.FactorGraphModel(*factors), x


def expectation_propagation(blocks):
    """Serial sweeps in matrices: mean, sd and log evidence of the fixed point with sites within ``blocks`` (3,)."""
    within = blocks[:, None] == blocks
    prior = np.eye(3) / 4.0
    h, precision = np.zeros((7, 3)), np.zeros((7, 3, 3))
    for _ in range(500):
        for j, (a, y) in enumerate(zip(SLOPES, Y, strict=True)):
            cavity = h.sum(axis=0) - h[j], prior + precision.sum(axis=0) - precision[j]
            covariance = np.linalg.inv(cavity[1] + np.outer(a, a))
            projected = np.linalg.inv(np.where(within, covariance, 0.0))
            h[j] = projected @ covariance @ (cavity[0] + a * y) - cavity[0]
            precision[j] = projected - cavity[1]
    posterior = h.sum(axis=0), prior + precision.sum(axis=0)
    whole = pack(*posterior)
    log_evidence = log_partition(whole, 3) - log_partition(pack(np.zeros(3), prior), 3)
    for j, (a, y) in enumerate(zip(SLOPES, Y, strict=True)):
        tilted = pack(posterior[0] - h[j] + a * y, posterior[1] - precision[j] + np.outer(a, a))
        log_evidence += log_partition(tilted, 3) - 0.5 * y**2 - log_partition(whole, 3)
    covariance = np.linalg.inv(posterior[1])
    return covariance @ posterior[0], np.sqrt(np.diag(covariance)), log_evidence


def exact():
    covariance = np.linalg.inv(np.eye(3) / 4.0 + SLOPES.T @ SLOPES)
    spread = np.eye(7) + 4.0 * SLOPES @ SLOPES.T
    log_evidence = -0.5 * (Y @ np.linalg.solve(spread, Y) + np.linalg.slogdet(spread)[1])
    return covariance @ SLOPES.T @ Y, np.sqrt(np.diag(covariance)), log_evidence


@pytest.mark.parametrize("schedule", ["parallel", "serial"])
@pytest.mark.parametrize("pair", [False, True])
def test_sites_within_blocks_are_those_of_expectation_propagation(pair, schedule):
    """Correlated Gaussian factors, so that a product over blocks is not the answer; it is corrected to be."""
    graph, x = regression()
    blocks, number = ([(x[0], x[2])], [0, 1, 0]) if pair else ("mean field", [0, 1, 2])
    result = graph.optimise(seed=0, blocks=blocks, schedule=schedule)
    mean, scale, log_evidence = expectation_propagation(np.array(number))
    found = result.ep.mean_field
    assert result.converged
    np.testing.assert_allclose([found.mean[v] for v in x], mean, rtol=1e-7)
    np.testing.assert_allclose([found.scale[v] for v in x], scale, rtol=1e-7)
    assert result.ep.log_evidence == pytest.approx(log_evidence, abs=1e-7)
    assert abs(found.covariance(x[0], x[1])) < 1e-12
    assert (abs(found.covariance(x[0], x[2])) > 1e-3) is pair
    mean, scale, log_evidence = exact()
    assert np.max(np.abs(scale / expectation_propagation(np.array(number))[1] - 1.0)) > 0.02
    assert not result.is_exact
    assert result.is_corrected
    np.testing.assert_allclose([result.mean_field.mean[v] for v in x], mean, atol=0.01 * np.max(scale))
    np.testing.assert_allclose([result.mean_field.scale[v] for v in x], scale, rtol=0.01)
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.005)


def test_one_block_of_all_variables_is_what_there_is_by_default():
    graph, x = regression()
    result = graph.optimise(blocks=[tuple(x)])
    assert result.is_exact
    np.testing.assert_allclose([result.mean_field.scale[v] for v in x], exact()[1], rtol=1e-8)


class School:
    def __init__(self, effect):
        self.effect = effect


class Estimate(fg.Analysis):
    def __init__(self, value, error):
        super().__init__()
        self.value, self.error = value, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.value - instance.effect) / self.error) ** 2 - jnp.log(self.error)


def test_a_population_without_the_correlation_of_its_mean_and_scatter():
    """Of factors that are not Gaussian: what is corrected does not depend on the blocks."""
    random = np.random.default_rng(1)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.HalfCauchyPrior(10.0))
    factors = []
    for _ in range(30):
        model, error = fg.Model(School), random.uniform(2.0, 6.0)
        parent.add_drawn_variable(model.effect)
        value = 50.0 + 8.0 * random.normal() + error * random.normal()
        factors.append(fg.AnalysisFactor(model, Estimate(value, error)))
    graph = fg.FactorGraphModel(*factors, parent)
    full, separate = graph.optimise(seed=0), graph.optimise(seed=0, blocks="mean field")
    assert separate.converged
    assert separate.ep.mean_field.covariance(parent.mean, parent.sigma) == pytest.approx(0.0, abs=1e-3)
    for variable in (parent.mean, parent.sigma):
        scale = full.mean_field.scale[variable]
        assert abs(separate.ep.mean_field.mean[variable] - full.ep.mean_field.mean[variable]) < 0.05 * scale
        assert abs(separate.mean_field.mean[variable] - full.mean_field.mean[variable]) < 0.01 * scale
        assert separate.mean_field.scale[variable] == pytest.approx(scale, rel=0.01)
    assert separate.log_evidence == pytest.approx(full.log_evidence, abs=0.005)


def test_misuse():
    graph, x = regression()
    with pytest.raises(GraphError, match="blocks = 'mean fild'.*'mean field'"):
        graph.optimise(blocks="mean fild")
    with pytest.raises(GraphError, match="no shared variable of this graph"):
        graph.optimise(blocks=[(x[0], fg.GaussianPrior(0.0, 1.0))])
    with pytest.raises(GraphError, match="in two blocks"):
        graph.optimise(blocks=[(x[0],), (x[0], x[1])])
