"""Laws of expectation propagation that no single posterior shows (T-EP of the list of reliability tests).

1 (exactness) is in `test_exactness`, 7 and 8 (bad datasets, no variance) in `test_bad_input`, 9 for shared variables in
`test_hard_cases`, 11 in `test_failing_searches`, 12 in `test_search_noise`, the halving and damping of 4 and 6 in
`propagation.test_schedule`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import factorgraph as fg
from factorgraph.propagation.parallel import run
from factorgraph.propagation.preparation import prepare
from factorgraph.propagation.state import posterior_of
from factorgraph.propagation.sweep import initial_state, propose, take_step
from factorgraph.results.result import Result
from tests.factorgraph.results.schools import schools
from tests.factorgraph.test_exactness import Coupling, Energy, Source
from tests.factorgraph.test_known_answers import Level, Moments, Probit, assert_near, of_result
from tests.factorgraph.test_scatter import Measurement, population

long = pytest.mark.long

# --- 2: further sweeps change nothing, exact or not ---


def test_two_hundred_further_sweeps():
    """Errors do not shrink with iterations: nothing is counted twice."""
    first, second = (schools() for _ in range(2))
    settled, continued = first.graph.optimise(seed=0), second.graph.optimise(seed=0, min_steps=200, max_steps=300)
    assert continued.num_steps >= 200
    for one, other in ((first.parent.mean, second.parent.mean), (first.parent.sigma, second.parent.sigma)):
        variance = settled.ep.mean_field.variance[one]
        assert continued.ep.mean_field.variance[other] == pytest.approx(variance, rel=1e-6)


# --- 3: the scatter neither collapses nor grows ---

MEAN, WIDTH = 50.0, 10.0  # priors: N(50, 10) of the mean, a half-normal of scale 10 of the scatter


def scattered(num, ratio, seed):
    """Measurements of a population whose scatter is ``ratio`` times the measurement error, two."""
    random = np.random.default_rng([num, int(10 * ratio), seed])
    return MEAN + 2.0 * ratio * random.standard_normal(num) + 2.0 * random.standard_normal(num)


def solved_scatter(y):
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(MEAN, WIDTH), sigma=fg.HalfNormalPrior(WIDTH)
    )
    return population(parent, [[Measurement(float(value), 2.0)] for value in y]).optimise(seed=0), parent


def exact_scatter(y):
    """Log scatter and its density; all errors are alike, so that the mean is integrated by hand."""
    t = np.linspace(np.log(1e-3), np.log(60.0), 4001)
    tau, num = np.exp(t), len(y)
    variance = tau**2 + 4.0
    log_joint = stats.halfnorm.logpdf(tau, scale=WIDTH) + t - 0.5 * num * np.log(variance)
    log_joint += -0.5 * num * np.var(y) / variance + stats.norm.logpdf(
        y.mean(), MEAN, np.sqrt(WIDTH**2 + variance / num)
    )
    log_joint += 0.5 * np.log(variance / num)
    weight = np.exp(log_joint - special.logsumexp(log_joint))
    return t, weight


def check_scatter(num, ratio, seed):
    y = scattered(num, ratio, seed)
    result, parent = solved_scatter(y)
    t, weight = exact_scatter(y)
    tau, distribution = np.exp(t), np.cumsum(weight)
    mean = weight @ tau
    sd = np.sqrt(weight @ (tau - mean) ** 2)
    found = np.maximum(result.mean_field.draws(parent.sigma), 1e-300)
    assert np.all(result.mean_field.draws(parent.sigma) >= 0.0)  # T-EP 10: it does not cross its boundary
    log_mean = weight @ t
    log_sd = np.sqrt(weight @ (t - log_mean) ** 2)
    assert abs(np.mean(np.log(found)) - log_mean) < 0.3 * log_sd
    assert result.mean_field.scale[parent.sigma] == pytest.approx(sd, rel=0.25)
    low, high = np.interp([0.05, 0.95], distribution, tau)
    found_low, found_high = np.quantile(found, [0.05, 0.95])
    overlap = min(high, found_high) - max(low, found_low)
    assert overlap >= 0.8 * max(high - low, found_high - found_low)


RATIOS = (0.0, 0.3, 1.0, 3.0)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("num", [5, 20])
def test_scatter(num, ratio):
    check_scatter(num, ratio, 0)


@long
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("num", [5, 20, 200])
def test_scatter_of_fifty_populations(num, ratio):
    for seed in range(50):
        check_scatter(num, ratio, seed)


# --- 4: improper cavities ---


def random_graph(seed):
    """Three unknowns; couplings of either sign, strong and weak curvatures, probits; the whole is proper."""
    random = np.random.default_rng(seed)
    x = [fg.GaussianPrior(0.0, 1.0) for _ in range(3)]
    factors, precision = [], np.eye(3)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        strength = random.normal() * 10.0 ** random.uniform(-1.0, 1.0)
        precision[i, j] = precision[j, i] = strength
        factors.append(fg.AnalysisFactor(fg.Collection(before=x[i], after=x[j]), Coupling(strength)))
    needed = max(0.0, 1.0 - np.linalg.eigvalsh(precision).min())
    for variable in x:
        own = np.array([needed + random.exponential(), random.normal() * needed])
        curvatures = own.sum() - own[1], own[1], -own[1]  # the last two cancel
        for curvature in curvatures:
            model = fg.Model(Source, position=variable)
            factors.append(fg.AnalysisFactor(model, Energy(random.normal(), curvature)))
    for _ in range(3):
        factors.append(fg.AnalysisFactor(fg.Collection(*x), Probit(random.normal(size=3), 1.0, noise=0.5)))
    return fg.FactorGraphModel(*factors)


def assert_proper_at_every_step(graph, state, num=12):
    """Every posterior has a Cholesky factor, and no site a nan; negative precisions of sites are allowed."""
    for _ in range(num):
        state, _ = take_step(graph, state, propose(graph, state), 1.0)
        assert all(np.all(np.isfinite(site)) for site in state.sites)
        np.linalg.cholesky(state.covariance)
        assert posterior_of(graph, state.origin, state.scale, state.sites).proper
    return state


@given(st.integers(0, 10**6))
def test_every_posterior_is_proper(seed):
    asked = random_graph(seed)
    with jax.enable_x64(True):
        graph, start = prepare(asked.shared, asked.plates, asked.lanes, 0)
        assert_proper_at_every_step(graph, initial_state(graph, start))


def test_a_planted_site_is_found_out():
    """A site stronger than all others together: its cavity is improper, and the sweeps return to the answer."""
    asked = random_graph(1)
    with jax.enable_x64(True):
        graph, start = prepare(asked.shared, asked.plates, asked.lanes, 0)
        settings = {"max_steps": 100, "min_steps": 0, "tolerance": 1e-8, "damping": 1.0}
        expected, _, _ = run(graph, initial_state(graph, start), **settings)
        planted = [site.copy() for site in expected.sites]
        probits = next(i for i, plate in enumerate(graph.plates) if plate.plate.signature.num_shared == 3)
        planted[probits][0] += 50.0 * np.abs(planted[probits][0])
        posterior = posterior_of(graph, expected.origin, expected.scale, tuple(planted))
        found = expected
        if posterior.proper:
            found = replace(expected, sites=tuple(planted), mean=posterior.mean, covariance=posterior.covariance)
        assert posterior.proper
        found, _, converged = run(graph, found, **settings)
    assert converged
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-5)


# --- 5: extreme scales ---


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("error", [1e-150, 1e-30, 1e30, 1e150])
def test_extreme_scales(error):
    """One reading of ten has an absurd error: the others go on, and no number is nan."""
    x = fg.GaussianPrior(0.0, 10.0)
    y = np.random.default_rng(0).normal(3.0, 1.0, 10)
    factors = [
        fg.AnalysisFactor(fg.Model(Level, x=x), Measurement(float(value), error if i == 4 else 1.0), name=f"d{i}")
        for i, value in enumerate(y)
    ]
    with np.errstate(all="ignore"):
        result = fg.FactorGraphModel(*factors).optimise()
    others = np.delete(y, 4)
    mean, sd = np.sum(others) / 9.01, 9.01**-0.5
    if error < 1.0 and "d4" not in result.quarantined:
        mean, sd = y[4], error
    assert abs(result.mean_field.mean[x] - mean) < 0.01 * max(sd, 1e-9 * abs(mean))
    assert result.mean_field.scale[x] == pytest.approx(sd, rel=0.01, abs=1e-9)


# --- 6: a frustrated loop ---


class Repelled(fg.Analysis):
    """A heavy-tailed statement that the sum of two variables is ``total``."""

    def __init__(self, total):
        super().__init__()
        self.total = float(total)

    def log_likelihood_function(self, instance):
        return -2.0 * jnp.log1p((instance.before + instance.after - self.total) ** 2 / 0.3)


def test_a_frustrated_ring_ends_and_says_how():
    """Five statements around a ring that cannot all hold."""
    x = [fg.GaussianPrior(0.0, 1.0) for _ in range(5)]
    totals = (2.0, -2.0, 2.0, -2.0, 2.0)
    factors = [
        fg.AnalysisFactor(fg.Collection(before=x[i], after=x[(i + 1) % 5]), Repelled(total))
        for i, total in enumerate(totals)
    ]
    asked = fg.FactorGraphModel(*factors)
    if not (result := quietly(asked)).converged:
        assert not result.converged
        assert "not converged" in result.info
    else:
        last = result.ep_history[-1]
        assert last.change < 1e-7
    with pytest.warns(UserWarning, match="had not converged after 2 sweeps"):
        stopped = asked.optimise(seed=0, max_steps=2)
    assert not stopped.converged
    assert_near(of_result(result, x), exact_ring(totals), shift=0.1, spread=0.07, evidence=0.15)


def exact_ring(totals) -> Moments:
    """By transfer matrices on a grid: what is between x_i and itself, once around."""
    grid = np.linspace(-6.0, 6.0, 801)
    prior = stats.norm.pdf(grid) * (grid[1] - grid[0])
    steps = [prior[:, None] * (1.0 + (grid[:, None] + grid - total) ** 2 / 0.3) ** -2.0 for total in totals]
    marginals = []
    for i in range(len(totals)):
        around = np.linalg.multi_dot(steps[i:] + steps[:i])
        marginals.append(np.diag(around))
    evidence = np.sum(marginals[0])
    mean = np.array([np.sum(m * grid) for m in marginals]) / evidence
    variance = np.array([np.sum(m * grid**2) for m in marginals]) / evidence - mean**2
    return Moments(mean, variance, np.log(evidence))


def quietly(asked) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asked.optimise(seed=0)


# --- 8: constant data ---


def test_constant_data():
    """Five equal readings: an upper limit of the scatter, no spike."""
    y = np.full(5, 51.0)
    result, parent = solved_scatter(y)
    t, weight = exact_scatter(y)
    mean = weight @ np.exp(t)
    sd = np.sqrt(weight @ (np.exp(t) - mean) ** 2)
    assert abs(result.mean_field.mean[parent.sigma] - mean) < 0.1 * sd
    assert result.mean_field.scale[parent.sigma] == pytest.approx(sd, rel=0.1)


# --- 9: a private variable of two modes ---


class Square(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x**2) / self.error) ** 2


def test_two_modes_of_a_private_variable():
    """x = +-3 with a width of a sixth, one sign less probable: the moments are the mixture's."""
    x = fg.GaussianPrior(0.1, 3.0)
    result = fg.FactorGraphModel(fg.AnalysisFactor(fg.Model(Level, x=x), Square(9.0, 1.0))).optimise()
    grid = np.linspace(-6.0, 6.0, 24001)
    weight = stats.norm.pdf(grid, 0.1, 3.0) * np.exp(-0.5 * (9.0 - grid**2) ** 2)
    weight, log_evidence = weight / weight.sum(), np.log(weight.sum() * (grid[1] - grid[0]))
    mean = weight @ grid
    known = Moments(np.array([mean]), np.array([weight @ (grid - mean) ** 2]), log_evidence)
    assert_near(of_result(result, [x]), known, shift=0.02, spread=0.02, evidence=0.02)


# --- 13: inner methods agree ---


class LogConcave(fg.Analysis):
    """A count with rate exp(x): log-concave, skewed, and with a Gaussian part."""

    def __init__(self, counts, offset, error):
        super().__init__()
        self.counts = counts
        self.offset = offset
        self.error = error

    def log_likelihood_function(self, instance):
        return self.counts * instance.x - jnp.exp(instance.x) - 0.5 * ((instance.x - self.offset) / self.error) ** 2


def searches():
    return {
        "importance": lambda: None,
        "laplace": fg.LaplaceOptimiser,
        "smc": fg.SMC,
        "nested": lambda: fg.DynestyStatic(nlive=300),
        "nuts": fg.NUTS,
    }


@long
@pytest.mark.parametrize("name", ["importance", "laplace", "smc", "nested", "nuts"])
def test_inner_methods_agree(name):
    """Twenty random log-concave factors: means within 0.05 sds, sds within 5 % of quadrature."""
    if name == "nuts":
        pytest.importorskip("blackjax")
    random = np.random.default_rng(6)
    counts, offsets, errors = random.poisson(3.0, 20), random.normal(0.0, 1.0, 20), random.uniform(0.5, 3.0, 20)
    variables, factors = [], []
    for count, offset, error in zip(counts.astype(float).tolist(), offsets.tolist(), errors.tolist()):
        variables.append(fg.GaussianPrior(0.0, 2.0))
        factors.append(fg.AnalysisFactor(fg.Model(Level, x=variables[-1]), LogConcave(count, offset, error)))
    result = fg.FactorGraphModel(*factors).optimise(seed=0, optimiser=searches()[name]())
    grid = np.linspace(-12.0, 8.0, 20001)
    log_weight = counts[:, None] * grid - np.exp(grid) - 0.5 * ((grid - offsets[:, None]) / errors[:, None]) ** 2
    log_weight = log_weight + stats.norm.logpdf(grid, 0.0, 2.0)
    totals = special.logsumexp(log_weight, axis=1, keepdims=True)
    weight = np.exp(log_weight - totals)
    mean = weight @ grid
    log_evidence = float(np.sum(totals + np.log(grid[1] - grid[0])))
    known = Moments(mean, np.sum(weight * (grid - mean[:, None]) ** 2, axis=1), log_evidence)
    assert_near(of_result(result, variables), known, shift=0.05, spread=0.05, evidence=0.1)
