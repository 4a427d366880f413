"""The contracted graph under a search: the shared posterior and evidence by quadrature, few unknowns for any N."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError
from tests.factorgraph.test_scatter import Flux, Measurement, Object


def survey(num, analysis=Measurement, seed=5):
    random = np.random.default_rng(seed)
    x = random.normal(1.0, 0.6, num)
    errors = random.uniform(0.2, 0.5, num)
    signal = np.exp(x) if analysis is Flux else x
    y = signal + errors * random.standard_normal(num)
    return y, errors


def graph_of(y, errors, analysis=Measurement):
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=fg.GammaPrior(2.0, 0.5), name="parent"
    )
    factors = []
    for one, error in zip(y.tolist(), errors.tolist(), strict=True):
        model = fg.Model(Object)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, analysis(one, error)))
    return fg.FactorGraphModel(*factors, parent), parent


@pytest.mark.parametrize(
    ("analysis", "search"),
    [
        pytest.param(Measurement, fg.Laplace(), id="Laplace"),
        pytest.param(Flux, fg.SMC(num_particles=1024), id="SMC", marks=pytest.mark.slow),
    ],
)
def test_as_expectation_propagation(analysis, search):
    """The corrected answer of `optimise` is tested against quadrature elsewhere; here another way to the same."""
    graph, parent = graph_of(*survey(20, analysis), analysis)
    by_propagation = graph.optimise(seed=0)
    contracted = graph.contracted
    result = search.fit(model=contracted.global_prior_model, analysis=contracted, seed=1)
    assert contracted.target.num_parameters == 2
    for variable in (parent.mean, parent.sigma):
        scale = by_propagation.mean_field.scale[variable]
        assert abs(result.mean_field.mean[variable] - by_propagation.mean_field.mean[variable]) < 0.12 * scale
        assert result.mean_field.scale[variable] == pytest.approx(scale, rel=0.1)
    assert result.log_evidence == pytest.approx(by_propagation.log_evidence, abs=0.2)


def test_nested_sampling():
    graph, parent = graph_of(*survey(50))
    by_propagation = graph.optimise(seed=0)
    result = fg.DynestyStatic(nlive=100).fit(
        model=graph.contracted.global_prior_model, analysis=graph.contracted, seed=0
    )
    assert result.log_evidence == pytest.approx(by_propagation.log_evidence, abs=4.0 * result.log_evidence_error)
    scale = by_propagation.mean_field.scale[parent.mean]
    assert abs(result.mean_field.mean[parent.mean] - by_propagation.mean_field.mean[parent.mean]) < 0.3 * scale
    assert "parent.sigma" in result.info


def test_flat_priors():
    """The scatter fixed, a flat mean is that of the weighted data: its prior has no whitened coordinate."""
    y, errors = survey(20)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.FlatPrior(), sigma=0.5)
    factors = []
    for one, error in zip(y.tolist(), errors.tolist(), strict=True):
        model = fg.Model(Object)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, Measurement(one, error)))
    contracted = fg.FactorGraphModel(*factors, parent).contracted
    result = fg.Laplace(num_draws=4096).fit(model=contracted.global_prior_model, analysis=contracted, seed=0)
    weight = 1.0 / (0.25 + errors**2)
    scale = weight.sum() ** -0.5
    assert abs(result.mean_field.mean[parent.mean] - np.average(y, weights=weight)) < 0.02 * scale
    assert result.mean_field.scale[parent.mean] == pytest.approx(scale, rel=0.03)
    assert np.isnan(result.log_evidence)


class Called(Measurement):
    def log_likelihood_function(self, instance):
        return float(super().log_likelihood_function(type("Here", (), {"x": float(instance.x)})()))


class CalledShared(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - float(instance.x)) ** 2


@pytest.mark.slow
def test_called_likelihoods_are_needed_no_more():
    """Of private variables alone: once explored, a likelihood that JAX cannot trace is not called again."""
    y, errors = survey(6)
    called, parent = graph_of(y, errors, Called)
    traced, other = graph_of(y, errors)
    results = [
        (fg.Laplace().fit(model=g.contracted.global_prior_model, analysis=g.contracted, seed=0), p)
        for g, p in ((called, parent), (traced, other))
    ]
    (first, a), (second, b) = results
    assert first.mean_field.mean[a.mean] == pytest.approx(second.mean_field.mean[b.mean], abs=0.03)
    assert first.log_evidence == pytest.approx(second.log_evidence, abs=0.1)


def test_what_cannot_be_contracted():
    x = fg.GaussianPrior(0.0, 1.0)
    graph = fg.FactorGraphModel(*(fg.AnalysisFactor(fg.Model(Object, x=x), CalledShared(y)) for y in (0.1, 0.2)))
    with pytest.raises(GraphError, match="global_prior_model"):
        _ = graph.contracted.target
    alone = fg.FactorGraphModel(
        fg.AnalysisFactor(fg.Model(Object, x=fg.GaussianPrior(0.0, 1.0)), Measurement(0.0, 1.0))
    )
    with pytest.raises(GraphError, match="no unknown"):
        _ = alone.contracted.target
    with pytest.raises(GraphError, match="global_prior_model"):
        fg.Laplace().fit(model=graph.global_prior_model, analysis=graph.contracted)


def test_a_lost_dataset_is_named():
    y, errors = survey(5)
    graph, _ = graph_of(np.append(y, np.nan), np.append(errors, 0.3))
    with pytest.warns(UserWarning, match="dataset_5"):
        assert graph.contracted.left_out == ("dataset_5",)
