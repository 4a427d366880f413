"""Families of messages that the user chooses, against published fixed points of expectation propagation."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError


class School:
    def __init__(self, effect):
        self.effect = effect


class Estimate(fg.Analysis):
    def __init__(self, value, error):
        super().__init__()
        self.value, self.error = value, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.value - instance.effect) / self.error) ** 2 - 0.5 * jnp.log(2 * jnp.pi * self.error**2)


VALUES, ERRORS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


def schools(sigma, choose=None):
    """The graph and its parent; ``choose(parent, models)`` gives families."""
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=sigma)
    factors, models = [], []
    for value, error in zip(VALUES, ERRORS, strict=True):
        model = fg.Model(School)
        parent.add_drawn_variable(model.effect)
        models.append(model)
        factors.append(fg.AnalysisFactor(model, Estimate(value, error)))
    families = choose(parent, models) if choose else None
    return fg.FactorGraphModel(*factors, parent, families=families), parent


def test_log_normal_messages_of_a_scatter():
    """ep.md B15: eight schools, messages normal in log tau, the half-Cauchy prior as a site."""
    graph, parent = schools(fg.HalfCauchyPrior(5.0), lambda parent, _: {parent.sigma: "log-normal"})
    result = graph.optimise(seed=0)
    moments = result.ep.mean_field
    log_scatter = np.log(moments.draws(parent.sigma))
    assert result.converged
    assert result.ep.log_evidence == pytest.approx(-31.3816, abs=2e-3)
    assert moments.mean[parent.mean] == pytest.approx(4.4011, abs=0.01)
    assert moments.scale[parent.mean] == pytest.approx(3.2993, abs=0.01)
    assert moments.mean[parent.sigma] == pytest.approx(3.7221, abs=0.01)
    assert moments.scale[parent.sigma] == pytest.approx(4.380, rel=0.02)
    assert np.mean(log_scatter) == pytest.approx(0.8797, abs=0.01)
    assert np.std(log_scatter) == pytest.approx(0.9323, abs=0.01)


def test_what_is_corrected_does_not_depend_on_the_family():
    """The exact answer (ep.md B15) under either family."""
    for name in ("log-normal", "softplus-normal"):
        graph, parent = schools(fg.HalfCauchyPrior(5.0), lambda parent, _, name=name: {parent.sigma: name})
        result = graph.optimise(seed=0)
        assert result.is_corrected
        assert result.log_evidence == pytest.approx(-31.3113, abs=0.02)
        assert result.mean_field.mean[parent.mean] == pytest.approx(4.3968, abs=0.05 * 3.3177)
        assert result.mean_field.mean[parent.sigma] == pytest.approx(3.5977, abs=0.05 * 3.2200)
        assert result.mean_field.scale[parent.sigma] == pytest.approx(3.2200, rel=0.04)


def test_a_normal_prior_as_a_term_changes_nothing():
    """A Gaussian prior is whitened by default; as a term with normal messages it is exact, so nothing else differs."""
    plain, parent = schools(fg.HalfCauchyPrior(5.0))
    chosen, other = schools(fg.HalfCauchyPrior(5.0), lambda parent, _: {parent.mean: "normal"})
    first, second = plain.optimise(seed=0).ep, chosen.optimise(seed=0).ep
    assert second.mean_field.mean[other.mean] == pytest.approx(first.mean_field.mean[parent.mean], abs=1e-3)
    assert second.mean_field.scale[other.sigma] == pytest.approx(first.mean_field.scale[parent.sigma], rel=1e-3)
    assert second.log_evidence == pytest.approx(first.log_evidence, abs=1e-3)


def test_messages_on_an_interval():
    """A uniform prior is whitened by default (a probit transform); with a logit transform it is the same problem."""
    answers = []
    for choose in (None, lambda parent, _: {parent.sigma: "logit-normal"}):
        graph, parent = schools(fg.UniformPrior(0.0, 30.0), choose)
        result = graph.optimise(seed=0)
        moments = result.mean_field
        answers.append([moments.mean[parent.sigma], moments.scale[parent.sigma], result.log_evidence])
    np.testing.assert_allclose(answers[1][:2], answers[0][:2], rtol=0.03)
    assert answers[1][2] == pytest.approx(answers[0][2], abs=0.02)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda parent, _: {parent.sigma: "gama"}, "no family 'gama'.*gamma"),
        (lambda parent, _: {parent.sigma: "normal"}, "'softplus-normal', 'log-normal', .*can be chosen"),
        (lambda parent, _: {parent.sigma: "beta"}, "'gamma' and 'inverse-gamma' can be chosen"),
        (lambda parent, _: {parent.mean: "gamma"}, "'normal' can be chosen"),
        (lambda parent, _: {parent.mean: "log-normal"}, "'normal' can be chosen"),
        (lambda _, models: {models[0].effect: "normal"}, "no shared variable of this graph"),
    ],
)
def test_misuse(choose, message):
    with pytest.raises(GraphError, match=message):
        schools(fg.HalfCauchyPrior(5.0), choose)
