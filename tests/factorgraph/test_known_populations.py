"""Populations with known answers: exact by quadrature, and EP's own fixed points by an independent implementation.

B14 to B17, B19 and B21 of the list (ep.md C); B18 is `test_scatter.test_no_scatter_collapse`, B20
is in `test_samples_factor`.
"""

from __future__ import annotations

import csv

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import factorgraph as fg
from tests.factorgraph.fixed_points import of_functions
from tests.factorgraph.results.schools import EFFECTS, ERRORS, exact, schools
from tests.factorgraph.test_known_answers import Moments, assert_near, of_result
from tests.factorgraph.test_scatter import Measurement, population

slow = pytest.mark.slow


def on_grid(log_joint, first, second, values):
    """Exact moments of ``values(a, b)`` (k arrays), by the trapezium rule on two axes."""
    a, b = np.meshgrid(first, second, indexing="ij")
    log_weight = log_joint(a, b)
    total = special.logsumexp(log_weight)
    weight = np.exp(log_weight - total)
    found = np.stack([np.broadcast_to(v, weight.shape) for v in values(a, b)])
    mean = np.sum(weight * found, axis=(1, 2))
    variance = np.sum(weight * (found - mean[:, None, None]) ** 2, axis=(1, 2))
    return Moments(mean, variance, total + np.log((first[1] - first[0]) * (second[1] - second[0])))


# --- B14: unknown mean and precision ---


class Unknown:
    def __init__(self, mu=0.0, tau=1.0):
        self.mu = mu
        self.tau = tau


class Reading(fg.Analysis):
    """y ~ N(mu, 1 / sqrt(tau))."""

    def __init__(self, y):
        super().__init__()
        self.y = float(y)

    def log_likelihood_function(self, instance):
        residual = self.y - instance.mu
        return 0.5 * jnp.log(instance.tau) - 0.5 * instance.tau * residual**2 - 0.5 * jnp.log(2.0 * jnp.pi)


def test_unknown_mean_and_precision():
    """B14 (Infer.NET's tests): mu 8.113501, 1.675305, tau .241238, .023225, log Z -12.578420; VMP has 1.026 for 1.675."""
    y = np.array([11.0, 5.0, 8.0, 9.0])

    def log_joint(mu, log_tau):
        tau = np.exp(log_tau)
        prior = stats.norm.logpdf(mu, 0.0, 10.0) - tau + log_tau
        return prior + sum(stats.norm.logpdf(value, mu, tau**-0.5) for value in y)

    axes = np.linspace(-25.0, 30.0, 1101), np.linspace(-9.0, 2.0, 801)
    known = on_grid(log_joint, *axes, lambda mu, log_tau: (mu, np.exp(log_tau)))
    np.testing.assert_allclose([*known.mean, *known.variance], [8.113501, 0.241238, 1.675305, 0.023225], rtol=1e-4)
    mu, tau = fg.GaussianPrior(0.0, 10.0), fg.GammaPrior(1.0, 1.0)
    factors = [fg.AnalysisFactor(fg.Model(Unknown, mu=mu, tau=tau), Reading(value)) for value in y]
    result = fg.FactorGraphModel(*factors).optimise()
    assert_near(of_result(result, [mu, tau]), known, shift=0.05, spread=0.02, evidence=0.02)


# --- B15, B16: eight schools ---


def effect_factors(scatter):
    """From points (n, 2) of mu and a coordinate of tau to the log densities (8, n) of the effects."""
    return lambda x: stats.norm.logpdf(EFFECTS[:, None], x[:, 0], np.hypot(scatter(x[:, 1]), ERRORS[:, None]))


def half_cauchy_fixed_point(scale):
    """The half-Cauchy prior is one more site, in tau = scale softplus(t)."""

    def scatter(t):
        return scale * np.logaddexp(0.0, t)

    def log_factors(x):
        prior = stats.halfcauchy.logpdf(scatter(x[:, 1]), scale=5.0) + np.log(scale) - np.logaddexp(0.0, -x[:, 1])
        return np.concatenate([effect_factors(scatter)(x), prior[None]])

    start = np.array([4.4, 0.0]), np.diag([9.0, 1.0])
    found = of_functions(log_factors, (np.zeros(2), np.array([5.0, np.inf])), start, 9)
    t = found.mean[1] + np.sqrt(found.covariance[1, 1]) * special.ndtri((np.arange(20000) + 0.5) / 20000)
    return Moments(
        np.array([found.mean[0], scatter(t).mean()]),
        np.array([found.covariance[0, 0], scatter(t).var()]),
        found.log_evidence,
    )


@pytest.fixture(scope="module")
def solved_schools():
    asked = schools()
    return asked.graph.optimise(seed=0), [asked.parent.mean, asked.parent.sigma]


def test_eight_schools_fixed_point():
    """B15: half the mean error as the unit of softplus gives log Z -31.3284, mu 4.3947, 3.3028, tau 3.6625, 3.4347."""
    found = half_cauchy_fixed_point(ERRORS.mean() / 2.0)
    np.testing.assert_allclose(found.mean, [4.3947, 3.6625], atol=2e-4)
    np.testing.assert_allclose(np.sqrt(found.variance), [3.3028, 3.4347], atol=5e-4)
    assert found.log_evidence == pytest.approx(-31.3284, abs=1e-4)


def test_eight_schools_by_ep(solved_schools):
    """B15, in the engine's own unit, 5; never the stalls at tau = 6.0 or 2.0."""
    result, variables = solved_schools
    fixed = half_cauchy_fixed_point(5.0)
    assert result.converged
    assert_near(of_result(result.ep, variables), fixed, shift=0.01, spread=0.01, evidence=0.002)


def test_eight_schools(solved_schools):
    """B15, exact: mu 4.3968, 3.3177, tau 3.5977, 3.2200, log Z -31.3113."""
    known = exact()
    result, variables = solved_schools
    of_exact = Moments(known.mean[:2], known.scale[:2] ** 2, known.log_evidence)
    np.testing.assert_allclose(known.mean[:2], [4.3968, 3.5977], atol=2e-3)
    assert_near(of_result(result, variables), of_exact, shift=0.05, spread=0.02, evidence=0.02)


def test_eight_schools_with_a_prior_in_the_family():
    """B16: log tau ~ N(1, 1.5), so that the fixed point is in the engine's own coordinates.

    EP is at the fixed point (log Z -31.1707); exact log Z -31.1390, log tau 0.4123, 1.1661.
    """
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.LogGaussianPrior(1.0, 1.5)
    )
    graph = population(parent, [[Measurement(float(y), float(s))] for y, s in zip(EFFECTS, ERRORS)])
    result = graph.optimise(seed=0)
    variables = [parent.mean, parent.sigma]
    start = np.array([4.4, 0.5]), np.diag([9.0, 1.0])
    fixed = of_functions(effect_factors(np.exp), (np.array([0.0, 1.0]), np.array([5.0, 1.5])), start, 8)
    assert fixed.log_evidence == pytest.approx(-31.1707, abs=1e-4)
    np.testing.assert_allclose(fixed.mean, [4.4833, 0.3866], atol=1e-4)
    log_tau = np.log(result.ep.mean_field.draws(parent.sigma))
    assert abs(log_tau.mean() - fixed.mean[1]) < 0.005 * np.sqrt(fixed.covariance[1, 1])
    assert log_tau.std() == pytest.approx(np.sqrt(fixed.covariance[1, 1]), rel=0.003)
    assert abs(result.ep.mean_field.mean[parent.mean] - fixed.mean[0]) < 0.005 * np.sqrt(fixed.covariance[0, 0])
    assert result.ep.log_evidence == pytest.approx(fixed.log_evidence, abs=1e-3)

    def log_joint(mu, t):
        log_prior = stats.norm.logpdf(mu, 0.0, 5.0) + stats.norm.logpdf(t, 1.0, 1.5)
        return log_prior + sum(stats.norm.logpdf(y, mu, np.hypot(np.exp(t), s)) for y, s in zip(EFFECTS, ERRORS))

    axes = np.linspace(-25.0, 35.0, 401), np.linspace(-7.0, 6.0, 521)
    known = on_grid(log_joint, *axes, lambda mu, t: (mu, np.exp(t)))
    assert known.log_evidence == pytest.approx(-31.1390, abs=1e-4)
    assert_near(of_result(result, variables), known, shift=0.05, spread=0.03, evidence=0.02)


def test_power_expectation_propagation():
    """B16 with half of every factor: log Z -31.1758, mu 4.4873, sd of log tau 1.0802; what is corrected is the same."""
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.LogGaussianPrior(1.0, 1.5)
    )
    graph = population(parent, [[Measurement(float(y), float(s))] for y, s in zip(EFFECTS, ERRORS)])
    half, whole = graph.optimise(seed=0, power=0.5), graph.optimise(seed=0)
    assert half.converged
    assert half.ep.log_evidence == pytest.approx(-31.1758, abs=1e-3)
    assert half.ep.mean_field.mean[parent.mean] == pytest.approx(4.4873, abs=5e-3)
    assert np.log(half.ep.mean_field.draws(parent.sigma)).std() == pytest.approx(1.0802, rel=3e-3)
    assert half.log_evidence == pytest.approx(whole.log_evidence, abs=5e-3)
    with pytest.raises(fg.GraphError, match="power = 0"):
        graph.optimise(power=0.0)


# --- B17: the ladder ---


def ladder(num):
    random = np.random.default_rng(1)
    theta = 50.0 + 10.0 * random.standard_normal(num)
    errors = random.uniform(2.0, 6.0, num)
    return theta + errors * random.standard_normal(num), errors


def solved_ladder(y, errors):
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.LogGaussianPrior(float(np.log(10.0)), 1.0)
    )
    graph = population(parent, [[Measurement(*pair)] for pair in zip(y.tolist(), errors.tolist())])
    return graph.optimise(seed=0), [parent.mean, parent.sigma]


def exact_ladder(y, errors, reach=1.0):
    """``reach`` of the grid: more where the measurements say little."""

    def log_joint(mu, t):
        total = stats.norm.logpdf(mu, 50.0, 10.0) + stats.norm.logpdf(t, np.log(10.0), 1.0)
        for value, error in zip(y, errors):
            total += stats.norm.logpdf(value, mu, np.hypot(np.exp(t), error))
        return total

    width = reach * 8.0 / np.sqrt(len(y))
    axes = (
        y.mean() + y.std() * width * np.linspace(-1.0, 1.0, 161),
        0.5 * np.log(y.var() - np.mean(errors**2)) + width * np.linspace(-1.2, 0.8, 201),
    )
    return on_grid(log_joint, *axes, lambda mu, t: (mu, np.exp(t)))


@pytest.mark.parametrize(
    ("num", "distance"),
    [(5, 0.046), (20, 0.034), (100, 0.0051), (1000, 5.5e-4), pytest.param(10_000, 5.5e-5, marks=slow)],
)
def test_ladder(num, distance):
    """B17: EP's evidence is ``distance`` below the exact one, and to 0.02 nats, its integrals' error, below ours too."""
    y, errors = ladder(num)
    known = exact_ladder(y, errors)
    result, variables = solved_ladder(y, errors)
    assert result.num_steps < 20
    tolerance = max(0.02, 3.0 * result.log_evidence_error)
    assert_near(of_result(result, variables), known, shift=0.05, spread=0.02, evidence=tolerance)
    assert result.ep.log_evidence - known.log_evidence == pytest.approx(-distance, abs=0.025)
    assert_near(of_result(result.ep, variables), known, shift=0.1, spread=1.0 / np.sqrt(num), evidence=0.1)


@pytest.mark.parametrize("num", [5, 20])
def test_ladder_by_ep(num):
    """B17: EP is within 0.06 sds and 10 % of the fixed point where sites are strong."""
    y, errors = ladder(num)
    result, (mu, tau) = solved_ladder(y, errors)
    start = np.array([y.mean(), np.log(y.std())]), np.diag([y.var(), 0.5]) / num

    def log_factors(x):
        return stats.norm.logpdf(y[:, None], x[:, 0], np.hypot(np.exp(x[:, 1]), errors[:, None]))

    fixed = of_functions(log_factors, (np.array([50.0, np.log(10.0)]), np.array([10.0, 1.0])), start, num, degree=32)
    log_tau = np.log(result.ep.mean_field.draws(tau))
    means = np.array([result.ep.mean_field.mean[mu], log_tau.mean()])
    sds = np.array([result.ep.mean_field.scale[mu], log_tau.std()])
    assert np.max(np.abs(means - fixed.mean) / np.sqrt(np.diag(fixed.covariance))) < 0.08
    assert np.max(np.abs(sds / np.sqrt(np.diag(fixed.covariance)) - 1.0)) < 0.1
    assert result.ep.log_evidence == pytest.approx(fixed.log_evidence, abs=0.025)


# --- B19: ten shared variables ---

SCALES = np.array([10.0, 0.5, 2.0, 1.0, 0.1])


class Five:
    def __init__(self, a=0.0, b=0.0, c=0.0, d=0.0, e=0.0):
        self.values = (a, b, c, d, e)


class Vector(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        residual = (self.y - jnp.stack(instance.values)) / self.error
        return jnp.sum(-0.5 * residual**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi))


@slow
@pytest.mark.parametrize("num", [30, 300, 2000])
def test_five_populations_at_once(num):
    """B19: five hierarchical parameters, independent, so that the answer is five grids."""
    random = np.random.default_rng(2)
    theta = SCALES * random.standard_normal((num, 5))
    errors = SCALES * random.uniform(0.3, 1.0, (num, 5))
    y = theta + errors * random.standard_normal((num, 5))
    parents = [
        fg.HierarchicalFactor(
            fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0 * s), sigma=fg.LogGaussianPrior(float(np.log(s)), 1.0)
        )
        for s in SCALES.tolist()
    ]
    factors = []
    for row, error in zip(y, errors):
        model = fg.Model(Five)
        for parent, name in zip(parents, "abcde"):
            parent.add_drawn_variable(getattr(model, name))
        factors.append(fg.AnalysisFactor(model, Vector(row, error)))
    result = fg.FactorGraphModel(*factors, *parents).optimise(seed=0)
    log_evidence = 0.0
    for k, (parent, s) in enumerate(zip(parents, SCALES)):

        def log_joint(mu, t, k=k, s=s):
            total = stats.norm.logpdf(mu, 0.0, 3.0 * s) + stats.norm.logpdf(t, np.log(s), 1.0)
            for value, error in zip(y[:, k], errors[:, k]):
                total += stats.norm.logpdf(value, mu, np.hypot(np.exp(t), error))
            return total

        width = np.sqrt(30.0 / num)
        axes = s * width * np.linspace(-3.0, 3.0, 121), np.log(s) + width * np.linspace(-1.8, 1.5, 161)
        known = on_grid(log_joint, *axes, lambda mu, t: (mu, np.exp(t)))
        log_evidence += known.log_evidence
        alone = Moments(known.mean, known.variance, result.log_evidence)
        assert_near(of_result(result, [parent.mean, parent.sigma]), alone, shift=0.05, spread=0.03, evidence=1.0)
    assert result.log_evidence == pytest.approx(log_evidence, abs=max(0.02, 3.0 * result.log_evidence_error))


# --- B21: radon ---


class County:
    def __init__(self, alpha=0.0, sigma=1.0):
        self.alpha = alpha
        self.sigma = sigma


class Houses(fg.Analysis):
    """All measurements of one county, by their number, mean and sum of squares, so that counties are one plate."""

    def __init__(self, y):
        super().__init__()
        self.num = float(len(y))
        self.mean = float(np.mean(y))
        self.squares = float(np.sum((np.asarray(y) - np.mean(y)) ** 2))

    def log_likelihood_function(self, instance):
        squares = self.squares + self.num * (self.mean - instance.alpha) ** 2
        return -0.5 * squares / instance.sigma**2 - self.num * (jnp.log(instance.sigma) + 0.5 * jnp.log(2.0 * jnp.pi))


def exact_radon(analyses):
    """mu is integrated by hand; the scales on a grid. log Z, and means and variances of mu, sigma_alpha, sigma_y."""
    num, mean, squares = (np.array([getattr(a, name) for a in analyses]) for name in ("num", "mean", "squares"))

    def parts(scatter, noise):
        variance = scatter[..., None] ** 2 + noise[..., None] ** 2 / num
        precision = np.sum(1.0 / variance, axis=-1) + 0.01
        return variance, precision, np.sum(mean / variance, axis=-1) / precision

    def log_joint(scatter, noise):
        variance, precision, centre = parts(scatter, noise)
        total = stats.halfnorm.logpdf(scatter) + stats.halfnorm.logpdf(noise) - np.log(10.0) - 0.5 * np.log(precision)
        total += -0.5 * np.sum(squares) / noise**2 - np.sum(num - 1.0) * np.log(noise) - 0.5 * np.sum(np.log(num))
        total += -0.5 * np.sum(mean**2 / variance + np.log(variance), axis=-1) + 0.5 * precision * centre**2
        return total - 0.5 * np.sum(num) * np.log(2.0 * np.pi)

    def values(scatter, noise):
        _, precision, centre = parts(scatter, noise)
        return centre, scatter, noise, centre**2 + 1.0 / precision

    axes = np.linspace(0.05, 0.65, 121), np.linspace(0.66, 0.9, 97)
    found = on_grid(log_joint, *axes, values)
    variance = np.array([found.mean[3] - found.mean[0] ** 2, *found.variance[1:3]])
    return Moments(found.mean[:3], variance, found.log_evidence)


@slow
def test_radon(shared):
    """B21, Minnesota: 85 counties of 1 to 116 houses; log Z -1101.68212, mu 1.34971, scales .30320 and .76713."""
    houses: dict[str, list[float]] = {}
    with (shared / "data" / "radon" / "radon_mn.csv").open() as file:
        for row in csv.DictReader(file):
            houses.setdefault(row["county"], []).append(float(row["log_radon"]))
    noise = fg.HalfNormalPrior(1.0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.HalfNormalPrior(1.0))
    factors = []
    for y in houses.values():
        model = fg.Model(County, sigma=noise)
        parent.add_drawn_variable(model.alpha)
        factors.append(fg.AnalysisFactor(model, Houses(y)))
    known = exact_radon([factor.analysis for factor in factors])
    assert known.log_evidence == pytest.approx(-1101.68212, abs=1e-3)
    np.testing.assert_allclose(known.mean, [1.34971, 0.30320, 0.76713], atol=2e-5)
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    assert_near(of_result(result, [parent.mean, parent.sigma, noise]), known, shift=0.05, spread=0.02, evidence=0.02)
