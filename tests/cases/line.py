"""Twenty points and a line (Hogg, Bovy & Lang 2010), in arbitrary units: without outliers, and with a mixture for them."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, Known, known, reference, table


class Line:
    def __init__(self, m, b):
        self.m = m
        self.b = b

    def __call__(self, x):
        return self.m * x + self.b


class LineWithOutliers(Line):
    """A point is an outlier with probability ``fraction``, then drawn from N(mean, exp(log_variance))."""

    def __init__(self, m, b, fraction, mean, log_variance):
        super().__init__(m, b)
        self.fraction = fraction
        self.mean = mean
        self.log_variance = log_variance


class Point(fg.Analysis):
    """One point with an error in y."""

    def __init__(self, row):
        self.x = float(row["x"])
        self.y = float(row["y"])
        self.error = float(row["sigma_y"])

    def log_likelihood_function(self, instance):
        return log_normal(self.y, instance(self.x), self.error**2)


class DoubtfulPoint(Point):
    """One point that may be an outlier."""

    def log_likelihood_function(self, instance):
        good = jnp.log1p(-instance.fraction) + log_normal(self.y, instance(self.x), self.error**2)
        variance = jnp.exp(instance.log_variance) + self.error**2
        bad = jnp.log(instance.fraction) + log_normal(self.y, instance.mean, variance)
        return jnp.logaddexp(good, bad)


def log_normal(y, mean, variance):
    return -0.5 * (y - mean) ** 2 / variance - 0.5 * jnp.log(2.0 * jnp.pi * variance)


def line(data: Path) -> Case:
    """Points 5 to 20 and flat priors: least squares."""
    model = fg.Model(Line, m=fg.FlatPrior(), b=fg.FlatPrior())
    rows = table(data / "hogg_line" / "points.csv")[4:]
    answer = reference(data / "hogg_line" / "reference.json")["A_linear_points_5_to_20"]
    return Case(
        title="line, no outliers",
        graph=fg.FactorGraphModel(*(fg.AnalysisFactor(model, Point(row), name=f"point {row['id']}") for row in rows)),
        known=tuple(Known(name=name, quantity=getattr(model, name), **answer[name]) for name in ("m", "b")),
        search=fg.Laplace(num_draws=4096),
    )


def line_with_outliers(data: Path) -> Case:
    """Points 2 to 4 are outliers; which others are is part of the answer."""
    model = fg.Model(
        LineWithOutliers,
        m=fg.GaussianPrior(2.0, 2.0),
        b=fg.GaussianPrior(0.0, 200.0),
        fraction=fg.UniformPrior(0.0, 1.0),
        mean=fg.GaussianPrior(400.0, 200.0),
        log_variance=fg.GaussianPrior(2.0 * np.log(100.0), 1.0),
    )
    rows = table(data / "hogg_line" / "points.csv")
    factors = [fg.AnalysisFactor(model, DoubtfulPoint(row), name=f"point {row['id']}") for row in rows]
    names = {"m": "m", "b": "b", "P_out": "fraction", "Y_out": "mean", "ln_V_out": "log_variance"}
    return Case(
        title="line with outliers",
        graph=fg.FactorGraphModel(*factors),
        known=known(
            reference(data / "hogg_line" / "reference.json")["B_mixture_all_20"],
            {name: getattr(model, attribute) for name, attribute in names.items()},
        ),
        search=fg.SMC(num_particles=4096),
        contracted=False,
    )
