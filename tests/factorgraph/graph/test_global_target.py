"""A graph as one target: whitening, non-centred draws, the summed log likelihood, and what is compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

import factorgraph as fg
from factorgraph.graph.global_target import global_variables, target_of
from searches.errors import TargetError
from searches.target import standard_normal_log_density

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


class Line:
    def __init__(self, level, slope):
        self.level = level
        self.slope = slope


class Points(fg.Analysis):
    """Gaussian data around a line."""

    def __init__(self, y, noise=1.0):
        self.y = y
        self.noise = noise
        self.x = np.linspace(-1.0, 1.0, len(y))

    def log_likelihood_function(self, line):
        residual = (self.y - line.level - line.slope * self.x) / self.noise
        return jnp.sum(-0.5 * residual**2 - jnp.log(self.noise) - LOG_SQRT_2PI)


class PlainPoints(Points):
    """The same, but it cannot be traced."""

    def log_likelihood_function(self, line):
        residual = (self.y - float(line.level) - float(line.slope) * self.x) / self.noise
        return float(np.sum(-0.5 * residual**2 - np.log(self.noise) - LOG_SQRT_2PI))


def survey(size, *, analysis=Points, plain_from=None, seed=0):
    """Levels drawn from a parent, slopes of their own, one shared calibration in the model of every third dataset."""
    rng = np.random.default_rng(seed)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(1.0, 2.0), sigma=fg.HalfCauchyPrior(1.0))
    shared_slope = fg.UniformPrior(-1.0, 1.0)
    factors = []
    for i in range(size):
        model = fg.Model(Line)
        model.slope = shared_slope if i % 3 == 2 else fg.TruncatedGaussianPrior(0.0, 1.0, -2.0, 1.0 + i)
        parent.add_drawn_variable(model.level)
        cls = PlainPoints if plain_from is not None and i >= plain_from else analysis
        factors.append(fg.AnalysisFactor(model, cls(rng.normal(size=5), noise=1.0 + 0.1 * i)))
    return fg.FactorGraphModel(*factors, parent), parent


def random_x(target, seed=1):
    return np.random.default_rng(seed).normal(size=target.num_parameters)


def log_likelihood_at(target, x):
    return target.log_likelihoods(x[None])[0]


@pytest.mark.parametrize(
    ("prior", "exact"),
    [
        (fg.GaussianPrior(1.0, 2.0), stats.norm(1.0, 2.0)),
        (fg.UniformPrior(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
        (fg.LogUniformPrior(0.1, 100.0), stats.loguniform(0.1, 100.0)),
        (fg.TruncatedGaussianPrior(0.0, 1.0, 0.5, 2.0), stats.truncnorm(0.5, 2.0)),
        (fg.HalfCauchyPrior(2.0), stats.halfcauchy(scale=2.0)),
        (fg.StudentTPrior(3.0, 1.0, 2.0), stats.t(3.0, 1.0, 2.0)),
        (fg.GammaPrior(2.0, 0.5), stats.gamma(2.0, scale=0.5)),
    ],
)
def test_every_prior_is_whitened(prior, exact):
    graph = fg.FactorGraphModel(fg.AnalysisFactor(fg.Model(Line, level=prior, slope=0.0), Points(np.zeros(3))))
    target, x = target_of(graph), np.linspace(-3.0, 3.0, 7)[:, None]
    np.testing.assert_allclose(target.to_parameters(x)[:, 0], exact.ppf(ndtr(x[:, 0])), rtol=1e-8)
    assert target.proper_prior
    assert target.log_prior is standard_normal_log_density


def test_draws_are_not_centred_and_parents_come_first():
    graph, parent = survey(4)
    target = target_of(graph)
    column = {variable: i for i, variable in enumerate(global_variables(graph))}
    x = random_x(target)
    theta = target.to_parameters(x[None])[0]
    mean = 1.0 + 2.0 * x[column[parent.mean]]
    sigma = stats.halfcauchy.ppf(ndtr(x[column[parent.sigma]]))
    np.testing.assert_allclose(theta[column[parent.sigma]], sigma, rtol=1e-10)
    for factor in graph.factors:
        level = column[factor.prior_model.level]
        np.testing.assert_allclose(theta[level], mean + sigma * x[level], rtol=1e-10)


@pytest.mark.parametrize("plain_from", [None, 3, 0])
def test_the_sum_is_that_of_the_datasets(plain_from):
    graph, _ = survey(7, plain_from=plain_from)
    target = target_of(graph)
    assert target.is_jax == (plain_from is None)
    x = random_x(target)
    instance = graph.global_prior_model.instance_from_vector(target.to_parameters(x[None])[0])
    with jax.enable_x64(True):
        expected = float(graph.log_likelihood_function(instance))
    np.testing.assert_allclose(log_likelihood_at(target, x), expected, rtol=1e-12)


def test_parameters_are_in_the_order_of_the_global_model_and_have_names_of_their_own():
    graph, _ = survey(3)
    assert global_variables(graph) == graph.global_prior_model.variables
    names = target_of(graph).names
    assert len(set(names)) == len(names)
    assert names[:2] == ("dataset_0.level", "dataset_0.slope")


def test_a_relation_of_the_dataset_may_be_the_mean_of_its_parent():
    a, b, scatter = fg.GaussianPrior(0.0, 1.0), fg.GaussianPrior(0.0, 1.0), fg.UniformPrior(0.0, 2.0)
    factors, parents, covariate = [], [], (0.5, 1.5, 4.0)
    for number in covariate:
        model = fg.Model(Line, slope=0.0)
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=a + b * number, sigma=scatter))
        parents[-1].add_drawn_variable(model.level)
        factors.append(fg.AnalysisFactor(model, Points(np.zeros(3))))
    graph = fg.FactorGraphModel(*factors, *parents)
    target, variables = target_of(graph), global_variables(graph)
    x = random_x(target)
    value = dict(zip(variables, target.to_parameters(x[None])[0], strict=True))
    z = dict(zip(variables, x, strict=True))
    for factor, number in zip(factors, covariate, strict=True):
        level = factor.prior_model.level
        expected = value[a] + value[b] * number + value[scatter] * z[level]
        np.testing.assert_allclose(value[level], expected, rtol=1e-10)
    assert len(target.log_likelihood.program.generations[1]) == 1  # parents that differ in a number are one group


def chain(length):
    step = fg.UniformPrior(0.1, 2.0)
    level = fg.GaussianPrior(0.0, 1.0)
    factors, parents = [], []
    for _ in range(length):
        model = fg.Model(Line, level=level, slope=0.0)
        factors.append(fg.AnalysisFactor(model, Points(np.ones(3))))
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=level, sigma=step))
        level = fg.Variable()
        parents[-1].add_drawn_variable(level)
    factors.append(fg.AnalysisFactor(fg.Model(Line, level=level, slope=0.0), Points(np.ones(3))))
    return fg.FactorGraphModel(*factors, *parents), step


@pytest.mark.parametrize("length", [3, 12])
def test_a_chain_of_draws_is_followed_however_long(length):
    graph, step = chain(length)
    target, variables = target_of(graph), global_variables(graph)
    assert bool(target.log_likelihood.program.scanned) == (length > 8)
    x = random_x(target)
    value = dict(zip(variables, target.to_parameters(x[None])[0], strict=True))
    levels = [factor.prior_model.level for factor in graph.factors]
    walk = np.cumsum([x[variables.index(v)] * (1.0 if i == 0 else value[step]) for i, v in enumerate(levels)])
    np.testing.assert_allclose([value[v] for v in levels], walk, rtol=1e-10)
    expected = sum(stats.norm.logpdf(1.0, level, 1.0) * 3 for level in walk)
    np.testing.assert_allclose(log_likelihood_at(target, x), expected, rtol=1e-10)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(target.log_likelihood))(x, target.data)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("analysis", [Points, PlainPoints])
def test_where_an_assertion_fails_the_log_likelihood_is_minus_infinity(analysis):
    model = fg.Model(Line, level=fg.GaussianPrior(0.0, 1.0), slope=fg.GaussianPrior(0.0, 1.0))
    model.add_assertion(model.level > model.slope)
    target = target_of(fg.FactorGraphModel(fg.AnalysisFactor(model, analysis(np.zeros(3)))))
    np.testing.assert_array_equal(
        np.isfinite(target.log_likelihoods(np.array([[1.0, 0.0], [0.0, 1.0]]))), [True, False]
    )


def test_a_flat_prior_has_no_unit_cube_but_a_density():
    model = fg.Model(Line, level=fg.FlatPrior(), slope=fg.FlatPrior(lower_limit=2.0))
    model_2 = fg.Model(Line, level=fg.GaussianPrior(0.0, 1.0), slope=0.0)
    factors = [fg.AnalysisFactor(m, Points(np.zeros(3))) for m in (model, model_2)]
    target = target_of(fg.FactorGraphModel(*factors))
    assert not target.proper_prior
    x = random_x(target)
    theta = target.to_parameters(x[None])[0]
    assert theta[0] == x[0]
    slope = 2.0 + np.logaddexp(0.0, x[1])
    np.testing.assert_allclose(theta[1], slope, rtol=1e-12)
    log_jacobian = -np.logaddexp(0.0, -x[1])
    np.testing.assert_allclose(target.log_priors(x[None])[0], log_jacobian + stats.norm.logpdf(x[2]), rtol=1e-10)
    with pytest.raises(TargetError, match="FlatPrior"):
        fg.DynestyStatic(nlive=20).explore(target, seed=0)


def test_variables_drawn_in_a_circle_are_refused():
    first, second = fg.Variable("first"), fg.Variable("second")
    parents = [fg.HierarchicalFactor(fg.GaussianPrior, mean=mean, sigma=1.0) for mean in (first, second)]
    parents[0].add_drawn_variable(second)
    parents[1].add_drawn_variable(first)
    factors = [fg.AnalysisFactor(fg.Model(Line, level=v, slope=0.0), Points(np.zeros(3))) for v in (first, second)]
    with pytest.raises(fg.GraphError, match="circle"):
        target_of(fg.FactorGraphModel(*factors, *parents))


def test_compilations_do_not_depend_on_the_number_of_datasets(count_compilations):
    counts = []
    for size in (6, 48):
        with count_compilations() as seen:
            target = target_of(survey(size)[0])
            target.guard()(random_x(target))
        counts.append(seen.count)
    assert counts[0] == counts[1] <= 2
    with count_compilations() as seen:
        again = target_of(survey(48, seed=5)[0])
        again.guard()(random_x(again))
    assert seen.count == 0


def test_what_is_traced_does_not_grow_with_the_number_of_datasets():
    lengths = []
    for size in (30, 120):  # the fewest irregular positions are still a few slices
        target = target_of(survey(size)[0])
        with jax.enable_x64(True):
            lengths.append(str(jax.make_jaxpr(target.log_likelihood)(random_x(target), target.data)).count("\n"))
    assert lengths[0] == lengths[1]
