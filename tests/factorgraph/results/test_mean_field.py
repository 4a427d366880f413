import numpy as np
import pytest
from scipy import stats

from factorgraph.errors import FactorGraphError
from factorgraph.model.prior import GaussianPrior
from factorgraph.results.mean_field import LocalMoments, MeanField

MEAN = np.array([1.0, -2.0])
COVARIANCE = np.array([[4.0, 1.2], [1.2, 9.0]])


@pytest.fixture
def variables():
    return [GaussianPrior(0.0, 1.0) for _ in range(5)]


@pytest.fixture
def mean_field(variables):
    a, b, first, second, _ = variables
    generator = np.random.default_rng(1)
    draws = generator.multivariate_normal(MEAN, COVARIANCE, size=4000)
    local_draws = np.stack([generator.normal(5.0, 0.5, (4000, 1)), generator.standard_cauchy((4000, 1))])
    local = LocalMoments(
        [(first,), (second,)], np.array([[5.0], [np.nan]]), np.array([[0.5], [np.nan]]), lambda: local_draws
    )
    names = dict(zip(variables, ["a", "b", "x", "x", "other"]))
    return MeanField(names, [a, b], MEAN, COVARIANCE, draws, [local])


def test_moments_of_shared_and_local_variables_by_variable(variables, mean_field):
    a, b, first, *_ = variables
    assert mean_field.mean[a] == 1.0
    assert mean_field.variance[b] == 9.0
    assert mean_field.scale[b] == 3.0
    assert mean_field.mean[first] == 5.0
    assert mean_field.scale[first] == pytest.approx(0.5, rel=1e-15)
    assert mean_field.covariance(a, b) == 1.2
    assert list(mean_field) == list(mean_field.variables) == list(mean_field.mean) == variables[:4]
    assert len(mean_field) == 4
    assert a in mean_field
    assert variables[4] not in mean_field.mean
    assert repr(mean_field.mean) == "{a: 1, b: -2, x: 5, x: nan}"


def test_messages_carry_the_moments(variables, mean_field):
    a, b, first, second, _ = variables
    assert float(mean_field[b].mean) == pytest.approx(-2.0, rel=1e-14)
    assert float(mean_field[b].variance) == pytest.approx(9.0, rel=1e-14)
    np.testing.assert_allclose(mean_field[b, a].mean, MEAN[::-1], rtol=1e-13)
    np.testing.assert_allclose(mean_field[b, a].covariance, COVARIANCE[::-1, ::-1], rtol=1e-13)
    with pytest.raises(ValueError, match="variance > 0"):
        mean_field[second]


def test_moment_that_does_not_exist_is_nan_beside_quantiles(variables, mean_field):
    second = variables[3]
    assert np.isnan(mean_field.mean[second])
    assert np.isnan(mean_field.scale[second])
    error = np.pi * 0.5 / np.sqrt(4000)  # of a median: 1 / (2 f(0) sqrt n)
    assert abs(mean_field.quantile(second, 0.5)) < 4.0 * error


def test_quantiles_come_from_draws(variables, mean_field):
    low, high = mean_field.quantile(variables[0], [0.16, 0.84])
    np.testing.assert_allclose([low, high], stats.norm.ppf([0.16, 0.84], 1.0, 2.0), atol=4 * 2.0 * 1.5 / np.sqrt(4000))


def test_relation_of_shared_variables(variables, mean_field):
    a, b, first, *_ = variables
    relation = a + 2.0 * b
    variance = 4.0 + 4.0 * 9.0 + 4.0 * 1.2
    assert mean_field.mean[relation] == pytest.approx(-3.0, abs=4 * np.sqrt(variance / 4000))
    assert mean_field.variance[relation] == pytest.approx(variance, rel=4 * np.sqrt(2 / 4000))
    with pytest.raises(KeyError, match="x is local to a dataset; a shared variable is needed"):
        mean_field.mean[a + first]


def test_unknown_variable_says_what_there_is(variables, mean_field):
    with pytest.raises(KeyError) as error:
        mean_field.mean[variables[4]]
    assert str(error.value).startswith("other is no variable of this result. Look up the variable itself")
    assert str(error.value).endswith("there are: a, b, x.")
    assert isinstance(error.value, FactorGraphError)
    with pytest.raises(KeyError, match="'a' is no variable"):
        mean_field.mean["a"]
    with pytest.raises(KeyError, match="x is local to a dataset"):
        mean_field.covariance(variables[0], variables[2])


def test_restriction_keeps_some_variables(variables, mean_field):
    part = mean_field.restricted_to([variables[2], variables[0]])
    assert part.variables == (variables[2], variables[0])
    assert part.mean[variables[2]] == 5.0
    with pytest.raises(KeyError, match="b is no variable of this result"):
        part.mean[variables[1]]


def test_local_draws_are_made_once_and_only_when_needed(variables):
    calls = []

    def make():
        calls.append(1)
        return np.zeros((1, 3, 1))

    local = LocalMoments([(variables[0],)], np.zeros((1, 1)), np.ones((1, 1)), make)
    mean_field = MeanField({}, [], np.zeros(0), np.zeros((0, 0)), np.zeros((3, 0)), [local])
    assert mean_field.scale[variables[0]] == 1.0
    assert calls == []
    mean_field.quantile(variables[0], 0.5)
    mean_field.draws(variables[0])
    assert calls == [1]
