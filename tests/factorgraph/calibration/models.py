"""The models of the calibration tests: a graph each, and the function that simulates one of its datasets.

The data that the graphs start with are never used; only errors and exposures are kept from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, log_ndtr

import factorgraph as fg

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


class Case(NamedTuple):
    graph: fg.FactorGraphModel
    simulate: Callable[[Any, Any, np.random.Generator], Any]


class Object:
    def __init__(self, x=0.0):
        self.x = x


def errors_of(num: int) -> list[float]:
    """Errors that differ from one dataset to the next."""
    return np.geomspace(0.5, 2.0, num).tolist()


def population(parent: fg.HierarchicalFactor, analyses: list[Any]) -> fg.FactorGraphModel:
    factors = []
    for analysis in analyses:
        model = fg.Model(Object)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, analysis))
    return fg.FactorGraphModel(*factors, parent)


def gaussian_parent() -> fg.HierarchicalFactor:
    return fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 1.0), sigma=fg.HalfNormalPrior(1.0))


# --- mean and scatter ---


class Measurement(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y, self.error = y, error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x) / self.error) ** 2 - jnp.log(self.error) - LOG_SQRT_2PI


def measure(analysis, instance, rng):
    return Measurement(float(rng.normal(instance.x, analysis.error)), analysis.error)


def mean_and_scatter(num: int = 20, noise: float = 1.0) -> Case:
    return Case(population(gaussian_parent(), [Measurement(0.0, noise * error) for error in errors_of(num)]), measure)


# --- a linear relation with intrinsic scatter and errors in both axes ---


class Point:
    def __init__(self, x=0.0, y=0.0):
        self.x, self.y = x, y


class PointMeasurement(fg.Analysis):
    def __init__(self, x, y, error_x, error_y):
        super().__init__()
        self.x, self.y, self.error_x, self.error_y = x, y, error_x, error_y

    def log_likelihood_function(self, instance):
        chi_squared = ((self.x - instance.x) / self.error_x) ** 2 + ((self.y - instance.y) / self.error_y) ** 2
        return -0.5 * chi_squared - jnp.log(self.error_x) - jnp.log(self.error_y) - 2.0 * LOG_SQRT_2PI


def measure_point(analysis, instance, rng):
    x, y = rng.normal([instance.x, instance.y], [analysis.error_x, analysis.error_y]).tolist()
    return PointMeasurement(x, y, analysis.error_x, analysis.error_y)


def linear_relation(num: int = 30) -> Case:
    intercept, slope = fg.GaussianPrior(0.0, 1.0, name="intercept"), fg.GaussianPrior(1.0, 0.5, name="slope")
    scatter = fg.HalfNormalPrior(0.5, name="scatter")
    abscissa = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 1.0), sigma=fg.HalfNormalPrior(2.0), name="abscissa"
    )
    factors, parents = [], [abscissa]
    for error in errors_of(num):
        model = fg.Model(Point)
        abscissa.add_drawn_variable(model.x)
        parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=intercept + slope * model.x, sigma=scatter)
        parent.add_drawn_variable(model.y)
        parents.append(parent)
        factors.append(fg.AnalysisFactor(model, PointMeasurement(0.0, 0.0, 0.5 * error, 0.5)))
    return Case(fg.FactorGraphModel(*factors, *parents), measure_point)


# --- Poisson counts ---


class Counts(fg.Analysis):
    """Of events; x is the logarithm of their rate."""

    def __init__(self, counts, exposure):
        super().__init__()
        self.counts, self.exposure = counts, exposure

    def log_likelihood_function(self, instance):
        log_expected = instance.x + jnp.log(self.exposure)
        return self.counts * log_expected - jnp.exp(log_expected) - gammaln(self.counts + 1.0)


def count(analysis, instance, rng):
    return Counts(float(rng.poisson(analysis.exposure * np.exp(instance.x))), analysis.exposure)


def poisson_counts(num: int = 30) -> Case:
    return Case(population(gaussian_parent(), [Counts(0.0, 2.0 * error) for error in errors_of(num)]), count)


# --- upper limits ---


class Flux(fg.Analysis):
    """A measurement, or no more than that it lay below the limit; ``detected`` is 1 or 0."""

    def __init__(self, y, detected, error, limit):
        super().__init__()
        self.y, self.detected, self.error, self.limit = y, detected, error, limit

    def log_likelihood_function(self, instance):
        measured = -0.5 * ((self.y - instance.x) / self.error) ** 2 - jnp.log(self.error) - LOG_SQRT_2PI
        return jnp.where(self.detected > 0.5, measured, log_ndtr((self.limit - instance.x) / self.error))


def detect(analysis, instance, rng):
    y = float(rng.normal(instance.x, analysis.error))
    detected = float(y > analysis.limit)
    return Flux(y if detected else 0.0, detected, analysis.error, analysis.limit)


def upper_limits(num: int = 30) -> Case:
    return Case(population(gaussian_parent(), [Flux(0.0, 0.0, 0.5 * e, 0.3) for e in errors_of(num)]), detect)


# --- a mixture with outliers ---


class Contaminated:
    def __init__(self, x=0.0, fraction=0.1):
        self.x, self.fraction = x, fraction


class ContaminatedMeasurement(fg.Analysis):
    """A measurement that is an outlier, with five times the error, in a fraction of the datasets."""

    def __init__(self, y, error):
        super().__init__()
        self.y, self.error = y, error

    def log_likelihood_function(self, instance):
        good = jnp.log1p(-instance.fraction) + self._log_normal(instance, self.error)
        return jnp.logaddexp(good, jnp.log(instance.fraction) + self._log_normal(instance, 5.0 * self.error))

    def _log_normal(self, instance, error):
        return -0.5 * ((self.y - instance.x) / error) ** 2 - jnp.log(error) - LOG_SQRT_2PI


def contaminate(analysis, instance, rng):
    error = analysis.error * (5.0 if rng.random() < instance.fraction else 1.0)
    return ContaminatedMeasurement(float(rng.normal(instance.x, error)), analysis.error)


def outliers(num: int = 20) -> Case:
    parent, fraction = gaussian_parent(), fg.BetaPrior(2.0, 8.0, name="fraction")
    factors = []
    for error in errors_of(num):
        model = fg.Model(Contaminated)
        model.fraction = fraction
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, ContaminatedMeasurement(0.0, 0.5 * error)))
    return Case(fg.FactorGraphModel(*factors, parent), contaminate)


CASES = {case.__name__: case for case in (mean_and_scatter, linear_relation, poisson_counts, upper_limits, outliers)}
