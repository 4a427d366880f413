"""Posteriors against exact answers: the simulated survey, the eight schools; see also `test_cases`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.benchmarks.survey import FINE, exact, grid, script, simulated, survey
from tests.factorgraph.results.schools import EFFECTS, ERRORS, schools
from tests.factorgraph.results.schools import exact as exact_schools

slow = pytest.mark.slow
LARGE = {"shift": 0.1, "spread": 0.05}
SMALL = {"shift": 0.2, "spread": 0.15}  # three datasets, and private variables
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

SEEDS = (1, 7, 11, 23, 31)
SIZES = [
    *(pytest.param(n, 7) for n in (10, 30)),
    *(pytest.param(n, seed, marks=slow) for n in (3, 10, 30) for seed in SEEDS if seed != 7 or n == 3),
    *(pytest.param(n, seed, marks=slow) for n in (100, 1_000) for seed in SEEDS),
    *(pytest.param(10_000, seed, marks=pytest.mark.long) for seed in SEEDS),
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
        LARGE if n >= 10 else SMALL,
    )
    if n <= FINE:
        error = abs(found.log_evidence - known.log_evidence)
        assert error < min(0.3, 5.0 * result.log_evidence_error + 0.01)


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
    edges, cells, sigmas = grid(n).edges, grid(n).cells, grid(n).sigmas
    log_likelihoods, sums = reference.marginal(data["x"], data["y_hier"], cells, sigmas, True)
    known = reference.hier(log_likelihoods, cells, edges, sums)["local"]
    asked = survey(data, "hier")
    moments = asked.graph.optimise(seed=0).mean_field
    for name, key in (("centre", "centre"), ("normalization", "norm"), ("sigma", "sigma")):
        variables = [getattr(factor.prior_model, name) for factor in asked.graph.factors]
        means, scales = ([m[v] for v in variables] for m in (moments.mean, moments.scale))
        assert_close(means, scales, known[key]["mean"], known[key]["sd"], SMALL)


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
