"""The walk of a dataset, small: graph, plates, kernels, answer, and what a broken dataset does to the others."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from tests.compilations import count_compilations


class Source:
    def __init__(self, theta: float = 0.0):
        self.theta = theta


class Measurement(fg.Analysis):
    def __init__(self, y: float, error: float):
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        z = (self.y - instance.theta) / self.error
        return -0.5 * z**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class CalledMeasurement(Measurement):
    def log_likelihood_function(self, instance):
        if self.y > 50.0:
            raise RuntimeError("no model for this one")
        z = (self.y - instance.theta) / self.error
        return float(-0.5 * z**2 - np.log(self.error) - 0.5 * np.log(2.0 * np.pi))


def population(values, analysis=Measurement, prefix="d"):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(5.0))
    factors = []
    for index, value in enumerate(values):
        model = fg.Model(Source)
        parent.add_drawn_variable(model.theta)
        factors.append(fg.AnalysisFactor(model, analysis(float(value), 1.0), name=f"{prefix}{index}"))
    return fg.FactorGraphModel(*factors, parent), parent


VALUES = np.random.default_rng(3).normal(2.0, 3.0, 12)


@pytest.fixture(scope="module")
def solved():
    graph, parent = population(VALUES)
    return graph, parent, graph.optimise()


def moments(result, parent):
    field = result.mean_field
    return np.array([field.mean[parent.mean], field.scale[parent.mean], field.mean[parent.sigma]])


def test_answer_agrees_with_quadrature(solved):
    _, parent, result = solved
    mu, tau = np.meshgrid(np.linspace(-15, 20, 351), np.linspace(0.01, 20, 400), indexing="ij")
    log_p = -0.5 * (mu / 10.0) ** 2 - 0.5 * (tau / 5.0) ** 2
    for value in VALUES:
        variance = tau**2 + 1.0
        log_p = log_p - 0.5 * (value - mu) ** 2 / variance - 0.5 * np.log(variance)
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()
    mean, sd = (weight * mu).sum(), np.sqrt((weight * (mu - (weight * mu).sum()) ** 2).sum())
    scatter = (weight * tau).sum()
    spread = np.sqrt((weight * (tau - scatter) ** 2).sum())
    found = moments(result, parent)
    assert abs(found[0] - mean) < 0.03 * sd
    assert abs(found[1] / sd - 1.0) < 0.02
    assert abs(found[2] - scatter) < 0.03 * spread
    assert result.converged


def test_second_graph_compiles_nothing_and_bits_repeat(solved):
    _, parent, result = solved
    with count_compilations() as counted:
        graph, other = population(VALUES)
        again = graph.optimise()
    assert counted.count == 0
    np.testing.assert_array_equal(moments(again, other), moments(result, parent))
    assert again.log_evidence == result.log_evidence


def test_order_and_names_change_nothing(solved):
    _, parent, result = solved
    graph, other = population(VALUES[::-1], prefix="z")
    np.testing.assert_allclose(moments(graph.optimise(), other), moments(result, parent), rtol=1e-8)


@pytest.mark.parametrize("broken", [(np.nan, 1.0), (1.0, 0.0)], ids=["nan", "zero noise"])
def test_broken_dataset_is_named_and_the_others_agree(solved, broken):
    _, parent, result = solved
    graph, other = population(VALUES)
    model = fg.Model(Source)
    other.add_drawn_variable(model.theta)
    factors = [*graph.factors, fg.AnalysisFactor(model, Measurement(*broken), name="broken"), other]
    with pytest.warns(UserWarning, match="broken"):
        found = fg.FactorGraphModel(*factors).optimise()
    assert list(found.quarantined) == ["broken"]
    np.testing.assert_allclose(moments(found, other), moments(result, parent), rtol=1e-6)


def test_likelihood_that_is_not_jax_gives_the_same_answer(solved):
    _, parent, result = solved
    graph, other = population(VALUES, CalledMeasurement)
    assert {lane.name for lane in graph.lanes if lane.reason} == {"host"}
    np.testing.assert_allclose(moments(graph.optimise(), other), moments(result, parent), atol=0.05)


def test_called_likelihood_that_raises_is_quarantined_with_its_words():
    graph, _ = population([*VALUES[:3], 99.0], CalledMeasurement)
    with pytest.warns(UserWarning, match="d3"):
        result = graph.optimise()
    assert "no model for this one" in result.quarantined["d3"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda instance: jnp.ones(3) * instance.theta, "array of shape"),
        (lambda instance: instance.theta * 1j, "complex"),
        (lambda instance: None, "returned None"),
        (lambda instance: 1 / 0, "raised at every point"),
    ],
    ids=["array", "complex", "none", "raises"],
)
def test_what_is_no_log_likelihood_is_refused(answer, message):
    class Wrong(Measurement):
        def log_likelihood_function(self, instance):
            return answer(instance)

    graph, _ = population(VALUES[:2], Wrong)
    with pytest.raises(fg.LikelihoodError, match=message):
        graph.optimise()


def test_misuse_of_a_graph_is_refused_when_it_is_made():
    model = fg.Model(Source)
    factor = fg.AnalysisFactor(model, Measurement(1.0, 1.0), name="a")
    with pytest.raises(fg.GraphError, match="no prior"):
        fg.FactorGraphModel(factor)
    with pytest.raises(fg.GraphError, match="Unpack a list"):
        fg.FactorGraphModel([factor])
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=1.0)
    parent.add_drawn_variable(model.theta)
    with pytest.raises(fg.GraphError, match="named 'a'"):
        fg.FactorGraphModel(factor, fg.AnalysisFactor(model, Measurement(2.0, 1.0), name="a"), parent)
    parent.add_drawn_variable(fg.GaussianPrior(0.0, 1.0))
    with pytest.raises(fg.GraphError, match="read by no factor"):
        fg.FactorGraphModel(factor, parent)


def test_unconnected_pieces_add_their_evidence():
    def piece(sigma):
        shared = fg.GaussianPrior(0.0, sigma)
        factors = []
        for value in (1.0, 2.0):
            model = fg.Model(Source)
            model.theta = shared
            factors.append(fg.AnalysisFactor(model, Measurement(value, 1.0)))
        return factors

    def evidence(sigma):
        covariance = np.eye(2) + sigma**2
        y = np.array([1.0, 2.0])
        return -0.5 * (y @ np.linalg.solve(covariance, y) + np.log(np.linalg.det(2 * np.pi * covariance)))

    result = fg.FactorGraphModel(*piece(1.0), *piece(2.0)).optimise()
    assert result.is_exact
    np.testing.assert_allclose(result.log_evidence, evidence(1.0) + evidence(2.0), rtol=1e-8)
