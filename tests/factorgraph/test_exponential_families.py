"""Gamma, inverse gamma and beta messages: exact where factors are conjugate, EP's own fixed point where they are not."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

import factorgraph as fg
from factorgraph.errors import GraphError
from factorgraph.propagation import product_solution


class One:
    def __init__(self, value):
        self.value = value


class Normal:
    def __init__(self, mean, precision):
        self.mean, self.precision = mean, precision


class Trials(fg.Analysis):
    """Successes and failures of something whose probability is a fraction of the interval."""

    def __init__(self, successes, failures, lower=0.0, width=1.0):
        super().__init__()
        self.successes, self.failures = float(successes), float(failures)
        self.lower, self.width = float(lower), float(width)

    def log_likelihood_function(self, instance):
        fraction = (instance.value - self.lower) / self.width
        return self.successes * jnp.log(fraction) + self.failures * jnp.log1p(-fraction)


class Powers(fg.Analysis):
    """exp(a log x - b x - c / x): Poisson counts, or a sum of squares of a precision or a variance."""

    def __init__(self, a, b, c, constant=0.0):
        super().__init__()
        self.a, self.b, self.c, self.constant = float(a), float(b), float(c), float(constant)

    def log_likelihood_function(self, instance):
        x = instance.value
        return self.a * jnp.log(x) - self.b * x - self.c / x + self.constant


class Data(fg.Analysis):
    def __init__(self, values):
        super().__init__()
        self.values = np.asarray(values, dtype=float)

    def log_likelihood_function(self, instance):
        terms = jnp.log(instance.precision / (2 * jnp.pi)) - instance.precision * (self.values - instance.mean) ** 2
        return 0.5 * jnp.sum(terms)


def one_unknown(variable, analyses, family):
    factors = []
    for analysis in analyses:
        model = fg.Model(One)
        model.value = variable
        factors.append(fg.AnalysisFactor(model, analysis))
    return fg.FactorGraphModel(*factors, families={variable: family})


def log_evidence_of_powers(kind, prior, rows):
    """Of ``prior`` (a, b) and rows (a, b, c, constant): the normalisers of the family before and after."""
    a, b, c, constant = np.sum(rows, axis=0) if len(rows) else np.zeros(4)
    if kind == "gamma":
        shape, rate = prior[0] + a, prior[1] + b
    else:
        shape, rate = prior[0] - a, prior[1] + c
    before = prior[0] * np.log(prior[1]) - special.gammaln(prior[0])
    return before + special.gammaln(shape) - shape * np.log(rate) + constant


def sums_of_squares(kind, groups):
    """Of data about a known mean: the likelihood of a precision (gamma) or of a variance (inverse gamma)."""
    rows = []
    for values in groups:
        half, square = 0.5 * len(values), 0.5 * float(np.sum(np.square(values)))
        constant = -half * np.log(2 * np.pi)
        rows.append((half, square, 0.0, constant) if kind == "gamma" else (-half, 0.0, square, constant))
    return rows


COUNTS = [(3.0, 4.0, 1.0), (2.0, 7.0, 0.0), (1.0, 2.0, 2.0)]
POISSON = [(sum(c), len(c), 0.0, -float(np.sum(special.gammaln(np.add(c, 1.0))))) for c in COUNTS]
DEVIATIONS = [(0.3, -1.2), (2.1, 0.4, -0.7), (1.5, -0.1)]
CONJUGATE = [
    ("gamma", (2.0, 1.0 / 3.0), POISSON),
    ("gamma", (0.4, 0.1), sums_of_squares("gamma", DEVIATIONS)),
    ("inverse-gamma", (3.0, 2.0), sums_of_squares("inverse-gamma", DEVIATIONS)),
]


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize(("kind", "prior", "rows"), CONJUGATE, ids=["counts", "precision", "variance"])
def test_conjugate_half_lines_are_exact(kind, prior, rows, correct):
    a, b, c, _ = np.sum(rows, axis=0)
    if kind == "gamma":
        variable, exact = fg.GammaPrior(prior[0], 1.0 / prior[1]), stats.gamma(prior[0] + a, scale=1 / (prior[1] + b))
    else:
        variable, exact = fg.InverseGammaPrior(*prior), stats.invgamma(prior[0] - a, scale=prior[1] + c)
    result = one_unknown(variable, [Powers(*row) for row in rows], kind).optimise(seed=0, correct=correct)
    assert result.converged
    assert result.is_exact
    assert "conjugate" in result.info
    assert result.mean_field.mean[variable] == pytest.approx(exact.mean(), rel=1e-8)
    assert result.mean_field.variance[variable] == pytest.approx(exact.var(), rel=1e-8)
    evidence = log_evidence_of_powers(kind, prior, rows)
    assert result.log_evidence == pytest.approx(evidence, abs=1e-8)
    for j, density in enumerate(result.leave_one_out.values()):
        others = log_evidence_of_powers(kind, prior, rows[:j] + rows[j + 1 :])
        assert density == pytest.approx(evidence - others, abs=1e-8)
    quantiles = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(result.mean_field.quantile(variable, quantiles), exact.ppf(quantiles), rtol=0.02)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 5.0)])
def test_conjugate_intervals_are_exact(limits, correct):
    """The clinical trial of both arms together: control F F T F F, treated T F T T T."""
    lower, upper = limits
    variable = fg.UniformPrior(lower, upper)
    arms = [Trials(1, 4, lower, upper - lower), Trials(4, 1, lower, upper - lower)]
    result = one_unknown(variable, arms, "beta").optimise(seed=0, correct=correct)
    exact = stats.beta(6, 6, loc=lower, scale=upper - lower)
    assert result.converged
    assert result.is_exact
    assert result.mean_field.mean[variable] == pytest.approx(exact.mean(), rel=1e-8)
    assert result.mean_field.variance[variable] == pytest.approx(exact.var(), rel=1e-8)
    assert result.log_evidence == pytest.approx(special.betaln(6, 6), abs=1e-8)
    assert np.all((result.draws > lower) & (result.draws < upper))


@pytest.mark.parametrize("family", ["logit-normal", "beta"])
def test_a_prior_whose_quantiles_round_to_its_limits(family):
    """Beta(0.01, 0.01): half of its mass rounds to one."""
    variable = fg.BetaPrior(0.01, 0.01)
    result = one_unknown(variable, [Trials(1, 0), Trials(0, 1)], family).optimise(seed=0)
    exact = stats.beta(1.01, 1.01)
    assert result.mean_field.mean[variable] == pytest.approx(0.5, abs=1e-3)
    assert result.mean_field.scale[variable] == pytest.approx(exact.std(), rel=5e-3)
    assert result.log_evidence == pytest.approx(special.betaln(1.01, 1.01) - special.betaln(0.01, 0.01), abs=0.01)


@pytest.mark.parametrize("trials", [(0, 1000), (3000, 2000), (10**6, 10**6)])
def test_many_trials(trials):
    """Where the statistics are nearly collinear under the posterior, and log likelihoods large, exact to rounding."""
    variable, (successes, failures) = fg.BetaPrior(0.5, 1.0), trials
    result = one_unknown(variable, [Trials(*trials), Trials(0, 0)], "beta").optimise(seed=0, correct=False)
    exact = stats.beta(0.5 + successes, 1.0 + failures)
    evidence = special.betaln(0.5 + successes, 1.0 + failures) - special.betaln(0.5, 1.0)
    assert result.is_exact
    assert result.mean_field.mean[variable] == pytest.approx(exact.mean(), rel=1e-8)
    assert result.mean_field.scale[variable] == pytest.approx(exact.std(), rel=1e-8)
    assert result.log_evidence == pytest.approx(evidence, rel=1e-11, abs=1e-8)


def test_many_rates():
    """As many messages as there are rates, and nothing normal: more than sixteen are no field."""
    rng = np.random.default_rng(0)
    rates, counts, factors = [fg.GammaPrior(2.0, 1.0) for _ in range(20)], rng.poisson(4.0, size=(20, 2)), []
    for rate, pair in zip(rates, counts, strict=True):
        for count in pair:
            model = fg.Model(One)
            model.value = rate
            factors.append(fg.AnalysisFactor(model, Powers(count, 1.0, 0.0)))
    result = fg.FactorGraphModel(*factors, families=dict.fromkeys(rates, "gamma")).optimise(seed=0, correct=False)
    shapes = 2.0 + counts.sum(axis=1)
    assert result.is_exact
    np.testing.assert_allclose([result.mean_field.mean[rate] for rate in rates], shapes / 3.0, rtol=1e-8)
    np.testing.assert_allclose([result.mean_field.variance[rate] for rate in rates], shapes / 9.0, rtol=1e-8)
    assert result.log_evidence == pytest.approx(np.sum(special.gammaln(shapes) - shapes * np.log(3.0)), abs=1e-8)


def test_a_prior_of_another_shape_is_a_term():
    """Beta(2, 3) is conjugate; sin(pi p) is not, and its tilted moments are matched: one factor that is not exact leaves
    EP with the exact E[T]."""
    variable = fg.BetaPrior(2.0, 3.0)

    class Bump(fg.Analysis):
        def log_likelihood_function(self, instance):
            return jnp.log(jnp.sin(jnp.pi * instance.value))

    result = one_unknown(variable, [Trials(3, 2), Bump()], "beta").optimise(seed=0, correct=False)
    p = np.linspace(0, 1, 200_001)[1:-1]
    density = stats.beta(5, 5).pdf(p) * np.sin(np.pi * p)
    total = np.trapezoid(density, p)
    alpha_beta = optimize.fsolve(
        lambda x: [
            special.digamma(x[0]) - special.digamma(sum(x)) - np.trapezoid(np.log(p) * density, p) / total,
            special.digamma(x[1]) - special.digamma(sum(x)) - np.trapezoid(np.log1p(-p) * density, p) / total,
        ],
        [6.0, 6.0],
    )
    assert result.converged
    assert not result.is_exact
    assert result.mean_field.mean[variable] == pytest.approx(stats.beta(*alpha_beta).mean(), rel=1e-6)
    assert result.mean_field.variance[variable] == pytest.approx(stats.beta(*alpha_beta).var(), rel=1e-6)
    evidence = special.betaln(5, 5) - special.betaln(2, 3) + np.log(total)
    assert result.log_evidence == pytest.approx(evidence, abs=1e-6)


def unknown_mean_and_precision(groups):
    mean, precision = fg.GaussianPrior(0.0, 10.0), fg.GammaPrior(1.0, 1.0)
    factors = []
    for values in groups:
        model = fg.Model(Normal, mean=mean, precision=precision)
        factors.append(fg.AnalysisFactor(model, Data(values)))
    return fg.FactorGraphModel(*factors, families={precision: "gamma"}), mean, precision


def grid_ep(groups, num_sweeps=60):
    """Serial EP of N(mean) Gamma(precision) messages on a grid of the mean and of the log precision, and the exact
    answer: two rows of the mean's mean and variance, the precision's mean and variance, log evidence."""
    mu, s = np.linspace(-30, 45, 751)[:, None], np.linspace(-12, 4, 401)[None]
    tau, cell = np.exp(s), (mu[1, 0] - mu[0, 0]) * (s[0, 1] - s[0, 0])
    log_f = [sum(0.5 * np.log(tau / (2 * np.pi)) - 0.5 * tau * (y - mu) ** 2 for y in values) for values in groups]
    prior = np.array([0.0, 0.01, 0.0, 1.0])  # of mu, -mu^2 / 2, log tau, -tau
    sites = np.tile(np.array([4.0, 0.5, 1.0, 8.0]) / len(groups), (len(groups), 1))

    def log_message(natural):
        return natural[0] * mu - 0.5 * natural[1] * mu**2 + natural[2] * s - natural[3] * tau

    def log_partition(natural):
        h, precision, shape, rate = natural[0], natural[1], natural[2] + 1.0, natural[3]
        normal = 0.5 * h**2 / precision + 0.5 * np.log(2 * np.pi / precision)
        return normal + special.gammaln(shape) - shape * np.log(rate)

    def moments(log_density):
        top = np.max(log_density)
        weights = np.exp(log_density - top)
        total = np.sum(weights)
        weights /= total
        mean, precision = np.sum(weights * mu), np.sum(weights * tau)
        variance = np.sum(weights * (mu - mean) ** 2)
        spread, gap = np.sum(weights * (tau - precision) ** 2), np.log(precision) - np.sum(weights * s)
        return mean, variance, precision, spread, gap, top + np.log(total * cell)

    log_normalizers = np.zeros(len(groups))
    for _ in range(num_sweeps):
        before = sites.copy()
        for j in range(len(groups)):
            cavity = prior + sites.sum(axis=0) - sites[j]
            mean, variance, precision, _, gap, log_normalizers[j] = moments(log_f[j] + log_message(cavity) + s)
            shape = optimize.brentq(lambda k, gap=gap: np.log(k) - special.digamma(k) - gap, 1e-3, 1e6)
            sites[j] = np.array([mean / variance, 1 / variance, shape - 1, shape / precision]) - cavity
        if np.max(np.abs(sites - before)) < 1e-10:
            break
    q = prior + sites.sum(axis=0)
    evidence = log_partition(q) - log_partition(prior) + np.sum(log_normalizers - log_partition(q))
    shape, rate = q[2] + 1.0, q[3]
    exact = moments(sum(log_f) + log_message(prior) + s)
    return (
        np.array([q[0] / q[1], 1 / q[1], shape / rate, shape / rate**2, evidence]),
        np.array([*exact[:4], exact[5] - log_partition(prior)]),
    )


def answer_of(mean_field, mean, precision, log_evidence):
    found = mean_field.mean, mean_field.variance
    return [found[0][mean], found[1][mean], found[0][precision], found[1][precision], log_evidence]


@pytest.mark.parametrize("groups", [[[11.0, 5.0], [8.0, 9.0]], [[11.0], [5.0], [8.0], [9.0]]], ids=["two", "four"])
def test_unknown_mean_and_precision(groups):
    """ep.md B14: EP's own fixed point, and the exact answer once corrected."""
    graph, mean, precision = unknown_mean_and_precision(groups)
    result = graph.optimise(seed=0)
    by_ep, exact = grid_ep(groups)
    np.testing.assert_allclose(exact, [8.113501, 1.675305, 0.241238, 0.023225, -12.578420], rtol=2e-5)
    assert result.converged
    np.testing.assert_allclose(
        answer_of(result.ep.mean_field, mean, precision, result.ep.log_evidence), by_ep, rtol=1e-5
    )
    assert result.ep.mean_field.covariance(mean, precision) == 0.0
    assert result.is_corrected
    np.testing.assert_allclose(answer_of(result.mean_field, mean, precision, result.log_evidence), exact, rtol=0.01)
    alone = graph.optimise(seed=0, correct=False)
    np.testing.assert_allclose(answer_of(alone.mean_field, mean, precision, alone.log_evidence), by_ep, rtol=1e-5)


def test_power_and_mean_field():
    """Power EP leaves exact sites alone; blocks that are single variables already change nothing."""
    rows = CONJUGATE[0][2]
    variable = fg.GammaPrior(2.0, 3.0)
    result = one_unknown(variable, [Powers(*row) for row in rows], "gamma").optimise(seed=0, power=0.5)
    assert result.is_exact
    assert result.log_evidence == pytest.approx(log_evidence_of_powers("gamma", (2.0, 1 / 3), rows), abs=1e-8)
    graph, mean, precision = unknown_mean_and_precision([[11.0, 5.0], [8.0, 9.0]])
    whole, apart = graph.optimise(seed=0).ep, graph.optimise(seed=0, blocks="mean field").ep
    assert apart.mean_field.variance[mean] == pytest.approx(whole.mean_field.variance[mean], rel=1e-6)
    assert apart.mean_field.variance[precision] == pytest.approx(whole.mean_field.variance[precision], rel=1e-6)
    with pytest.raises(GraphError, match="blocks keeps correlations .* 'gamma'"):
        graph.optimise(blocks=[(mean, precision)])


def test_running_out_of_steps_is_said():
    graph, mean, precision = unknown_mean_and_precision([[11.0], [5.0], [8.0], [9.0]])
    with pytest.warns(UserWarning, match="had not converged"):
        result = graph.optimise(seed=0, max_steps=2, correct=False)
    assert not result.converged
    assert np.all(np.isfinite(answer_of(result.mean_field, mean, precision, result.log_evidence)))


def test_no_proper_start_is_said(monkeypatch):
    monkeypatch.setattr(product_solution, "initial_state", lambda graph, start: None)
    graph, mean, precision = unknown_mean_and_precision([[11.0, 5.0], [8.0, 9.0]])
    said = pytest.warns(UserWarning, match="no proper product of the chosen families")
    with pytest.warns(UserWarning, match="had not converged"), said:
        result = graph.optimise(seed=0, correct=False)
    assert not result.converged
    assert np.all(np.isfinite(answer_of(result.mean_field, mean, precision, result.log_evidence)))


def test_a_moment_that_does_not_exist_is_nan():
    rows = sums_of_squares("inverse-gamma", [(0.3,), (2.1,)])
    variable = fg.InverseGammaPrior(0.5, 2.0)  # with two data the shape is 1.5
    result = one_unknown(variable, [Powers(*row) for row in rows], "inverse-gamma").optimise(seed=0)
    square = 2.0 + sum(row[2] for row in rows)
    assert result.mean_field.mean[variable] == pytest.approx(square / 0.5, rel=1e-8)
    assert np.isnan(result.mean_field.variance[variable])
    assert np.isfinite(result.mean_field.quantile(variable, 0.5))
    assert "nan" in result.info


class Source:
    def __init__(self, position):
        self.position = position


class Measured(fg.Analysis):
    def __init__(self, value, error):
        super().__init__()
        self.value, self.error = float(value), float(error)

    def log_likelihood_function(self, instance):
        z = (self.value - instance.position) / self.error
        return -0.5 * z**2 - jnp.log(self.error) - 0.5 * jnp.log(2 * jnp.pi)


def population(values, errors, sigma, family):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=sigma)
    factors = []
    for value, error in zip(values, errors, strict=True):
        model = fg.Model(Source)
        parent.add_drawn_variable(model.position)
        factors.append(fg.AnalysisFactor(model, Measured(value, error)))
    return fg.FactorGraphModel(*factors, parent, families={parent.sigma: family}), parent


SCHOOLS = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], [15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]


@pytest.mark.parametrize("family", ["gamma", "inverse-gamma"])
def test_the_scatter_of_eight_schools(family):
    """Settles, keeps to the half line, and is corrected to the answer that every family has (ep.md B15)."""
    graph, parent = population(*SCHOOLS, fg.HalfCauchyPrior(5.0), family)
    result = graph.optimise(seed=0)
    assert result.converged
    assert result.is_corrected
    assert result.log_evidence == pytest.approx(-31.3113, abs=0.02)
    assert result.mean_field.mean[parent.mean] == pytest.approx(4.3968, abs=0.05 * 3.3177)
    assert result.mean_field.mean[parent.sigma] == pytest.approx(3.5977, abs=0.05 * 3.2200)
    assert result.mean_field.scale[parent.sigma] == pytest.approx(3.2200, rel=0.04)
    assert np.all(result.ep.mean_field.draws(parent.sigma) > 0.0)
    if family == "gamma":  # whose shape is near the posterior's
        assert result.ep.log_evidence == pytest.approx(-31.3113, abs=0.01)
        assert result.ep.mean_field.mean[parent.sigma] == pytest.approx(3.5977, abs=0.05 * 3.2200)
        assert result.ep.mean_field.scale[parent.sigma] == pytest.approx(3.2200, rel=0.05)


@pytest.mark.slow
def test_few_strong_sites_settle_one_after_another():
    """Three datasets, whose sites overshoot when all of them move at once."""
    values, errors = [5.67964185, 4.58776215, 9.31294088], [2.03387696, 0.39886843, 0.71340586]
    graph, parent = population(values, errors, fg.InverseGammaPrior(1.0, 0.5), "inverse-gamma")
    settled = graph.optimise(seed=0, correct=False)
    damped = graph.optimise(seed=0, correct=False, damping=0.6)
    assert settled.converged
    assert damped.converged
    assert damped.mean_field.mean[parent.mean] == pytest.approx(settled.mean_field.mean[parent.mean], abs=1e-5)
    assert damped.log_evidence == pytest.approx(settled.log_evidence, abs=1e-6)


def test_what_is_not_corrected_is_of_the_family():
    """Also the private variables, whose posterior is over EP's draws of the shared ones."""
    graph, parent = population(*SCHOOLS, fg.HalfCauchyPrior(5.0), "gamma")
    corrected, plain = graph.optimise(seed=0), graph.optimise(seed=0, correct=False)
    assert plain.log_evidence == corrected.ep.log_evidence
    assert plain.mean_field.scale[parent.sigma] == corrected.ep.mean_field.scale[parent.sigma]
    effect = graph.factors[0].prior_model.position
    assert plain.mean_field.mean[effect] == pytest.approx(corrected.mean_field.mean[effect], abs=0.3)
    assert plain.datatree["posterior"].sizes["draw"] == 1024


def test_many_datasets():
    """Beyond a few datasets sites are regressed, not matched: they are weak, and the posterior is nearly normal."""
    rng = np.random.default_rng(3)
    values, errors = 1.0 + 2.0 * rng.normal(size=150) + 1.5 * rng.normal(size=150), np.full(150, 1.5)
    graph, parent = population(values, errors, fg.HalfNormalPrior(5.0), "gamma")
    result = graph.optimise(seed=0)
    scale = result.mean_field.scale
    assert result.converged
    assert result.is_corrected
    for variable in (parent.mean, parent.sigma):
        assert result.ep.mean_field.mean[variable] == pytest.approx(
            result.mean_field.mean[variable], abs=0.05 * scale[variable]
        )
        assert result.ep.mean_field.scale[variable] == pytest.approx(scale[variable], rel=0.05)
    assert result.ep.log_evidence == pytest.approx(result.log_evidence, abs=0.02)


class Kind:
    def __init__(self, is_outlier=0):
        self.is_outlier = is_outlier


class Residual(fg.Analysis):
    def __init__(self, value):
        super().__init__()
        self.value = float(value)

    def log_likelihood_function(self, instance):
        sd = jnp.where(instance.is_outlier, 5.0, 1.0)
        return -0.5 * (self.value / sd) ** 2 - jnp.log(sd) - 0.5 * jnp.log(2 * jnp.pi)


def test_the_fraction_of_outliers():
    """Every dataset says q N(0, 5) + (1 - q) N(0, 1) of the fraction q, which no family makes exact."""
    values = [0.1, -0.5, 7.0, 0.3, 1.2, -9.0, 0.4]
    fraction, factors = fg.UniformPrior(0.0, 1.0), []
    parent = fg.HierarchicalFactor(fg.BernoulliPrior, probability=fraction)
    for value in values:
        model = fg.Model(Kind)
        parent.add_drawn_variable(model.is_outlier)
        factors.append(fg.AnalysisFactor(model, Residual(value)))
    result = fg.FactorGraphModel(*factors, parent, families={fraction: "beta"}).optimise(seed=0)
    q = (np.arange(10_000) + 0.5) / 10_000
    wide, narrow = (stats.norm(0, sd).pdf(values)[:, None] for sd in (5.0, 1.0))
    density = np.prod(q * wide + (1 - q) * narrow, axis=0)
    mean, evidence = np.sum(q * density) / np.sum(density), np.log(np.mean(density))
    assert result.converged
    assert result.ep.mean_field.mean[fraction] == pytest.approx(mean, abs=0.002)
    assert result.ep.log_evidence == pytest.approx(evidence, abs=0.02)
    assert result.mean_field.mean[fraction] == pytest.approx(mean, abs=1e-3)
    assert result.log_evidence == pytest.approx(evidence, abs=1e-3)


class Plain(fg.Analysis):
    """A Poisson count, for a likelihood that JAX cannot trace."""

    def __init__(self, count):
        super().__init__()
        self.count = float(count)

    def log_likelihood_function(self, instance):
        return self.count * math.log(instance.value) - float(instance.value)


def test_a_likelihood_that_is_called_plainly():
    variable = fg.GammaPrior(2.0, 3.0)
    result = one_unknown(variable, [Plain(3), Plain(5)], "gamma").optimise(seed=0)
    assert result.is_exact
    evidence = log_evidence_of_powers("gamma", (2.0, 1.0 / 3.0), [(8.0, 2.0, 0.0, 0.0)])
    assert result.log_evidence == pytest.approx(evidence, abs=1e-8)
    assert result.mean_field.mean[variable] == pytest.approx(10.0 / (2.0 + 1.0 / 3.0), rel=1e-8)


class Noisy(Source):
    def __init__(self, position, error=0.5):
        super().__init__(position)
        self.error = error


class Seen(fg.Analysis):
    def __init__(self, value):
        super().__init__()
        self.value = float(value)

    def log_likelihood_function(self, instance):
        z = (self.value - instance.position) / instance.error
        return -0.5 * z**2 - jnp.log(instance.error) - 0.5 * jnp.log(2 * jnp.pi)


def chain(family, num=24, errors=()):
    """A random walk whose unknown step all share: a field of positions, and a hub. Each of the ``errors`` is that of
    some consecutive epochs."""
    rng = np.random.default_rng(1)
    truth = np.cumsum(rng.normal(size=num))
    step, positions, factors = fg.HalfNormalPrior(3.0), [], []
    for k in range(num):
        model = fg.Model(Noisy)
        model.error = errors[k * len(errors) // num] if errors else 0.5
        positions.append(model.position)
        factors.append(fg.AnalysisFactor(model, Seen(truth[k] + 0.5 * rng.normal()), name=f"epoch {k}"))
    parents = [fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=5.0)]
    parents[0].add_drawn_variable(positions[0])
    for before, after in zip(positions[:-1], positions[1:], strict=True):
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=before, sigma=step))
        parents[-1].add_drawn_variable(after)
    return fg.FactorGraphModel(*factors, *parents, families=dict.fromkeys((step, *errors), family)), step


def test_the_step_of_a_chain():
    """What all share may have such messages, a few at most."""
    answers = []
    for family in ("softplus-normal", "gamma"):
        graph, step = chain(family)
        result = graph.optimise(seed=0)
        assert result.converged
        answers.append([result.mean_field.mean[step], result.mean_field.scale[step], result.log_evidence])
    np.testing.assert_allclose(answers[1], answers[0], rtol=0.02)
    graph, step = chain("gamma")
    alone = graph.optimise(seed=0, correct=False).mean_field
    assert alone.mean[step] == pytest.approx(answers[0][0], abs=0.1 * answers[0][1])
    assert alone.scale[step] == pytest.approx(answers[0][1], rel=0.1)
    assert np.all(alone.draws(step) > 0.0)
    graph, _ = chain("gamma", errors=[fg.GammaPrior(2.0, 0.25) for _ in range(8)])
    with pytest.raises(GraphError, match="9 variables .* one chain or grid"):
        graph.optimise(seed=0)
