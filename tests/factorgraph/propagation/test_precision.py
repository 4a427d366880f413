"""Single precision: what it does to the likelihoods is measured, and said."""

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from tests.factorgraph.propagation.devices_script import Line, Points, graph


class Far(Points):
    """The same likelihood of data that are far from zero, which single precision does not resolve."""

    def log_likelihood_function(self, instance):
        return Points(self.y - FAR).log_likelihood_function(instance)


FAR = 1e7


def moments(result, variables):
    found = result.mean_field
    return {name: (np.asarray(found.mean[v]), np.asarray(found.scale[v])) for name, v in variables.items()}


@pytest.mark.slow
def test_it_changes_next_to_nothing_and_says_how_much():
    survey, variables = graph(24)
    double, single = survey.optimise(seed=3), survey.optimise(seed=3, single_precision=True)
    assert double.precision_error is None
    deforms, moves = single.precision_error
    assert 0.0 < deforms < 1e-4  # some rounding errors of numbers of about ten
    assert abs(single.log_evidence - double.log_evidence) < 1e-3
    assert abs(moves) < 1e-3
    assert "single precision" in single.info
    for name, (mean, scale) in moments(double, variables).items():
        other, width = moments(single, variables)[name]
        assert np.max(np.abs(other - mean) / scale) < 0.01, name
        assert np.max(np.abs(width / scale - 1.0)) < 0.01, name


def test_likelihoods_that_it_spoils_are_noticed():
    y = FAR + np.random.default_rng(5).normal(0.0, 0.5, (12, 12))
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.HalfNormalPrior(2.0))
    model = fg.Model(Line, width=fg.LogUniformPrior(0.01, 10.0))
    survey = fg.FactorGraphModel(fg.Plate(model, Far, {"y": y}), parent.over(model.slope))
    with pytest.warns(UserWarning, match="single precision is too coarse"):
        result = survey.optimise(seed=3, single_precision=True)
    assert max(np.abs(result.precision_error)) > 0.05


def test_a_gaussian_likelihood_is_still_integrated_exactly():
    class Level:
        def __init__(self, level=0.0):
            self.level = level

    class Mean(fg.Analysis):
        def __init__(self, y):
            super().__init__()
            self.y = y

        def log_likelihood_function(self, instance):
            return -0.5 * jnp.sum((self.y - instance.level) ** 2)

    y = np.random.default_rng(1).normal(1.0, 1.0, (10, 4))
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=2.0)
    model = fg.Model(Level)
    survey = fg.FactorGraphModel(fg.Plate(model, Mean, {"y": y}), parent.over(model.level))
    double, single = survey.optimise(), survey.optimise(single_precision=True)
    assert double.is_exact
    assert single.log_evidence == pytest.approx(double.log_evidence, abs=1e-3)
    assert single.mean_field.mean[parent.mean] == pytest.approx(double.mean_field.mean[parent.mean], abs=1e-4)
