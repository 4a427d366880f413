"""Mass-density slopes of gravitational lenses (SLACS): gamma_i ~ N(mu, sigma_int), flat priors on mu and sigma_int > 0.

Slopes have no unit, velocity dispersions are in km/s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, known, reference, table


class Lens:
    def __init__(self, gamma=2.0):
        self.gamma = gamma


class Imaging(fg.Analysis):
    """A slope, measured directly."""

    def __init__(self, row):
        self.slope = float(row["gamma"])
        self.error = float(row["gamma_err"])

    def log_likelihood_function(self, instance):
        return log_normal(self.slope, instance.gamma, self.error)


class Dynamics(fg.Analysis):
    """A velocity dispersion; its model is a polynomial good for 1.2 < gamma < 2.8."""

    def __init__(self, row):
        self.coefficients = np.array([float(row[f"c{power}"]) for power in range(5)])
        self.dispersion = float(row["sigma_v"])
        self.error = float(row["sigma_v_err"])

    def log_likelihood_function(self, instance):
        predicted = jnp.exp(jnp.polyval(self.coefficients[::-1], instance.gamma - 2.0))
        is_inside = (instance.gamma > 1.2) & (instance.gamma < 2.8)
        return jnp.where(is_inside, log_normal(self.dispersion, predicted, self.error), -jnp.inf)


def log_normal(y, mean, sd):
    return -0.5 * ((y - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * jnp.log(2.0 * jnp.pi)


def one_population(data: Path, title: str, name: str, analysis: Callable[[Any], fg.Analysis], block: str) -> Case:
    rows = table(data / "slacs" / name)
    models = [fg.Model(Lens) for _ in rows]
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.FlatPrior(), sigma=fg.FlatPrior(0.0, np.inf))
    for model in models:
        parent.add_drawn_variable(model.gamma)
    factors = [fg.AnalysisFactor(model, analysis(row), name=row["name"]) for model, row in zip(models, rows)]
    return Case(
        title=title,
        graph=fg.FactorGraphModel(*factors, parent),
        known=known(
            reference(data / "slacs" / "reference.json")[block],
            {"mu": parent.mean, "sigma_int": parent.sigma},
            slopes(rows, models),
        ),
        search=fg.Laplace(),
    )


def slacs_imaging(data: Path) -> Case:
    return one_population(data, "SLACS, imaging", "imaging_slopes.csv", Imaging, "A_mean_scatter")


def slacs_dynamics(data: Path) -> Case:
    """A likelihood that is not linear in the slope."""
    return one_population(data, "SLACS, dynamics", "lensing_dynamics.csv", Dynamics, "B_lensing_dynamics")


def slacs_trend(data: Path) -> Case:
    """The population's mean is a relation: a + b (z_lens - 0.2)."""
    rows = table(data / "slacs" / "imaging_slopes.csv")
    a, b, scatter = fg.FlatPrior(), fg.FlatPrior(), fg.FlatPrior(0.0, np.inf)
    models, factors = [fg.Model(Lens) for _ in rows], []
    for model, row in zip(models, rows):
        parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=a + b * (float(row["z_lens"]) - 0.2), sigma=scatter)
        parent.add_drawn_variable(model.gamma)
        factors += [fg.AnalysisFactor(model, Imaging(row), name=row["name"]), parent]
    answer = reference(data / "slacs" / "reference.json")["A_trend_with_redshift"]
    return Case(
        title="SLACS, trend with redshift",
        graph=fg.FactorGraphModel(*factors),
        known=known(answer, {"a": a, "b": b, "sigma_int": scatter}, slopes(rows, models)),
        search=fg.Laplace(),
    )


def slopes(rows, models):
    return {f"gamma[{row['name']}]": model.gamma for row, model in zip(rows, models)}
