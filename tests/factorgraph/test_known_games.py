"""TrueSkill and a sparse Gaussian process: factors of differences and of projections (B12 and B13 of ep.md C)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import log_ndtr
from scipy import special, stats

import factorgraph as fg
from tests.factorgraph.fixed_points import Projection, of_projections
from tests.factorgraph.test_known_answers import (
    Level,
    Moments,
    Probit,
    Silent,
    Step,
    assert_near,
    of_fixed_point,
    of_result,
    probit,
    step,
)

# --- B12: TrueSkill; the published defaults, a skill spread by its drift before the game ---

BETA = 25.0 / 6.0
SKILL = (25.0, float(np.hypot(25.0 / 3.0, 25.0 / 300.0)))
MARGIN = float(stats.norm.ppf(0.55) * np.sqrt(2.0) * BETA)  # a tenth of even games are drawn


class Pair:
    def __init__(self, first=0.0, second=0.0):
        self.first = first
        self.second = second


class Won(fg.Analysis):
    """The performances, N(skill, BETA), are integrated by hand."""

    def __init__(self, margin):
        super().__init__()
        self.margin = float(margin)

    def log_likelihood_function(self, instance):
        return log_ndtr((instance.first - instance.second - self.margin) / (np.sqrt(2.0) * BETA))


class Drawn(Won):
    def log_likelihood_function(self, instance):
        scale, difference = np.sqrt(2.0) * BETA, instance.first - instance.second
        upper = log_ndtr((self.margin - difference) / scale)
        lower = log_ndtr((-self.margin - difference) / scale)
        return upper + jnp.log(-jnp.expm1(lower - upper))


def game(analysis):
    """Two players, and a dataset without information each, so that both skills are shared."""
    skills = [fg.GaussianPrior(*SKILL) for _ in range(2)]
    silent = [fg.AnalysisFactor(fg.Model(Level, x=skill), Silent()) for skill in skills]
    model = fg.Model(Pair, first=skills[0], second=skills[1])
    return fg.FactorGraphModel(fg.AnalysisFactor(model, analysis), *silent).optimise(), skills


def one_game(log_probability):
    """EP is exact: the difference of the performances is the only thing that is read."""
    known = of_projections(np.full(2, SKILL[0]), np.eye(2) * SKILL[1] ** 2, [Projection((1.0, -1.0), log_probability)])
    return of_fixed_point(known)


def log_won(margin):
    return lambda d: special.log_ndtr((d - margin) / (np.sqrt(2.0) * BETA))


def log_drawn(d):
    scale = np.sqrt(2.0) * BETA
    return np.log(np.maximum(special.ndtr((MARGIN - d) / scale) - special.ndtr((-MARGIN - d) / scale), 1e-300))


GAMES = [
    pytest.param(Won(MARGIN), log_won(MARGIN), (29.39583202, 7.17147559), id="won"),
    pytest.param(Won(0.0), log_won(0.0), (29.20547311, 7.19481655), id="won where nothing is drawn"),
    pytest.param(Drawn(MARGIN), log_drawn, (25.0, 6.45751966), id="drawn"),
]


@pytest.mark.parametrize(("analysis", "log_probability", "published"), GAMES)
def test_one_against_one(analysis, log_probability, published):
    """B12 (Herbrich, Minka & Graepel 2006), mean and sd of the first player's skill as published.

    EP is within 0.02 sds of its fixed point, which is exact here.
    """
    known = one_game(log_probability)
    np.testing.assert_allclose([known.mean[0], np.sqrt(known.variance[0])], published, rtol=1e-6)
    result, skills = game(analysis)
    assert_near(of_result(result.ep, skills), known, shift=0.02, spread=0.01, evidence=0.02)
    assert_near(of_result(result, skills), known, shift=0.01, spread=0.01, evidence=0.02)


def contest(num):
    """Skills and performances of ``num`` players in the order they came in: mean, covariance, and one factor a pair."""
    covariance = np.kron(np.ones((2, 2)), np.eye(num) * SKILL[1] ** 2)
    covariance[num:, num:] += np.eye(num) * BETA**2
    edges = np.concatenate([np.zeros((num - 1, num)), np.eye(num)[:-1] - np.eye(num)[1:]], axis=1)
    factors = [Projection(e, lambda d: np.where(d > MARGIN, 0.0, -np.inf), (MARGIN,)) for e in edges]
    return of_fixed_point(of_projections(np.full(2 * num, SKILL[0]), covariance, factors), slice(num))


@pytest.mark.parametrize(
    ("num", "published"),
    [
        (3, ([31.675352, 25.0, 18.324648], [6.655985, 6.207898, 6.655985])),
        (8, ([36.771, 13.229], [5.749, 5.749])),
    ],
)
def test_published_contests(num, published):
    """B12: all against all, the fixed point itself; the first and the last of eight."""
    known = contest(num)
    chosen = slice(None) if num == 3 else [0, -1]
    np.testing.assert_allclose(known.mean[chosen], published[0], atol=1e-3)
    np.testing.assert_allclose(np.sqrt(known.variance[chosen]), published[1], atol=1e-3)


class Beats(fg.Analysis):
    def __init__(self, margin):
        super().__init__()
        self.margin = float(margin)

    def log_likelihood_function(self, instance):
        return jnp.where(instance.first - instance.second > self.margin, 0.0, -jnp.inf)


def solved_contest(num):
    skills, performances, parents = [fg.GaussianPrior(*SKILL) for _ in range(num)], [], []
    for skill in skills:
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=skill, sigma=BETA))
        performances.append(fg.GaussianPrior(0.0, 1.0))  # replaced: it is drawn
        parents[-1].add_drawn_variable(performances[-1])
    factors = [
        fg.AnalysisFactor(fg.Model(Pair, first=a, second=b), Beats(MARGIN))
        for a, b in zip(performances, performances[1:])
    ]
    return fg.FactorGraphModel(*factors, *parents).optimise(seed=0), skills


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not converged")
@pytest.mark.xfail(
    reason="three drawn variables of one dataset with edges: 0.06 sds and 0.07 nats off, stated 0.04 and 0.04"
)
def test_three_against_all():
    """B12; exact moments by symmetry and a bivariate normal are within 0.01 sds of the fixed point."""
    result, skills = solved_contest(3)
    assert_near(of_result(result, skills), contest(3), shift=0.05, spread=0.02, evidence=0.05)


# --- B13: a sparse Gaussian process ---

POSITIONS = np.linspace(-2.0, 2.0, 10)
BASIS = POSITIONS[[1, 4, 8]]
LABELS = np.array([-1, -1, -1, 1, 1, 1, 1, -1, -1, -1])
OUTPUTS = np.array(
    [
        -0.06416829,
        -0.67999598,
        -0.45416529,
        0.15577036,
        1.03665904,
        0.73538220,
        0.89966809,
        -0.05368705,
        -0.79057757,
        -0.14362843,
    ]
)


def squared_exponential(a, b, length):
    return np.exp(-0.5 * ((a[:, None] - b) / length) ** 2)


def projections(length, at=POSITIONS):
    """f(x) given the whitened values at the basis points: coefficients (n, 3) and the variance left (n,)."""
    root = np.linalg.cholesky(squared_exponential(BASIS, BASIS, length))
    coefficients = np.linalg.solve(root, squared_exponential(BASIS, at, length)).T
    return coefficients, np.maximum(1.0 - np.sum(coefficients**2, axis=1), 0.0)


@pytest.fixture(scope="module")
def classified():
    coefficients, left = projections(1.0)
    hard = left < 1e-9  # a basis point itself
    known = [step(c, y) if h else probit(c, y, v**0.5) for c, y, v, h in zip(coefficients, LABELS, left, hard)]
    analyses = [Step(c, y) if h else Probit(c, y, v**0.5) for c, y, v, h in zip(coefficients, LABELS, left, hard)]
    values = [fg.GaussianPrior(0.0, 1.0) for _ in range(3)]
    graph = fg.FactorGraphModel(*(fg.AnalysisFactor(fg.Collection(*values), a) for a in analyses))
    return graph.optimise(), values, of_projections(np.zeros(3), np.eye(3), known)


def test_gaussian_process_classification(classified):
    """B13 (Infer.NET's tests): the fixed point to all digits; corrected beside the exact answer by a Sobol sequence."""
    result, values, fixed = classified
    assert fixed.log_evidence == pytest.approx(-4.907121241357144, abs=1e-8)
    coefficients, left = projections(1.0, np.array([-2.0, -1.0, 0.0]))
    np.testing.assert_allclose(coefficients @ fixed.mean, [-0.966351175, -0.123034592, 0.762757400], atol=1e-8)
    variance = np.einsum("ni,ij,nj->n", coefficients, fixed.covariance, coefficients) + left
    np.testing.assert_allclose(variance, [0.323871157, 0.164009511, 0.162068482], atol=1e-8)
    u = stats.norm.ppf(stats.qmc.Sobol(3, seed=1).random(1 << 20))
    log_weight = np.zeros(len(u))
    for c, v, y in zip(*projections(1.0), LABELS):
        margin = y * u @ c
        log_weight += special.log_ndtr(margin / v**0.5) if v > 1e-9 else np.where(margin > 0.0, 0.0, -np.inf)
    weight = np.exp(log_weight - special.logsumexp(log_weight))
    mean = weight @ u
    known = Moments(mean, weight @ (u - mean) ** 2, special.logsumexp(log_weight) - np.log(len(u)))
    assert_near(of_result(result, values), known, shift=0.1, spread=0.05, evidence=0.05)


def test_gaussian_process_classification_by_ep(classified):
    result, values, fixed = classified
    assert_near(of_result(result.ep, values), of_fixed_point(fixed), shift=0.05, spread=0.05, evidence=0.02)


class Output(fg.Analysis):
    def __init__(self, coefficients, y, variance):
        super().__init__()
        self.coefficients = np.asarray(coefficients)
        self.y = float(y)
        self.variance = float(variance)

    def log_likelihood_function(self, instance):
        residual = self.y - jnp.dot(self.coefficients, jnp.stack(list(instance)))
        return -0.5 * residual**2 / self.variance - 0.5 * jnp.log(2.0 * jnp.pi * self.variance)


def test_gaussian_process_regression():
    """B13's twin, length two and noise of variance 0.1: exact."""
    coefficients, left = projections(2.0)
    values = [fg.GaussianPrior(0.0, 1.0) for _ in range(3)]
    analyses = [Output(c, y, v + 0.1) for c, y, v in zip(coefficients, OUTPUTS, left)]
    graph = fg.FactorGraphModel(*(fg.AnalysisFactor(fg.Collection(*values), a) for a in analyses))
    covariance = coefficients @ coefficients.T + np.diag(left + 0.1)
    known = stats.multivariate_normal.logpdf(OUTPUTS, np.zeros(10), covariance)
    assert known == pytest.approx(-13.201173794945003, abs=1e-6)
    result = graph.optimise()
    assert result.is_exact
    assert result.log_evidence == pytest.approx(known, rel=1e-8)
