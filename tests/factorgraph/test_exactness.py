"""On linear-Gaussian graphs expectation propagation is exact: means, covariances and evidence against least squares.

Every graph here is a product of statements ``coefficients . x ~ N(value, sd)``: priors, draws from a parent, and data. They are
collected beside the graph and solved at once by a QR decomposition, which gives the closed form to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from tests.cases.ladder import distance_ladder

RTOL = 1e-8


class Exact(NamedTuple):
    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


class Statements:
    """Rows ``coefficients . x ~ N(value, sd)``; unknowns are keyed by the graph's variables."""

    def __init__(self):
        self.columns = {}
        self.rows = []

    def add(self, coefficients, value, sd):
        for variable in coefficients:
            self.columns.setdefault(variable, len(self.columns))
        self.rows.append((coefficients, value, sd))

    def prior(self, variable):
        self.add({variable: 1.0}, variable.mean, variable.sigma)

    def solve(self) -> Exact:
        """The integral of prod_k N(a_k . x; y_k, s_k) over x, and the mean and covariance of x."""
        matrix = np.zeros((len(self.rows), len(self.columns)))
        right = np.zeros(len(self.rows))
        log_sds = 0.0
        for k, (coefficients, value, sd) in enumerate(self.rows):
            for variable, coefficient in coefficients.items():
                matrix[k, self.columns[variable]] += coefficient / sd
            right[k] = value / sd
            log_sds += np.log(sd)
        q, r = np.linalg.qr(matrix)
        mean = np.linalg.solve(r, q.T @ right)
        inverse = np.linalg.inv(r)
        residual = right - matrix @ mean
        log_evidence = (
            -0.5 * residual @ residual
            - log_sds
            - 0.5 * (len(matrix) - len(r)) * np.log(2.0 * np.pi)
            - np.sum(np.log(np.abs(np.diag(r))))
        )
        return Exact(mean, inverse @ inverse.T, log_evidence)


class Case(NamedTuple):
    factors: list
    statements: Statements


def assert_exact(result, statements, rtol=RTOL):
    """Means, sds, the shared variables' covariance and the evidence; what is near zero is measured against the sds."""
    exact = statements.solve()
    sd = np.sqrt(np.diag(exact.covariance))
    moments = result.mean_field
    variables, columns = list(statements.columns), list(statements.columns.values())
    mean = np.array([moments.mean[v] for v in variables])
    scale = np.array([moments.scale[v] for v in variables])
    assert np.max(np.abs(mean - exact.mean[columns]) / np.maximum(sd, np.abs(exact.mean))[columns]) < rtol
    np.testing.assert_allclose(scale, sd[columns], rtol=rtol)
    if len(result.variables) > 1:
        rows = [statements.columns[v] for v in result.variables]
        covariance = np.asarray(moments[tuple(result.variables)].covariance)
        error = (covariance - exact.covariance[np.ix_(rows, rows)]) / np.outer(sd[rows], sd[rows])
        assert np.max(np.abs(error)) < rtol
    assert result.log_evidence == pytest.approx(exact.log_evidence, rel=rtol)
    assert result.is_exact
    assert result.converged


# --- the parts ----------------------------------------------------------------------------------------------------------------


class Source:
    def __init__(self, position=0.0):
        self.position = position


class Reading(fg.Analysis):
    """y ~ N(position, error)."""

    def __init__(self, y, error):
        self.y = float(y)
        self.error = float(error)

    def log_likelihood_function(self, instance):
        return log_normal(self.y, instance.position, self.error)


class Step(fg.Analysis):
    """after - before ~ N(0, sd)."""

    def __init__(self, sd):
        self.sd = float(sd)

    def log_likelihood_function(self, instance):
        return log_normal(instance.after, instance.before, self.sd)


class Regression(fg.Analysis):
    """y ~ N(coefficients . parameters, error)."""

    def __init__(self, coefficients, y, error):
        self.coefficients = np.asarray(coefficients)
        self.y = float(y)
        self.error = float(error)

    def log_likelihood_function(self, instance):
        return log_normal(self.y, jnp.dot(self.coefficients, jnp.stack(list(instance))), self.error)


def log_normal(y, mean, sd):
    return -0.5 * ((y - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * jnp.log(2.0 * jnp.pi)


def read(statements, variable, y, error, **options):
    """A reading of ``variable``, as a factor and as a statement."""
    model = fg.Model(Source)
    model.position = variable
    statements.add({variable: 1.0}, y, error)
    return fg.AnalysisFactor(model, Reading(y, error), **options)


# --- the graphs ---------------------------------------------------------------------------------------------------------------


def shared_parameter(n, seed=0):
    """B2: N readings of one number."""
    y = np.random.default_rng(seed).normal(3.0, 1.0, n)
    statements, x = Statements(), fg.GaussianPrior(0.0, 10.0)
    statements.prior(x)
    return Case([read(statements, x, value, 1.0) for value in y], statements)


def regression(n, k, seed=1):
    """N readings that each see all of ``k`` shared parameters."""
    rng = np.random.default_rng(seed)
    statements, beta = Statements(), [fg.GaussianPrior(float(i % 3), 2.0) for i in range(k)]
    factors = []
    for b in beta:
        statements.prior(b)
    for _ in range(n):
        coefficients, error = rng.normal(size=k), rng.uniform(0.5, 2.0)
        y = coefficients @ rng.normal(size=k) + error * rng.normal()
        statements.add(dict(zip(beta, coefficients)), y, error)
        factors.append(fg.AnalysisFactor(fg.Collection(*beta), Regression(coefficients, y, error)))
    return Case(factors, statements)


def chain_of_steps(n, seed=2):
    """A random walk whose steps are AnalysisFactors over two variables."""
    rng = np.random.default_rng(seed)
    statements = Statements()
    x = [fg.GaussianPrior(0.0, 10.0) for _ in range(n)]
    factors = []
    for variable, y in zip(x, np.cumsum(rng.normal(size=n))):
        statements.prior(variable)
        factors.append(read(statements, variable, y + rng.normal(), 1.0))
    for before, after in zip(x, x[1:]):
        statements.add({after: 1.0, before: -1.0}, 0.0, 0.7)
        factors.append(fg.AnalysisFactor(fg.Collection(before=before, after=after), Step(0.7)))
    return Case(factors, statements)


def chain_of_draws(y, start_sd=np.sqrt(10.0), step_sd=np.sqrt(0.5)):
    """The same as a population of one each: x_t is drawn from a parent whose mean is x_(t-1)."""
    statements, x = Statements(), [fg.GaussianPrior(0.0, start_sd)]
    statements.prior(x[0])
    parents, factors = [], []
    for t, value in enumerate(y):
        model = fg.Model(Source)
        if t == 0:
            model.position = x[0]
        else:
            parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=x[-1], sigma=float(step_sd)))
            parents[-1].add_drawn_variable(model.position)
            statements.add({model.position: 1.0, x[-1]: -1.0}, 0.0, step_sd)
            x.append(model.position)
        statements.add({x[-1]: 1.0}, value, 1.0)
        factors.append(fg.AnalysisFactor(model, Reading(value, 1.0)))
    return Case(factors + parents, statements)


def tree(n, seed=3):
    """N readings in groups of up to ten, the groups drawn from one root; the leaves are integrated analytically."""
    rng = np.random.default_rng(seed)
    statements, root = Statements(), fg.GaussianPrior(5.0, 3.0)
    statements.prior(root)
    trunk = fg.HierarchicalFactor(fg.GaussianPrior, mean=root, sigma=2.0)
    branches, factors = [], []
    for start in range(0, n, 10):
        group = fg.GaussianPrior(0.0, 1.0)  # replaced: it is drawn
        trunk.add_drawn_variable(group)
        statements.add({group: 1.0, root: -1.0}, 0.0, 2.0)
        branch = fg.HierarchicalFactor(fg.GaussianPrior, mean=group, sigma=1.5)
        branches.append(branch)
        for _ in range(start, min(start + 10, n)):
            model, error, y = fg.Model(Source), rng.uniform(0.5, 2.0), rng.normal(5.0, 3.0)
            branch.add_drawn_variable(model.position)
            statements.add({model.position: 1.0, group: -1.0}, 0.0, 1.5)
            statements.add({model.position: 1.0}, y, error)
            factors.append(fg.AnalysisFactor(model, Reading(y, error)))
    return Case([*factors, *branches, trunk], statements)


# --- tests --------------------------------------------------------------------------------------------------------------------


def random_walk(n):
    return np.cumsum(np.random.default_rng(0).normal(size=n))


SLOW = pytest.mark.slow
GRAPHS = [
    *(pytest.param(shared_parameter, (n,), id=f"shared parameter {n}") for n in (1, 3, 30, 1000)),
    pytest.param(regression, (3, 4), id="four shared parameters, 3"),
    pytest.param(regression, (1, 20), id="twenty shared parameters, 1", marks=SLOW),
    pytest.param(regression, (3, 20), id="twenty shared parameters, 3", marks=SLOW),
    pytest.param(regression, (30, 20), id="twenty shared parameters, 30"),
    pytest.param(regression, (1000, 20), id="twenty shared parameters, 1000", marks=SLOW),
    *(pytest.param(chain_of_steps, (n,), id=f"chain of factors {n}") for n in (1, 3, 30)),
    pytest.param(chain_of_steps, (1000,), id="chain of factors 1000", marks=SLOW),
    *(pytest.param(lambda n: chain_of_draws(random_walk(n)), (n,), id=f"chain of draws {n}") for n in (1, 3, 30)),
    pytest.param(lambda n: chain_of_draws(random_walk(n)), (1000,), id="chain of draws 1000", marks=SLOW),
    *(pytest.param(tree, (n,), id=f"tree {n}") for n in (1, 3, 30, 1000)),
]


@pytest.mark.parametrize(("graph", "arguments"), GRAPHS)
def test_closed_form(graph: Callable[..., Case], arguments):
    case = graph(*arguments)
    assert_exact(fg.FactorGraphModel(*case.factors).optimise(), case.statements)


SMALL = [
    pytest.param(lambda: shared_parameter(30), id="shared parameter"),
    pytest.param(lambda: regression(3, 4), id="four shared parameters"),
    pytest.param(lambda: chain_of_steps(30), id="chain of factors"),
    pytest.param(lambda: chain_of_draws(random_walk(30)), id="chain of draws"),
    pytest.param(lambda: tree(30), id="tree"),
]


@pytest.mark.parametrize("graph", SMALL)
def test_order_and_names_change_nothing(graph):
    case = graph()
    factors = [case.factors[i] for i in np.random.default_rng(1).permutation(len(case.factors))]
    for number, factor in enumerate(factors):
        factor.name = f"z{(7919 * number) % 1009}"
    assert_exact(fg.FactorGraphModel(*factors).optimise(), case.statements)


@pytest.mark.parametrize("graph", SMALL)
def test_further_sweeps_change_nothing(graph):
    case = graph()
    result = fg.FactorGraphModel(*case.factors).optimise(min_steps=200, max_steps=300)
    assert result.ep.num_steps >= 200
    assert_exact(result, case.statements, rtol=1e-6)


@pytest.mark.parametrize("num", [5, 100, 200])
def test_evidence_of_a_shared_mean(num):
    """ep.md B2: log Z = -N/2 log 2 pi - log(1 + 100 N)/2 - (sum y^2 - (sum y)^2/(N + 0.01))/2."""
    y = np.random.default_rng(0).normal(3.0, 1.0, num)
    x = fg.GaussianPrior(0.0, 10.0)
    result = fg.FactorGraphModel(*(read(Statements(), x, value, 1.0) for value in y)).optimise()
    squares = np.sum(y**2) - np.sum(y) ** 2 / (num + 0.01)
    log_evidence = -0.5 * num * np.log(2 * np.pi) - 0.5 * np.log(1 + 100 * num) - 0.5 * squares
    assert result.log_evidence == pytest.approx(log_evidence, rel=RTOL)
    assert result.mean_field.mean[x] == pytest.approx(np.sum(y) / (num + 0.01), rel=RTOL)
    assert result.mean_field.variance[x] == pytest.approx(1.0 / (num + 0.01), rel=RTOL)


def kalman_smoother(y, start_variance, step_variance):
    """Rauch-Tung-Striebel means and variances, and log Z, for unit noise; an algorithm that is not least squares."""
    filtered, log_evidence = [], 0.0
    mean, variance = 0.0, start_variance
    for value in y:
        total = variance + 1.0
        log_evidence += -0.5 * ((value - mean) ** 2 / total + np.log(2 * np.pi * total))
        mean, variance = mean + variance / total * (value - mean), variance / total
        filtered.append((mean, variance))
        variance = variance + step_variance
    smoothed = [filtered[-1]]
    for mean, variance in filtered[-2::-1]:
        gain = variance / (variance + step_variance)
        later_mean, later_variance = smoothed[0]
        later = variance + gain**2 * (later_variance - variance - step_variance)
        smoothed.insert(0, (mean + gain * (later_mean - mean), later))
    return np.array(smoothed), log_evidence


def test_kalman_smoother():
    """ep.md B3."""
    y = np.arange(1.0, 6.0)
    smoothed, log_evidence = kalman_smoother(y, 10.0, 0.5)
    case = chain_of_draws(y)
    result = fg.FactorGraphModel(*case.factors).optimise()
    x = list(case.statements.columns)
    np.testing.assert_allclose([result.mean_field.mean[v] for v in x], smoothed[:, 0], rtol=RTOL)
    np.testing.assert_allclose([result.mean_field.variance[v] for v in x], smoothed[:, 1], rtol=RTOL)
    assert result.log_evidence == pytest.approx(log_evidence, rel=RTOL)


class Energy(fg.Analysis):
    """log L = linear x - curvature x^2 / 2."""

    def __init__(self, linear, curvature):
        self.linear = float(linear)
        self.curvature = float(curvature)

    def log_likelihood_function(self, instance):
        return self.linear * instance.position - 0.5 * self.curvature * instance.position**2


class Coupling(fg.Analysis):
    """log L = -strength before after: a factor that is no density in either variable."""

    def __init__(self, strength):
        self.strength = float(strength)

    def log_likelihood_function(self, instance):
        return -self.strength * instance.before * instance.after


def test_tree_of_indefinite_couplings():
    """ep.md B4: precision J and linear term h by nodes and edges; the edges alone are improper."""
    precision = np.array([[2.0, -1, 0, 0], [-1, 2, -1, -0.5], [0, -1, 2, 0], [0, -0.5, 0, 1]])
    linear = np.arange(1.0, 5.0)
    x = [fg.GaussianPrior(0.0, 1.0) for _ in linear]
    factors = []
    for i, variable in enumerate(x):
        model = fg.Model(Source)
        model.position = variable
        factors.append(fg.AnalysisFactor(model, Energy(linear[i], precision[i, i] - 1.0)))  # one comes from the prior
    for i, j in ((0, 1), (1, 2), (1, 3)):
        factors.append(fg.AnalysisFactor(fg.Collection(before=x[i], after=x[j]), Coupling(precision[i, j])))
    result = fg.FactorGraphModel(*factors).optimise()
    mean = np.linalg.solve(precision, linear)
    np.testing.assert_allclose(mean, [4.5, 8, 5.5, 8], rtol=1e-12)
    np.testing.assert_allclose([result.mean_field.mean[v] for v in x], mean, rtol=RTOL)
    covariance = np.asarray(result.mean_field[tuple(x)].covariance)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=RTOL)
    log_evidence = 0.5 * linear @ mean - 0.5 * np.linalg.slogdet(precision)[1]
    assert result.log_evidence == pytest.approx(log_evidence, rel=RTOL)


def test_nothing_shared():
    """Datasets that share nothing: each alone, and the evidences add."""
    statements, factors = Statements(), []
    for i, y in enumerate((1.0, -4.0, 9.0)):
        x = fg.GaussianPrior(float(i), 2.0)
        statements.prior(x)
        factors.append(read(statements, x, y, 0.5 + i))
    result = fg.FactorGraphModel(*factors).optimise()
    assert result.variables == ()
    assert_exact(result, statements)


class Ignored:
    def __init__(self, position=0.0, unused=0.0):
        self.position = position
        self.unused = unused


def test_an_ignored_parameter_keeps_its_prior():
    shared, factors, models = fg.GaussianPrior(-3.0, 4.0), [], []
    for y in (1.0, 2.0):
        model = fg.Model(Ignored, position=fg.GaussianPrior(0.0, 1.0))
        model.unused = shared if y == 1.0 else fg.GaussianPrior(7.0, 0.5)
        models.append(model)
        factors.append(fg.AnalysisFactor(model, Reading(y, 1.0)))
    moments = fg.FactorGraphModel(*factors).optimise().mean_field
    for variable, mean, sd in ((shared, -3.0, 4.0), (models[1].unused, 7.0, 0.5)):
        assert moments.mean[variable] == pytest.approx(mean, rel=RTOL)
        assert moments.scale[variable] == pytest.approx(sd, rel=RTOL)
    for model, y in zip(models, (1.0, 2.0)):
        assert moments.mean[model.position] == pytest.approx(0.5 * y, rel=RTOL)


class Both(fg.Analysis):
    """Two readings in one dataset."""

    def __init__(self, y, error):
        self.y = np.asarray(y)
        self.error = np.asarray(error)

    def log_likelihood_function(self, instance):
        return jnp.sum(log_normal(self.y, instance.position, self.error))


@pytest.mark.parametrize("is_drawn", [False, True])
def test_a_flat_private_prior_leaves_no_evidence(is_drawn):
    """Unless a parent takes its place: then log Z is that of y ~ N(1, sqrt(2^2 + 0.5^2))."""
    model = fg.Model(Source, position=fg.FlatPrior())
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=1.0, sigma=2.0)
    if is_drawn:
        parent.add_drawn_variable(model.position)
    factors = [fg.AnalysisFactor(model, Reading(3.0, 0.5)), *([parent] if is_drawn else [])]
    result = fg.FactorGraphModel(*factors).optimise()
    if is_drawn:
        assert result.log_evidence == pytest.approx(float(log_normal(3.0, 1.0, np.sqrt(4.25))), rel=1e-6)
    else:
        assert np.isnan(result.log_evidence)
        assert "private" in result.log_evidence_note
        assert result.mean_field.mean[model.position] == pytest.approx(3.0)


def test_splitting_a_dataset_changes_nothing():
    y, error = [1.3, 0.2, 4.1, 2.2], [1.0, 0.5, 2.0, 0.7]
    whole, x = Statements(), fg.GaussianPrior(0.0, 3.0)
    whole.prior(x)
    split = [read(whole, x, *pair) for pair in zip(y, error)]
    model = fg.Model(Source)
    model.position = x
    joined = [fg.AnalysisFactor(model, Both(y[:2], error[:2])), fg.AnalysisFactor(model, Both(y[2:], error[2:]))]
    for factors in (split, joined):
        assert_exact(fg.FactorGraphModel(*factors).optimise(), whole)


def test_a_plate_is_its_factors():
    """k factors in one plate, and the same in k plates (each of a class of its own)."""
    y = [3.0, -1.0, 2.5]
    classes = [type(f"Reading{i}", (Reading,), {}) for i in range(len(y))]
    statements, x = Statements(), fg.GaussianPrior(0.0, 3.0)
    statements.prior(x)
    stacked = [read(statements, x, value, 1.0) for value in y]
    model = fg.Model(Source)
    model.position = x
    single = [fg.AnalysisFactor(model, cls(value, 1.0)) for cls, value in zip(classes, y)]
    for factors, sizes in ((stacked, [3]), (single, [1, 1, 1])):
        graph = fg.FactorGraphModel(*factors)
        assert [plate.size for plate in graph.plates] == sizes
        assert_exact(graph.optimise(), statements)


def test_sh0es_2022(shared):
    """46 unknowns with flat priors; the host distances are read by one factor each and integrated analytically."""
    folder = shared / "data" / "sh0es2022"
    factors, unknowns = distance_ladder(folder)
    result = fg.FactorGraphModel(*factors).optimise()
    reference = json.loads((folder / "reference.json").read_text())["A_diagonal"]["parameters"]
    assert set(reference) == set(unknowns)
    for name, variable in unknowns.items():
        sd = reference[name]["sd"]
        assert abs(result.mean_field.mean[variable] - reference[name]["mean"]) < 1e-6 * sd, name
        assert result.mean_field.scale[variable] == pytest.approx(sd, rel=1e-6), name
    assert result.is_exact
    assert np.isnan(result.log_evidence)
