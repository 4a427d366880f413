"""Several variables of each dataset drawn together: means, scatters and correlations against the exact posterior."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

import factorgraph as fg
from factorgraph.errors import GraphError, PriorError, UnknownArgument


class Line:
    def __init__(self, slope=0.0, intercept=0.0):
        self.slope = slope
        self.intercept = intercept


class Profile:
    def __init__(self, a=0.0, b=0.0, c=0.0):
        self.a = a
        self.b = b
        self.c = c


class Measured(fg.Analysis):
    """Every variable is measured with an error of its own."""

    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        total = 0.0
        for k, value in enumerate(vars(instance).values()):
            total = total - 0.5 * ((self.y[k] - value) / self.error[k]) ** 2
            total = total - 0.5 * jnp.log(2.0 * jnp.pi * self.error[k] ** 2)
        return total


def simulated(num, mean, scale, correlation, seed):
    random = np.random.default_rng(seed)
    covariance = np.outer(scale, scale) * correlation
    errors = random.uniform(0.3, 1.0, (num, len(mean)))
    z = random.multivariate_normal(mean, covariance, num)
    return z + errors * random.standard_normal(z.shape), errors


def population(model_class, y, errors, **correlation):
    names = list(vars(model_class()))
    means = tuple(fg.GaussianPrior(0.0, 5.0) for _ in names)
    scales = tuple(fg.HalfNormalPrior(3.0) for _ in names)
    parent = fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=means, scale=scales, **correlation)
    factors = []
    for value, error in zip(y, errors):
        model = fg.Model(model_class)
        parent.add_drawn_variable(tuple(getattr(model, name) for name in names))
        factors.append(fg.AnalysisFactor(model, Measured(value, error)))
    return fg.FactorGraphModel(*factors, parent), parent


def exact(y, errors, concentration=1.0):
    """Means, sds and log evidence of (means, scales, correlations) by long importance sampling of the marginal
    likelihood, of which z is integrated out in closed form; unknowns are (mean, log scale, arctanh partial)."""
    d = y.shape[1]
    pairs = [(i, j) for i in range(d) for j in range(i)]

    def unpack(x):
        mean, scale, partial = x[:, :d], np.exp(x[:, d : 2 * d]), np.tanh(x[:, 2 * d :])
        factor = np.zeros((len(x), d, d))
        factor[:, 0, 0] = 1.0
        for i in range(1, d):
            left = np.ones(len(x))
            for j in range(i):
                p = partial[:, pairs.index((i, j))]
                factor[:, i, j] = p * np.sqrt(left)
                left = left * (1.0 - p**2)
            factor[:, i, i] = np.sqrt(left)
        return mean, scale, partial, factor @ np.swapaxes(factor, 1, 2)

    def log_joint(x):
        mean, scale, partial, correlation = unpack(x)
        total = np.sum(stats.norm.logpdf(mean, 0.0, 5.0), axis=1)
        total += np.sum(stats.halfnorm.logpdf(scale, scale=3.0) + np.log(scale), axis=1)
        for k, (_, j) in enumerate(pairs):
            b = concentration + 0.5 * (d - 2 - j)
            total += (
                stats.beta.logpdf(0.5 * (1.0 + partial[:, k]), b, b) - np.log(2.0) + np.log1p(-(partial[:, k] ** 2))
            )
        covariance = scale[:, :, None] * scale[:, None, :] * correlation
        for value, error in zip(y, errors):
            whole = covariance + np.diag(error**2)
            factor = np.linalg.cholesky(whole)
            white = np.linalg.solve(factor, (value - mean)[..., None])[..., 0]
            total -= 0.5 * np.sum(white**2, axis=1) + 0.5 * d * np.log(2.0 * np.pi)
            total -= np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2)), axis=1)
        return total

    start = np.concatenate([y.mean(axis=0), np.log(y.std(axis=0)), np.zeros(len(pairs))])
    mode = optimize.minimize(lambda x: -log_joint(x[None])[0], start, method="BFGS")
    proposal = stats.multivariate_t(mode.x, 1.3 * mode.hess_inv, df=6, seed=3)
    x = proposal.rvs(60_000)
    log_weight = log_joint(x) - proposal.logpdf(x)
    weight = np.exp(log_weight - special.logsumexp(log_weight))
    mean, scale, _, correlation = unpack(x)
    values = np.concatenate([mean, scale, *(correlation[:, i, j][:, None] for i, j in pairs)], axis=1)
    centre = weight @ values
    return centre, np.sqrt(weight @ (values - centre) ** 2), special.logsumexp(log_weight) - np.log(len(x))


def assert_agrees(result, parent, known, shift, spread, evidence):
    centre, sd, log_evidence = known
    d = len(parent.mean)
    asked = [*parent.mean, *parent.scale]
    mean = [result.mean_field.mean[v] for v in asked]
    scale = [result.mean_field.scale[v] for v in asked]
    correlation = result.correlation(parent)
    mean += [correlation.mean[i, j] for i in range(d) for j in range(i)]
    scale += [correlation.scale[i, j] for i in range(d) for j in range(i)]
    np.testing.assert_array_less(np.abs(np.array(mean) - centre) / sd, shift)
    np.testing.assert_array_less(np.abs(np.array(scale) / sd - 1.0), spread)
    assert abs(result.log_evidence - log_evidence) < evidence


def test_slopes_and_intercepts():
    y, errors = simulated(30, [1.0, -2.0], [1.0, 2.0], np.array([[1.0, 0.6], [0.6, 1.0]]), seed=1)
    graph, parent = population(Line, y, errors, correlation=fg.LKJPrior(2.0))
    result = graph.optimise(seed=0)
    assert result.is_corrected
    assert_agrees(result, parent, exact(y, errors, 2.0), shift=0.1, spread=0.07, evidence=0.1)
    correlation = result.correlation(parent)
    np.testing.assert_array_equal(np.diag(correlation.mean), [1.0, 1.0])
    np.testing.assert_array_equal(np.diag(correlation.scale), [0.0, 0.0])
    assert parent.correlation[0, 1] is parent.correlation[1, 0]
    assert result.names[parent.correlation.partial[1, 0]] == "parent.correlation.0_1"


def test_a_known_correlation():
    """One minus the squared correlation is what the first variable leaves of the second one's variance."""
    known = np.array([[1.0, -0.8], [-0.8, 1.0]])
    y, errors = simulated(20, [0.0, 0.0], [1.0, 1.0], known, seed=2)
    parent = fg.HierarchicalFactor(
        fg.MultivariateNormalPrior,
        mean=(fg.GaussianPrior(0.0, 5.0), fg.GaussianPrior(0.0, 5.0)),
        scale=(1.0, 1.0),
        correlation=known,
    )
    factors = []
    for value, error in zip(y, errors):
        model = fg.Model(Line)
        parent.add_drawn_variable((model.slope, model.intercept))
        factors.append(fg.AnalysisFactor(model, Measured(value, error)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    precision, h, log_evidence = np.eye(2) / 25.0, np.zeros(2), -np.log(25.0)
    for value, error in zip(y, errors):
        inverse = np.linalg.inv(known + np.diag(error**2))
        precision, h = precision + inverse, h + inverse @ value
        log_evidence += 0.5 * np.linalg.slogdet(inverse)[1] - np.log(2.0 * np.pi) - 0.5 * value @ inverse @ value
    covariance = np.linalg.inv(precision)
    log_evidence += 0.5 * h @ covariance @ h + 0.5 * np.linalg.slogdet(covariance)[1]
    assert result.is_exact
    np.testing.assert_allclose([result.mean_field.mean[v] for v in parent.mean], covariance @ h, rtol=1e-6)
    np.testing.assert_allclose([result.mean_field.variance[v] for v in parent.mean], np.diag(covariance), rtol=1e-6)
    assert result.log_evidence == pytest.approx(log_evidence, abs=1e-6)


@pytest.mark.slow
def test_three_variables():
    correlation = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 1.0]])
    y, errors = simulated(40, [0.0, 1.0, 2.0], [1.0, 1.5, 0.8], correlation, seed=4)
    graph, parent = population(Profile, y, errors)
    assert_agrees(graph.optimise(seed=0), parent, exact(y, errors), shift=0.1, spread=0.07, evidence=0.15)


@pytest.mark.slow
def test_a_search_over_everything_agrees():
    y, errors = simulated(6, [1.0, -2.0], [1.0, 2.0], np.array([[1.0, 0.6], [0.6, 1.0]]), seed=5)
    graph, parent = population(Line, y, errors, correlation=fg.LKJPrior(1.0))
    centre, sd, log_evidence = exact(y, errors)
    contracted = graph.contracted
    result = fg.SMC(num_particles=4000).fit(model=contracted.global_prior_model, analysis=contracted, seed=0)
    draws = np.array([result.mean_field.mean[v] for v in (*parent.mean, *parent.scale)])
    np.testing.assert_array_less(np.abs(draws - centre[:4]) / sd[:4], 0.12)
    assert abs(result.log_evidence - log_evidence) < 0.25


def test_misuse_is_told():
    prior = fg.GaussianPrior(0.0, 1.0)
    with pytest.raises(PriorError, match="as many of each"):
        fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=(prior,), scale=(1.0,))
    with pytest.raises(PriorError, match="greater than 0"):
        fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=(prior, 0.0), scale=(1.0, 0.0))
    with pytest.raises(PriorError, match="not positive definite"):
        fg.HierarchicalFactor(
            fg.MultivariateNormalPrior, mean=(prior, 0.0), scale=(1.0, 1.0), correlation=[[1.0, 1.0], [1.0, 1.0]]
        )
    with pytest.raises(PriorError, match="need \\(2, 2\\)"):
        fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=(prior, 0.0), scale=(1.0, 1.0), correlation=np.eye(3))
    with pytest.raises(PriorError, match="LKJPrior: concentration"):
        fg.LKJPrior(0.0)
    with pytest.raises(UnknownArgument, match="sigma"):
        fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=(prior, 0.0), scale=(1.0, 1.0), sigma=1.0)
    parent = fg.HierarchicalFactor(fg.MultivariateNormalPrior, mean=(prior, 0.0), scale=(1.0, 1.0))
    model = fg.Model(Line)
    with pytest.raises(GraphError, match="pass them as a tuple"):
        parent.add_drawn_variable(model.slope)
    with pytest.raises(GraphError, match="different"):
        parent.add_drawn_variable((model.slope, model.slope))
    parent.add_drawn_variable((model.slope, model.intercept))
    with pytest.raises(GraphError, match="already"):
        parent.add_drawn_variable((model.slope, model.intercept))
