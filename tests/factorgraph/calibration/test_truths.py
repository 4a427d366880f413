"""Truths follow the prior through the graph: parents first, relations and assertions kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.calibration.truths import draw_truths
from factorgraph.errors import GraphError
from tests.factorgraph.calibration.models import Measurement, Object, Point, PointMeasurement, linear_relation

NUM = 2000


def truths_of(graph, num=NUM):
    return draw_truths(graph, [np.random.default_rng([7, i]) for i in range(num)])


def ks(values, distribution):
    return stats.kstest(values, distribution.cdf).pvalue


def test_shared_and_drawn_variables_follow_the_model():
    graph = linear_relation(num=2).graph
    truths = truths_of(graph)
    by_name = {graph.names[v]: values for v, values in truths.items() if v in graph.terms.shared}
    assert ks(by_name["intercept"], stats.norm(0.0, 1.0)) > 1e-3
    assert ks(by_name["scatter"], stats.halfnorm(0.0, 0.5)) > 1e-3
    for factor in graph.factors:
        x, y = truths[factor.prior_model.x], truths[factor.prior_model.y]
        assert ks((x - by_name["abscissa.mean"]) / by_name["abscissa.sigma"], stats.norm()) > 1e-3
        residual = y - by_name["intercept"] - by_name["slope"] * x
        assert ks(residual / by_name["scatter"], stats.norm()) > 1e-3


def test_a_truth_depends_on_its_own_generator_alone():
    graph = linear_relation(num=2).graph
    few, many = truths_of(graph, 3), truths_of(graph, 30)
    for variable, values in few.items():
        np.testing.assert_array_equal(values, many[variable][:3])


def test_assertions_restrict_the_prior():
    model = fg.Model(Point, x=fg.GaussianPrior(0.0, 1.0), y=fg.GaussianPrior(0.0, 1.0))
    model.add_assertion(model.x < model.y)
    graph = fg.FactorGraphModel(fg.AnalysisFactor(model, PointMeasurement(0.0, 0.0, 1.0, 1.0)))
    truths = truths_of(graph)
    x, y = truths[model.x], truths[model.y]
    assert np.all(x < y)
    assert ks(x, _Smaller) > 1e-3
    assert abs(np.mean(x + y)) < 4 * np.sqrt(2 / NUM)


class _Smaller:
    """The smaller of two standard normal numbers."""

    @staticmethod
    def cdf(x):
        return 1.0 - stats.norm.sf(x) ** 2


def test_an_assertion_that_hardly_holds_is_refused():
    model = fg.Model(Object, x=fg.GaussianPrior(0.0, 1.0))
    model.add_assertion(model.x > 40.0)
    graph = fg.FactorGraphModel(fg.AnalysisFactor(model, Measurement(0.0, 1.0)))
    with pytest.raises(GraphError, match="assertion"):
        truths_of(graph, 20)


@pytest.mark.parametrize("limits", [(), (0.0, 1.0)])
def test_a_flat_prior_is_refused_by_name(limits):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.FlatPrior(*limits), sigma=fg.HalfNormalPrior(1.0))
    model = fg.Model(Object)
    parent.add_drawn_variable(model.x)
    graph = fg.FactorGraphModel(fg.AnalysisFactor(model, Measurement(0.0, 1.0)), parent)
    with pytest.raises(GraphError, match=r"parent.mean.*UniformPrior"):
        truths_of(graph, 20)
