"""Classic problems of expectation propagation: its fixed points, and exact answers that the corrected result has to meet.

Numbered as in the project's list of benchmarks (ep.md C); B2, B3 and B4 are in `test_exactness`, populations in
`test_known_populations`. EP's own answers are compared with an independent implementation (`fixed_points`), whose
agreement with the published digits is tested too. EP regresses on 16 (one variable), 32 (two) or 64 (three) points: its
distance to the fixed point is that of the integrals, and is stated with every bound.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import log_ndtr
from scipy import special, stats

import factorgraph as fg
from tests.factorgraph.fixed_points import FixedPoint, Projection, of_projections
from tests.factorgraph.test_exactness import Coupling, Energy, Source


class Level:
    def __init__(self, x=0.0):
        self.x = x


class Silent(fg.Analysis):
    """A dataset without information, so that its variable is shared."""

    def log_likelihood_function(self, instance):
        return 0.0 * instance.x


class Linked(fg.Analysis):
    """log L is a function, ``link``, of sign * coefficients . x."""

    def __init__(self, coefficients, sign, noise=0.0):
        super().__init__()
        self.coefficients = np.asarray(coefficients, dtype=float)
        self.sign = float(sign)
        self.noise = float(noise)

    def log_likelihood_function(self, instance):
        return self.link(self.sign * jnp.dot(self.coefficients, jnp.stack(list(instance))))


class Step(Linked):
    def link(self, s):
        return jnp.where(s > 0.0, 0.0, -jnp.inf)


class Probit(Linked):
    def link(self, s):
        return log_ndtr(s / self.noise)


class NoisyStep(Linked):
    """One label in ten is wrong."""

    def link(self, s):
        return jnp.where(s > 0.0, jnp.log(0.9), jnp.log(0.1))


def step(coefficients, sign):
    return Projection(coefficients, lambda x: np.where(sign * x > 0.0, 0.0, -np.inf), (0.0,))


def probit(coefficients, sign, noise=1.0):
    return Projection(coefficients, lambda x: special.log_ndtr(sign * x / noise))


def noisy_step(coefficients, sign):
    return Projection(coefficients, lambda x: np.where(sign * x > 0.0, np.log(0.9), np.log(0.1)), (0.0,))


class Moments(NamedTuple):
    mean: np.ndarray
    variance: np.ndarray
    log_evidence: float


def of_result(result, variables):
    field = result.mean_field
    return Moments(
        np.array([field.mean[v] for v in variables]),
        np.array([field.variance[v] for v in variables]),
        result.log_evidence,
    )


def assert_near(found: Moments, known: Moments, *, shift, spread, evidence):
    """Means within ``shift`` known sds, sds within a fraction ``spread``, the evidence within ``evidence`` nats."""
    sd = np.sqrt(known.variance)
    assert np.max(np.abs(found.mean - known.mean) / sd) < shift, f"found {found}, known {known}"
    assert np.max(np.abs(np.sqrt(found.variance) / sd - 1.0)) < spread, f"found {found}, known {known}"
    assert found.log_evidence == pytest.approx(known.log_evidence, abs=evidence)


def of_fixed_point(found: FixedPoint, rows=slice(None)):
    return Moments(found.mean[rows], np.diag(found.covariance)[rows], found.log_evidence)


def weights_graph(analyses):
    """Three weights, N(0, 1) each, that every dataset reads."""
    weights = [fg.GaussianPrior(0.0, 1.0) for _ in range(3)]
    return fg.FactorGraphModel(*(fg.AnalysisFactor(fg.Collection(*weights), a) for a in analyses)), weights


def over_weights(log_likelihood, num=1 << 20):
    """Exact moments of three weights N(0, 1), by a scrambled Sobol sequence: good to about 1e-3."""
    w = stats.norm.ppf(stats.qmc.Sobol(3, seed=1).random(num))
    log_weight = log_likelihood(w)
    total = special.logsumexp(log_weight)
    weight = np.exp(log_weight - total)
    mean = weight @ w
    return Moments(mean, weight @ (w - mean) ** 2, total - np.log(num))


# --- B1: a discrete choice is two graphs ---


class Trials(fg.Analysis):
    def __init__(self, outcomes):
        super().__init__()
        self.outcomes = np.array(outcomes, dtype=float)

    def log_likelihood_function(self, instance):
        return jnp.sum(self.outcomes * jnp.log(instance.x) + (1.0 - self.outcomes) * jnp.log1p(-instance.x))


def test_clinical_trial():
    """B1 (Infer.NET's tutorial): one success of five untreated, four of five treated, flat priors.

    Z = B(2, 5) B(5, 2) if the treatment is effective, B(6, 6) if not; P = Z1 / (Z1 + Z0) = 0.754902.
    """
    untreated, treated = Trials([0, 0, 1, 0, 0]), Trials([1, 0, 1, 1, 1])
    a, b, both = (fg.BetaPrior(1.0, 1.0) for _ in range(3))

    def solved(first, second):
        datasets = ((first, untreated), (second, treated))
        return fg.FactorGraphModel(*(fg.AnalysisFactor(fg.Model(Level, x=x), data) for x, data in datasets)).optimise()

    effective, ineffective = solved(a, b), solved(both, both)
    log_odds = 2.0 * special.betaln(2, 5) - special.betaln(6, 6)
    assert special.expit(log_odds) == pytest.approx(0.754902, abs=1e-6)
    assert effective.log_evidence - ineffective.log_evidence == pytest.approx(log_odds, abs=0.02)
    assert effective.mean_field.mean[a] == pytest.approx(2.0 / 7.0, abs=0.05 * stats.beta(2, 5).std())
    assert effective.mean_field.mean[b] == pytest.approx(5.0 / 7.0, abs=0.05 * stats.beta(5, 2).std())


# --- B5: loops ---


def ring_and_clique():
    ring = np.eye(4) - 0.3 * np.roll(np.eye(4), 1, axis=0) - 0.3 * np.roll(np.eye(4), -1, axis=0)
    cliques = {f"clique {r}": np.eye(4) + r * (1.0 - np.eye(4)) for r in (0.2, 0.3, 0.6)}
    return [pytest.param(matrix, id=name) for name, matrix in {"ring": ring, **cliques}.items()]


@pytest.mark.parametrize("precision", ring_and_clique())
def test_loops(precision):
    """B5: messages over single variables give a variance of 1.546 for 1.203 (clique 0.3), or diverge (above 0.39)."""
    linear = np.arange(1.0, 5.0)
    x = [fg.GaussianPrior(0.0, 1.0) for _ in linear]
    factors = [fg.AnalysisFactor(fg.Model(Source, position=v), Energy(h, 0.0)) for v, h in zip(x, linear)]
    for i, j in np.argwhere(np.triu(precision, 1)):
        factors.append(fg.AnalysisFactor(fg.Collection(before=x[i], after=x[j]), Coupling(precision[i, j])))
    result = fg.FactorGraphModel(*factors).optimise()
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose([result.mean_field.mean[v] for v in x], covariance @ linear, rtol=1e-8)
    np.testing.assert_allclose([result.mean_field.variance[v] for v in x], np.diag(covariance), rtol=1e-8)
    assert result.is_exact


# --- B6: truncation ---


class Above(fg.Analysis):
    def __init__(self, limit):
        super().__init__()
        self.limit = float(limit)

    def log_likelihood_function(self, instance):
        return jnp.where(instance.x > self.limit, 0.0, -jnp.inf)


def truncated(limit):
    known = stats.truncnorm(limit, np.inf)
    return Moments(np.array([known.mean()]), np.array([known.var()]), stats.norm.logsf(limit))


@pytest.mark.parametrize("limit", [0.0, 0.5, 0.9])
def test_truncation_of_a_private_variable(limit):
    """B6: N(0, 1) above a limit, by importance sampling."""
    x = fg.GaussianPrior(0.0, 1.0)
    result = fg.FactorGraphModel(fg.AnalysisFactor(fg.Model(Level, x=x), Above(limit))).optimise()
    assert_near(of_result(result, [x]), truncated(limit), shift=0.05, spread=0.02, evidence=0.02)


def truncation_of_a_shared_variable(limit):
    x = fg.GaussianPrior(0.0, 1.0)
    factors = [fg.AnalysisFactor(fg.Model(Level, x=x), a) for a in (Above(limit), Silent())]
    return fg.FactorGraphModel(*factors).optimise(), x


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_truncation_of_a_shared_variable(limit):
    """B6, corrected."""
    result, x = truncation_of_a_shared_variable(limit)
    assert result.is_corrected
    assert_near(of_result(result, [x]), truncated(limit), shift=0.05, spread=0.03, evidence=0.04)


@pytest.mark.parametrize("limit", [0.0, 0.5, 0.9])
def test_truncation_by_ep(limit):
    """B6: one site alone is exact at once (mean 0.797885, variance 0.363380 above zero)."""
    result, x = truncation_of_a_shared_variable(limit)
    assert_near(of_result(result.ep, [x]), truncated(limit), shift=0.05, spread=0.05, evidence=0.05)


# --- B7: clutter ---


class Clutter(fg.Analysis):
    """Half of the readings are of x, with variance one, the others of nothing, with variance ten."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        signal = -0.5 * (self.y - instance.x) ** 2
        noise = -0.5 * self.y**2 / 10.0 - 0.5 * jnp.log(10.0)
        return jnp.logaddexp(signal, noise) - jnp.log(2.0 * jnp.sqrt(2.0 * jnp.pi))


def clutter(y):
    def log_factor(x):
        return np.log(0.5 * stats.norm.pdf(y, x, 1.0) + 0.5 * stats.norm.pdf(y, 0.0, np.sqrt(10.0)))

    return Projection((1.0,), log_factor)


CLUTTERED = (0.1, 2.3)


def clutter_exact():
    """Four components, each a Gaussian."""
    total, first, second = 0.0, 0.0, 0.0
    for near in np.ndindex(2, 2):
        precision = 0.01 + sum(near)
        mean = np.dot(near, CLUTTERED) / precision
        used = [y for y, is_near in zip(CLUTTERED, near) if is_near]
        covariance = 100.0 * np.ones((len(used), len(used))) + np.eye(len(used))
        weight = stats.multivariate_normal.pdf(used, np.zeros(len(used)), covariance) if used else 1.0
        for y, is_near in zip(CLUTTERED, near):
            weight *= 0.5 * (1.0 if is_near else stats.norm.pdf(y, 0.0, np.sqrt(10.0)))
        total, first = total + weight, first + weight * mean
        second += weight * (mean**2 + 1.0 / precision)
    mean = first / total
    return Moments(np.array([mean]), np.array([second / total - mean**2]), np.log(total))


@pytest.fixture(scope="module")
def solved_clutter():
    x = fg.GaussianPrior(0.0, 10.0)
    factors = [fg.AnalysisFactor(fg.Model(Level, x=x), Clutter(y)) for y in CLUTTERED]
    return fg.FactorGraphModel(*factors).optimise(), x


def clutter_fixed_point():
    return of_projections(np.zeros(1), 100.0 * np.eye(1), [clutter(y) for y in CLUTTERED])


def test_clutter(solved_clutter):
    """B7 (Minka 2001; exact by its four components, mean 0.637131734, variance 51.601757800, log Z -5.105467276)."""
    known = clutter_exact()
    np.testing.assert_allclose([*known.mean, *known.variance], [0.637131734, 51.6017578], rtol=1e-8)
    assert known.log_evidence == pytest.approx(-5.105467276, abs=1e-8)
    result, x = solved_clutter
    assert_near(of_result(result, [x]), known, shift=0.05, spread=0.02, evidence=0.02)


def test_clutter_fixed_point():
    """B7 (Infer.NET's tests): mean 0.789960, variance 40.126282, log Z -5.129415."""
    known = clutter_fixed_point()
    np.testing.assert_allclose([known.mean[0], known.covariance[0, 0]], [0.789960, 40.126282], rtol=1e-6)
    assert known.log_evidence == pytest.approx(-5.129415, abs=1e-6)


def test_clutter_by_ep(solved_clutter):
    result, x = solved_clutter
    assert_near(of_result(result.ep, [x]), of_fixed_point(clutter_fixed_point()), shift=0.1, spread=0.1, evidence=0.02)


# --- B8, B9, B11: classifiers ---

THREE = (((0.0, 0.0, 1.0), 1.0), ((0.0, 1.0, 1.0), 1.0), ((1.0, 0.0, 1.0), -1.0))
SIX = (*THREE, ((0.0, 0.0, 1.0), 1.0), ((0.0, 1.0, 1.0), -1.0), ((1.0, 0.0, 1.0), -1.0))


def log_likelihood(data, link):
    return lambda w: sum(link(sign * w @ np.array(coefficients)) for coefficients, sign in data)


def test_bayes_point_machine_fixed_point():
    """B8 (Infer.NET's tests), all published digits."""
    known = of_projections(np.zeros(3), np.eye(3), [step(*point) for point in THREE])
    mean = [-1.178410192370038, 0.514204026416866, 0.533030909628306]
    np.testing.assert_allclose(known.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(np.diag(known.covariance), [0.35786196, 0.54242640, 0.16253333], rtol=1e-7)
    assert known.log_evidence == pytest.approx(-2.486152518337251, abs=1e-9)


@pytest.fixture(scope="module")
def solved_point_machine():
    graph, weights = weights_graph([Step(*point) for point in THREE])
    return graph.optimise(), weights


def test_bayes_point_machine(solved_point_machine):
    """B8, exact: log Z -2.4849, means (-1.1778, 0.5147, 0.5337); corrected."""
    known = over_weights(log_likelihood(THREE, lambda s: np.where(s > 0.0, 0.0, -np.inf)))
    assert known.log_evidence == pytest.approx(-2.4849, abs=1e-3)
    result, weights = solved_point_machine
    assert_near(of_result(result, weights), known, shift=0.05, spread=0.03, evidence=0.05)


def test_bayes_point_machine_by_ep(solved_point_machine):
    result, weights = solved_point_machine
    known = of_projections(np.zeros(3), np.eye(3), [step(*point) for point in THREE])
    assert_near(of_result(result.ep, weights), of_fixed_point(known), shift=0.05, spread=0.05, evidence=0.05)


def test_probit():
    """B9, on six points: EP is within 0.04 sds and 2 % of its fixed point, the correction within 1 % of the answer."""
    graph, weights = weights_graph([Probit(*point, noise=1.0) for point in SIX])
    result = graph.optimise()
    fixed = of_projections(np.zeros(3), np.eye(3), [probit(*point) for point in SIX])
    assert result.converged
    assert_near(of_result(result.ep, weights), of_fixed_point(fixed), shift=0.05, spread=0.03, evidence=0.02)
    known = over_weights(log_likelihood(SIX, special.log_ndtr))
    assert_near(of_result(result, weights), known, shift=0.05, spread=0.01, evidence=0.02)


@pytest.fixture(scope="module")
def solved_noisy_step():
    graph, weights = weights_graph([NoisyStep(*point) for point in SIX])
    return graph.optimise(), weights


def test_noisy_step(solved_noisy_step):
    """B11, on six points, one of them contradicted: corrected."""
    known = over_weights(log_likelihood(SIX, lambda s: np.where(s > 0.0, np.log(0.9), np.log(0.1))))
    result, weights = solved_noisy_step
    assert_near(of_result(result, weights), known, shift=0.06, spread=0.06, evidence=0.05)


def test_noisy_step_by_ep(solved_noisy_step):
    """B11: sites of negative precision are legitimate; clipping them would be another answer."""
    fixed = of_projections(np.zeros(3), np.eye(3), [noisy_step(*point) for point in SIX])
    assert fixed.precisions.min() < -0.1
    result, weights = solved_noisy_step
    assert_near(of_result(result.ep, weights), of_fixed_point(fixed), shift=0.05, spread=0.05, evidence=0.05)
