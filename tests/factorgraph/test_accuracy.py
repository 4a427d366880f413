"""Posteriors against exact answers: the simulated survey, strong lenses, the eight schools."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from tests.benchmarks.survey import CELLS, EDGES, SIGMAS, exact, script, simulated, survey
from tests.factorgraph.results.schools import EFFECTS, ERRORS, schools
from tests.factorgraph.results.schools import exact as exact_schools

slow = pytest.mark.slow
LARGE = {"shift": 0.1, "spread": 0.07}
SMALL = {"shift": 0.2, "spread": 0.15}  # ten datasets
SCHOOLS = {"shift": 0.15, "spread": 0.15}


def assert_close(
    found: Iterable[float], scale: Iterable[float], mean: Any, exact_scale: Any, bounds: dict[str, float]
) -> None:
    """Means within ``shift`` exact standard deviations, standard deviations within a fraction ``spread``."""
    mean, exact_scale = np.asarray(mean, dtype=float), np.asarray(exact_scale, dtype=float)
    shift = (np.asarray(list(found)) - mean) / exact_scale
    spread = np.asarray(list(scale)) / exact_scale - 1.0
    assert np.max(np.abs(shift)) < bounds["shift"], f"means are off by {np.round(shift, 3)} sd"
    assert np.max(np.abs(spread)) < bounds["spread"], f"sds are off by {np.round(spread, 3)}"


# --- the simulated survey ---

SIZES = [
    pytest.param(10, 7),
    pytest.param(30, 7),
    *(pytest.param(n, seed, marks=slow) for n in (10, 30) for seed in (11, 23)),
    *(pytest.param(n, seed, marks=slow) for n in (100, 1_000) for seed in (7, 11, 23)),
]
SHARED_SIZES = [pytest.param(n, seed, marks=slow) for n in (10, 30, 100, 1_000) for seed in (7, 11, 23)]


def check_survey(folder, kind, n, seed):
    asked = survey(simulated(folder, n, seed), kind)
    result = asked.graph.optimise(seed=0)
    found, known = asked.posterior(result), exact(folder, kind, n, seed)
    assert result.converged
    assert result.is_corrected
    assert_close(
        found.mean.values(),
        found.scale.values(),
        list(known.mean.values()),
        list(known.scale.values()),
        LARGE if n >= 30 else SMALL,
    )


@pytest.mark.parametrize(("n", "seed"), SIZES)
def test_population_of_profiles(shared, n, seed):
    check_survey(shared, "hier", n, seed)


@pytest.mark.parametrize(("n", "seed"), SHARED_SIZES)
def test_shared_centre_of_profiles(shared, n, seed):
    check_survey(shared, "shared", n, seed)


@slow
def test_private_variables_of_profiles(shared):
    """Centre, normalization and width of each of thirty datasets."""
    n, seed = 30, 7
    data, reference = simulated(shared, n, seed), script(shared, "exact_reference")
    log_likelihoods, sums = reference.marginal(data["x"], data["y_hier"], CELLS, SIGMAS, True)
    known = reference.hier(log_likelihoods, CELLS, EDGES, sums)["local"]
    asked = survey(data, "hier")
    moments = asked.graph.optimise(seed=0).mean_field
    for name, key in (("centre", "centre"), ("normalization", "norm"), ("sigma", "sigma")):
        variables = [getattr(factor.prior_model, name) for factor in asked.graph.factors]
        means, scales = ([m[v] for v in variables] for m in (moments.mean, moments.scale))
        assert_close(means, scales, known[key]["mean"], known[key]["sd"], SMALL)


# --- strong lenses: slopes gamma_i ~ N(mu, sigma_int), flat priors ---


class Lens:
    def __init__(self, gamma=2.0):
        self.gamma = gamma


class Imaging(fg.Analysis):
    def __init__(self, slope, error):
        super().__init__()
        self.slope = slope
        self.error = error

    def log_likelihood_function(self, instance):
        residual = (self.slope - instance.gamma) / self.error
        return -0.5 * residual**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class Dynamics(fg.Analysis):
    """A velocity dispersion; its model is a polynomial good for 1.2 < gamma < 2.8."""

    def __init__(self, coefficients, dispersion, error):
        super().__init__()
        self.coefficients = coefficients
        self.dispersion = dispersion
        self.error = error

    def log_likelihood_function(self, instance):
        predicted = jnp.exp(jnp.polyval(self.coefficients[::-1], instance.gamma - 2.0))
        residual = (self.dispersion - predicted) / self.error
        log_likelihood = -0.5 * residual**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)
        return jnp.where((instance.gamma > 1.2) & (instance.gamma < 2.8), log_likelihood, -jnp.inf)


@pytest.fixture(scope="module")
def slacs(shared):
    folder = shared / "data" / "slacs"

    def table(name):
        with (folder / name).open() as file:
            return list(csv.DictReader(file))

    reference = json.loads((folder / "reference.json").read_text())
    return table("imaging_slopes.csv"), table("lensing_dynamics.csv"), reference


def imaging(row) -> Imaging:
    return Imaging(float(row["gamma"]), float(row["gamma_err"]))


def dynamics(row) -> Dynamics:
    coefficients = np.array([float(row[f"c{power}"]) for power in range(5)])
    return Dynamics(coefficients, float(row["sigma_v"]), float(row["sigma_v_err"]))


def check_lenses(models, factors, parents, variables, reference):
    """Every parameter of the reference: those of the population and one slope a lens."""
    result = fg.FactorGraphModel(*factors, *parents).optimise(seed=0)
    asked = [*variables, *(model.gamma for model in models)]
    known = list(reference["parameters"].values())
    moments = result.mean_field
    assert result.converged
    assert np.isnan(result.log_evidence)  # flat priors
    assert_close(
        [moments.mean[v] for v in asked],
        [moments.scale[v] for v in asked],
        [k["mean"] for k in known],
        [k["sd"] for k in known],
        LARGE,
    )


def lenses_of_one_population(rows, analysis, reference):
    models = [fg.Model(Lens) for _ in rows]
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.FlatPrior(), sigma=fg.FlatPrior(0.0, np.inf))
    for model in models:
        parent.add_drawn_variable(model.gamma)
    factors = [fg.AnalysisFactor(model, analysis(row)) for model, row in zip(models, rows)]
    check_lenses(models, factors, [parent], [parent.mean, parent.sigma], reference)


def test_lens_slopes(slacs):
    rows, _, reference = slacs
    lenses_of_one_population(rows, imaging, reference["A_mean_scatter"])


def test_lens_slopes_with_a_trend(slacs):
    """The population's mean is a relation: a + b (z_lens - 0.2)."""
    rows, _, reference = slacs
    a, b, scatter = fg.FlatPrior(), fg.FlatPrior(), fg.FlatPrior(0.0, np.inf)
    models = [fg.Model(Lens) for _ in rows]
    parents = []
    for model, row in zip(models, rows):
        parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=a + b * (float(row["z_lens"]) - 0.2), sigma=scatter)
        parent.add_drawn_variable(model.gamma)
        parents.append(parent)
    factors = [fg.AnalysisFactor(model, imaging(row)) for model, row in zip(models, rows)]
    check_lenses(models, factors, parents, [a, b, scatter], reference["A_trend_with_redshift"])


def test_lens_dynamics(slacs):
    """A likelihood that is not linear in the slope."""
    _, rows, reference = slacs
    lenses_of_one_population(rows, dynamics, reference["B_lensing_dynamics"])


# --- eight schools ---


@pytest.fixture(scope="module")
def solved_schools():
    asked = schools()
    return asked, asked.graph.optimise(seed=0)


def test_eight_schools(solved_schools):
    asked, result = solved_schools
    known, moments = exact_schools(), result.mean_field
    effects = [asked.parent.mean, *(model.theta for model in asked.models)]
    keep = np.arange(10) != 1  # tau has no sensible mean: see its quantiles
    assert result.is_corrected
    assert_close(
        [moments.mean[v] for v in effects],
        [moments.scale[v] for v in effects],
        known.mean[keep],
        known.scale[keep],
        SCHOOLS,
    )


def test_eight_schools_scatter(solved_schools):
    """The exact distribution function at each quantile; integrating mu out leaves a multivariate normal."""
    asked, result = solved_schools
    tau = np.linspace(0.0, 400.0, 8_001)[1:]
    covariance = 25.0 + np.eye(8) * (tau[:, None, None] ** 2 + ERRORS**2)
    chi_squared = np.einsum("i,kij,j->k", EFFECTS, np.linalg.inv(covariance), EFFECTS)
    density = np.exp(-0.5 * chi_squared - 0.5 * np.linalg.slogdet(covariance)[1]) * stats.halfcauchy.pdf(tau, scale=5.0)
    distribution = np.cumsum(density) / np.sum(density)
    probability = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    found = np.interp(result.mean_field.quantile(asked.parent.sigma, probability), tau, distribution)
    np.testing.assert_allclose(found, probability, atol=0.02)


def test_eight_schools_evidence(solved_schools):
    _, result = solved_schools
    known = exact_schools().log_evidence
    assert known == pytest.approx(-31.3113, abs=1e-3)  # as published beside the data
    assert result.log_evidence == pytest.approx(known, abs=0.02)
