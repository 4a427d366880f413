"""Units of the user's choice: watts, kilograms, metres of a galaxy."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg


class Source:
    def __init__(self, luminosity=1.0, width=1.0):
        self.luminosity = luminosity
        self.width = width


class Reading(fg.Analysis):
    def __init__(self, y, unit):
        super().__init__()
        self.y = y
        self.unit = unit

    def log_likelihood_function(self, instance):
        luminosity, width = instance.luminosity / self.unit, instance.width / self.unit
        return -0.5 * ((self.y[0] - luminosity) / 0.3) ** 2 - 0.5 * ((self.y[1] - luminosity * width) / 0.5) ** 2


def moments(unit):
    random = np.random.default_rng(2)
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(5.0 * unit, 2.0 * unit), sigma=fg.HalfNormalPrior(unit)
    )
    factors = []
    for _ in range(4):
        model = fg.Model(Source, width=fg.TruncatedGaussianPrior(unit, unit, lower_limit=0.0, upper_limit=np.inf))
        parent.add_drawn_variable(model.luminosity)
        factors.append(fg.AnalysisFactor(model, Reading(random.normal([5.0, 5.0], 1.0), unit)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    variables = [factor.prior_model.width for factor in factors] + [parent.mean, parent.sigma]
    field = result.mean_field
    return np.array([[field.mean[v], field.scale[v]] for v in variables]) / unit


@pytest.mark.parametrize("unit", [pytest.param(1e30, marks=pytest.mark.slow), 1e-30])
def test_the_answer_scales_with_the_unit(unit):
    """To the accuracy of points that depend on the content of each dataset."""
    found, known = moments(unit), moments(1.0)
    assert np.max(np.abs(found[:, 0] - known[:, 0]) / known[:, 1]) < 0.05
    np.testing.assert_allclose(found[:, 1], known[:, 1], rtol=0.03)
