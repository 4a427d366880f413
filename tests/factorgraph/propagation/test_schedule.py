"""Every schedule has the same fixed points; where sweeps do not settle, the double loop does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError
from factorgraph.propagation import double_loop, parallel
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.preparation import prepare
from factorgraph.propagation.schedule import SCHEDULES, run
from factorgraph.propagation.sweep import initial_state, propose, residual_of, take_step

SETTINGS = {"max_steps": 300, "min_steps": 0, "tolerance": 1e-8, "damping": 1.0}


class Star:
    def __init__(self, rate):
        self.rate = rate


class Counts(fg.Analysis):
    def __init__(self, number):
        super().__init__()
        self.number = float(number)

    def log_likelihood_function(self, instance):
        return self.number * instance.rate - jnp.exp(instance.rate)


def survey(num=40):
    """Counts of ``num`` stars of one population, by which no site is exact."""
    random = np.random.default_rng(3)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.HalfCauchyPrior(1.0))
    factors = []
    for _ in range(num):
        model = fg.Model(Star)
        parent.add_drawn_variable(model.rate)
        factors.append(fg.AnalysisFactor(model, Counts(random.poisson(np.exp(1.0 + 0.5 * random.normal())))))
    return fg.FactorGraphModel(*factors, parent), (parent.mean, parent.sigma)


@pytest.fixture(scope="module")
def settled():
    graph, variables = survey()
    result = graph.optimise(seed=0, correct=False)
    return of(result, variables)


def of(result, variables):
    moments = result.ep.mean_field
    found = [moments.mean[v] for v in variables], [moments.scale[v] for v in variables]
    return (*np.array(found), result.ep.log_evidence)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "serial"},
        {"schedule": "serial", "batch": 7, "damping": 0.6},
        {"schedule": "residual"},
        {"schedule": "stochastic"},
        {"schedule": "stochastic", "batch": 1, "delay": 50},
        {"schedule": "double loop"},
    ],
    ids=str,
)
def test_one_fixed_point(settled, settings):
    """Also where each dataset sees a posterior that is fifty updates old. The double loop has points of its own for the
    one site that is matched, the prior of the scatter."""
    tolerance = 1e-4 if settings["schedule"] == "double loop" else 1e-6
    graph, variables = survey()
    result = graph.optimise(seed=0, correct=False, **settings)
    assert result.converged
    mean, scale, log_evidence = of(result, variables)
    np.testing.assert_allclose(mean, settled[0], rtol=0.0, atol=tolerance * np.max(settled[1]))
    np.testing.assert_allclose(scale, settled[1], rtol=3.0 * tolerance)
    assert log_evidence == pytest.approx(settled[2], abs=tolerance)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gaussian_factors_are_exact_in_every_schedule(schedule):
    x = [fg.GaussianPrior(0.0, 2.0) for _ in range(3)]
    random = np.random.default_rng(5)
    slopes, y = random.normal(size=(7, 3)), random.normal(size=7)
    factors = [fg.AnalysisFactor(fg.Collection(*x), Line(a, b)) for a, b in zip(slopes, y, strict=True)]
    result = fg.FactorGraphModel(*factors).optimise(schedule=schedule)
    covariance = np.linalg.inv(np.eye(3) / 4.0 + slopes.T @ slopes)
    assert result.converged
    np.testing.assert_allclose([result.mean_field.mean[v] for v in x], covariance @ slopes.T @ y, rtol=1e-8)
    np.testing.assert_allclose([result.mean_field.variance[v] for v in x], np.diag(covariance), rtol=1e-8)


class Line(fg.Analysis):
    def __init__(self, slope, y):
        super().__init__()
        self.slope, self.y = slope, float(y)

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - sum(a * b for a, b in zip(self.slope, instance, strict=True))) ** 2


def test_random_order_depends_on_the_seed_alone():
    with pytest.warns(UserWarning, match="not converged after 3 sweeps"):
        first, second, other = (
            survey(20)[0].optimise(seed=seed, correct=False, schedule="stochastic", max_steps=3) for seed in (0, 0, 1)
        )
    assert first.ep.log_evidence == second.ep.log_evidence
    assert [h.change for h in first.ep_history] == [h.change for h in second.ep_history]
    assert [h.change for h in first.ep_history] != [h.change for h in other.ep_history]


# --- the double loop ---


class Repelled(fg.Analysis):
    """A heavy-tailed and sharp statement about the sum of two variables."""

    def __init__(self, total, width, power):
        super().__init__()
        self.total, self.width, self.power = float(total), float(width), float(power)

    def log_likelihood_function(self, instance):
        return -self.power * jnp.log1p((instance.before + instance.after - self.total) ** 2 / self.width)


def contradictions(seed):
    """Every two of a few variables, twice, and what is said of them: (i, j, total, width, power)."""
    random = np.random.default_rng(seed)
    num = int(random.integers(3, 7))
    pairs = [(i, j) for i in range(num) for j in range(i) for _ in range(2)]
    return num, [
        (i, j, random.normal() * 3.0, 10.0 ** random.uniform(-3.0, -1.0), random.uniform(0.6, 3.0)) for i, j in pairs
    ]


def contradictory_graph(seed):
    num, statements = contradictions(seed)
    x = [fg.GaussianPrior(0.0, 1.0) for _ in range(num)]
    return fg.FactorGraphModel(
        *(fg.AnalysisFactor(fg.Collection(before=x[i], after=x[j]), Repelled(*rest)) for i, j, *rest in statements)
    )


def exact_log_evidence(seed, num_draws=4_000_000):
    """By plain importance sampling from wide normal distributions."""
    num, statements = contradictions(seed)
    random, parts = np.random.default_rng(0), []
    for _ in range(num_draws // 400_000):
        z = random.normal(size=(num, 400_000))
        x = 2.5 * z
        log_weight = np.sum(0.5 * z**2 - 0.5 * x**2, axis=0) + num * np.log(2.5)
        for i, j, total, width, power in statements:
            log_weight -= power * np.log1p((x[i] + x[j] - total) ** 2 / width)
        parts.append(log_weight)
    log_weights = np.concatenate(parts)
    return np.logaddexp.reduce(log_weights) - np.log(len(log_weights))


def test_the_double_loop_settles_what_sweeps_do_not(monkeypatch):
    """Contradictory statements on a few points each: parallel sweeps end nowhere, the fall-back near the answer."""
    monkeypatch.setattr(ContractedPlate, "is_free", property(lambda _: False))
    seed = 147
    asked = contradictory_graph(seed)
    with jax.enable_x64(True), np.errstate(all="ignore"):
        graph, start = prepare(asked.shared, asked.plates, asked.lanes, 0)
        state = initial_state(graph, start)
        _, _, converged = parallel.run(graph, state, **SETTINGS | {"max_steps": 100})
        assert not converged
        found, history, converged = run(graph, state, **SETTINGS)
        closed, _ = take_step(graph, found, propose(graph, found), 0.0)
        residual = residual_of(propose(graph, found))
    assert converged
    assert len(history) <= 300
    assert np.linalg.norm(residual) < 1e-5
    assert closed.log_evidence == pytest.approx(exact_log_evidence(seed), abs=0.15)


def test_an_inner_minimum_has_the_moments_of_all_sites_together():
    """At the minimum of L, each tilted distribution has the moments of prior times sites: its gradient vanishes."""
    asked, _ = survey(12)
    with jax.enable_x64(True):
        graph, start = prepare(asked.shared, asked.plates, asked.lanes, 0)
        state = initial_state(graph, start)
        state, _ = take_step(graph, state, propose(graph, state), 0.0)
        parts = [
            double_loop._part_of(plate, state, i, np.flatnonzero(~state.exact[i]), False, 1.0)
            for i, plate in enumerate(graph.plates)
            if np.any(~state.exact[i])
        ]
        changes = double_loop._minimised(parts, graph.dimension, 1.0)
    value = double_loop._value(parts, changes, graph.dimension, 1.0)
    for change in changes:
        for row, column in ((0, 0), (len(change) - 1, change.shape[1] - 1)):
            step = 1e-4
            nearby = []
            for sign in (-1.0, 1.0):
                change[row, column] += sign * step
                nearby.append(double_loop._value(parts, changes, graph.dimension, 1.0))
                change[row, column] -= sign * step
            assert (nearby[1] - nearby[0]) / (2.0 * step) == pytest.approx(0.0, abs=1e-6)
            assert min(nearby) >= value - 1e-12 * abs(value)


def test_the_information_matrix_is_the_hessian_of_the_log_partition():
    random = np.random.default_rng(2)
    mean, root = random.normal(size=3), random.normal(size=(3, 3))
    covariance = root @ root.T + np.eye(3)
    z = random.normal(size=(400_000, 3))
    x = mean + z @ np.linalg.cholesky(covariance).T
    rows, columns = np.tril_indices(3)
    statistics = np.concatenate([x, np.where(rows == columns, -0.5, -1.0) * x[:, rows] * x[:, columns]], axis=1)
    found, sampled = double_loop._information(mean, covariance), np.cov(statistics.T)
    size = np.sqrt(np.outer(np.diag(found), np.diag(found)))
    np.testing.assert_allclose(found / size, sampled / size, atol=0.01)


# --- misuse ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "paralel"}, "no schedule 'paralel'.*parallel"),
        ({"batch": 3}, "batch and delay are of the schedules serial and stochastic; got schedule='parallel'"),
        ({"schedule": "serial", "batch": 0}, "batch = 0"),
        ({"schedule": "stochastic", "delay": -1}, "delay = -1"),
    ],
)
def test_misuse(settings, message):
    with pytest.raises(GraphError, match=message):
        survey(3)[0].optimise(**settings)


def test_a_double_loop_that_cannot_be_had_is_said():
    graph, _ = survey(3)
    with pytest.warns(UserWarning, match="parallel sweeps are made instead"):
        result = graph.optimise(schedule="double loop", blocks="mean field")
    assert result.converged
