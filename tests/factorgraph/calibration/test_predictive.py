"""Posterior predictive checks against p-values known in closed form, and what is refused."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

import factorgraph as fg
from tests.compilations import count_compilations
from tests.factorgraph.calibration import models

NUM_DRAWS = 1500
ATOL = 3.5 * 0.5 / np.sqrt(NUM_DRAWS)  # of a fraction of the draws
VALUES = {"value": lambda analysis: analysis.y}


class CalledMeasurement(fg.Analysis):
    """A likelihood in plain Python."""

    def __init__(self, y, error):
        super().__init__()
        self.y, self.error = y, error

    def log_likelihood_function(self, instance):
        return -0.5 * float(np.asarray((self.y - instance.x) / self.error) ** 2) - np.log(self.error)


def fixed_population(y, error, cls=models.Measurement):
    """Objects drawn from N(0, 2)."""
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=2.0)
    return models.population(parent, [cls(a, b) for a, b in zip(y, error, strict=True)])


def measure(analysis, instance, rng):
    return type(analysis)(rng.normal(instance.x, analysis.error), analysis.error)


def posterior_of(y, error):
    variance = 1.0 / (1.0 / 4.0 + 1.0 / error**2)
    return variance * y / error**2, np.sqrt(variance)


Y, ERROR = np.array([-1.0, 3.0, 9.0]), np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("cls", [models.Measurement, CalledMeasurement])
def test_other_data_of_the_same_objects(cls):
    graph = fixed_population(Y.tolist(), ERROR.tolist(), cls)
    check = fg.predictive_check(graph, graph.optimise(), measure, statistics=VALUES, num_draws=200)
    atol = 3.5 * 0.5 / np.sqrt(200)
    for name, y, error in zip(check.names, Y, ERROR, strict=True):
        mean, sd = posterior_of(y, error)
        assert check.p_values("value")[name] == pytest.approx(stats.norm.sf(y, mean, np.hypot(sd, error)), abs=atol)
        exact = quad(
            lambda x, y=y, e=error, m=mean, s=sd: stats.chi2.sf(((y - x) / e) ** 2, 1) * stats.norm.pdf(x, m, s),
            mean - 9.0 * sd,
            mean + 9.0 * sd,
        )[0]
        assert check.p_values()[name] == pytest.approx(exact, abs=atol)


def test_other_objects_of_the_population():
    graph = fixed_population(Y.tolist(), ERROR.tolist())
    given = {v: np.zeros(NUM_DRAWS) for v in graph.names}
    check = fg.predictive_check(
        graph, given, measure, statistics=VALUES, replicate="objects", num_draws=NUM_DRAWS, seed=1
    )
    exact = stats.norm.sf(Y, 0.0, np.hypot(2.0, ERROR))
    np.testing.assert_allclose(list(check.p_values("value").values()), exact, atol=ATOL)
    total = stats.norm.sf(Y.sum(), 0.0, np.sqrt(np.sum(4.0 + ERROR**2)))
    assert check.overall("value") == pytest.approx(total, abs=ATOL)


@pytest.fixture(scope="module")
def solved():
    random = np.random.default_rng(0)
    error = np.array(models.errors_of(20))
    y = random.normal(0.5, 1.0, 20) + error * random.normal(size=20)
    y[7] += 8.0
    graph = models.population(models.gaussian_parent(), [models.Measurement(*p) for p in zip(y, error, strict=True)])
    return graph, graph.optimise()


def test_an_object_that_does_not_belong_is_named(solved):
    graph, result = solved
    check = fg.predictive_check(graph, result, models.measure, statistics=VALUES, replicate="objects")
    assert check.extremes(1, "value")[0][0] == "dataset_7"
    assert check.p_values("value")["dataset_7"] < 0.02
    assert "dataset_7" in check.info
    same = fg.predictive_check(graph, result, models.measure, statistics=VALUES)
    assert same.p_values("value")["dataset_7"] > 0.05, "its private variable fits it"


def test_replications_compile_once_and_repeat(solved):
    graph, result = solved
    first = fg.predictive_check(graph, result, models.measure, num_draws=3, seed=5)
    with count_compilations() as seen:
        again = fg.predictive_check(graph, result, models.measure, num_draws=3, seed=5)
    assert seen.count == 0
    np.testing.assert_array_equal(first.replicated["misfit"], again.replicated["misfit"])
    other = fg.predictive_check(graph, result, models.measure, num_draws=3, seed=6)
    assert not np.any(first.replicated["misfit"] == other.replicated["misfit"])


def test_as_a_table(solved):
    graph, result = solved
    check = fg.predictive_check(graph, result, models.measure, statistics=VALUES, num_draws=4)
    table = check.dataset
    assert dict(table.sizes) == {"draw": 4, "dataset": 20}
    assert set(table.data_vars) == {"misfit", "misfit_replicated", "value", "value_replicated"}
    np.testing.assert_array_equal(table["value"][0], [f.analysis.y for f in graph.factors])


class Hopeless(models.Measurement):
    def log_likelihood_function(self, instance):
        return super().log_likelihood_function(instance) + jnp.where(self.y > 100.0, -jnp.inf, 0.0)


@pytest.mark.filterwarnings("ignore:.*left out")
def test_what_is_not_finite_is_left_out_and_counted():
    graph = fixed_population([0.0, 200.0], [1.0, 1.0], Hopeless)
    given = {v: np.zeros(50) for v in graph.names}
    check = fg.predictive_check(graph, given, measure, num_draws=50)
    assert np.isnan(check.p_values()["dataset_1"])
    assert 0.0 < check.overall() <= 1.0
    assert "not finite in 1" in check.info
    assert [name for name, _ in check.extremes()] == ["dataset_0"]


def test_misuse(solved):
    graph, result = solved

    def ask(**changed):
        return fg.predictive_check(**{"graph": graph, "result": result, "simulate": models.measure, **changed})

    with pytest.raises(fg.GraphError, match="another name"):
        ask(statistics={"misfit": len})
    with pytest.raises(fg.GraphError, match="must be functions"):
        ask(simulate=None)
    with pytest.raises(fg.GraphError, match="needs statistics"):
        ask(replicate="objects")
    with pytest.raises(fg.GraphError, match="'data' or 'objects'"):
        ask(replicate="both")
    with pytest.raises(fg.GraphError, match="at least one"):
        ask(num_draws=0)
    with pytest.raises(fg.GraphError, match="array of shape"):
        ask(statistics={"all": lambda analysis: [analysis.y, 1.0]})
    with pytest.raises(fg.GraphError, match="predictive_check: simulate.*a new Measurement is needed"):
        ask(simulate=lambda analysis, instance, rng: 1.0)
    with pytest.raises(fg.GraphError, match="has no draws of"):
        ask(result={graph.terms.shared[0]: np.zeros(300)})
    with pytest.raises(KeyError, match="no statistic 'size'"):
        ask(num_draws=1).p_values("size")
