"""What should go wrong, and how: it works, or the dataset is left out and named, or one error says what to do."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError, LikelihoodError, PriorError, UnknownArgument
from searches.status import Status

DATA = np.random.default_rng(0).normal(3.0, 2.0, 20)


class Source:
    def __init__(self, position=0.0):
        self.position = position


class Reading(fg.Analysis):
    def __init__(self, y, error=1.0):
        self.y = float(y)
        self.error = float(error)

    def log_likelihood_function(self, instance):
        residual = (self.y - instance.position) / self.error
        return -0.5 * residual**2 - jnp.log(self.error)


class Readings(fg.Analysis):
    """Never calls ``super().__init__()``; several readings, or none."""

    def __init__(self, y):
        self.y = np.asarray(y, dtype=float)

    def log_likelihood_function(self, instance):
        return -0.5 * jnp.sum((self.y - instance.position) ** 2)


class ReadingWithoutJax(Reading):
    """The same in NumPy, with an if-statement."""

    def log_likelihood_function(self, instance):
        if abs(instance.position) > 1e6:
            return -np.inf
        return float(-0.5 * ((self.y - instance.position) / self.error) ** 2 - np.log(self.error))


class RaisesAbove100(Reading):
    def log_likelihood_function(self, instance):
        if self.y > 100.0:
            raise RuntimeError(f"no calibration for {self.y:.0f}")
        return -0.5 * (self.y - float(instance.position)) ** 2


def returning(function):
    """A class whose likelihood is ``function(instance)``."""
    return type("Odd", (Reading,), {"log_likelihood_function": lambda self, instance: function(instance)})


def population(analyses, sigma=2.0, mean=None, prefix="d"):
    """Factors, and their parent last."""
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=mean or fg.GaussianPrior(0.0, 10.0), sigma=sigma)
    factors = []
    for number, analysis in enumerate(analyses):
        model = fg.Model(Source)
        parent.add_drawn_variable(model.position)
        factors.append(fg.AnalysisFactor(model, analysis, name=f"{prefix}{number}"))
    return [*factors, parent]


def solve(factors, **settings):
    return fg.FactorGraphModel(*factors).optimise(**settings)


def moments(result, variable):
    return result.mean_field.mean[variable], result.mean_field.scale[variable]


# --- one bad dataset among good ones ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_seven():
    factors = population([Reading(y) for i, y in enumerate(DATA) if i != 7])
    return factors, solve(factors)


@pytest.mark.parametrize(
    "bad",
    [Reading(np.nan), Reading(np.inf), Reading(1.0, error=np.nan), Reading(1.0, error=0.0)],
    ids=["nan in the data", "inf in the data", "nan in the errors", "zero noise"],
)
def test_a_bad_dataset_is_left_out_and_named(bad, without_seven):
    factors = population([bad if i == 7 else Reading(y) for i, y in enumerate(DATA)])
    with pytest.warns(UserWarning, match=r"1 dataset\(s\) were left out: d7"):
        result = solve(factors)
    others, expected = without_seven
    assert {name for name, status in result.status.items() if status != Status.ok} == {"d7"}
    assert result.status["d7"] == Status.quarantined
    assert list(result.quarantined) == ["d7"]
    assert moments(result, factors[-1].mean) == pytest.approx(moments(expected, others[-1].mean), rel=1e-6)
    assert result.log_evidence == pytest.approx(expected.log_evidence, rel=1e-6)
    good = [f.prior_model.position for f in factors[:7] + factors[8:-1]]
    for variable, factor in zip(good, others[:-1]):
        expected_moments = moments(expected, factor.prior_model.position)
        assert moments(result, variable) == pytest.approx(expected_moments, rel=1e-6)
    assert "d7" in result.info


@pytest.mark.filterwarnings("ignore:.*left out")
def test_strict_raises_with_the_name_the_reason_and_what_was_found(without_seven):
    factors = population([Reading(np.nan if i == 7 else y) for i, y in enumerate(DATA)])
    with pytest.raises(fg.DatasetsLeftOut, match=rf"1 of {len(DATA)} datasets.*d7: .*finite.*strict=False") as failure:
        solve(factors, strict=True)
    others, expected = without_seven
    found = moments(failure.value.result, factors[-1].mean)
    assert found == pytest.approx(moments(expected, others[-1].mean), rel=1e-6)
    assert isinstance(failure.value, fg.LikelihoodError)


def test_strict_is_silent_where_all_is_well(without_seven):
    others, expected = without_seven
    again = solve(others, strict=True)
    assert moments(again, others[-1].mean) == moments(expected, others[-1].mean)


def test_one_that_raises_is_named_with_what_it_said():
    y = [*DATA[:3], 200.0]
    factors = population([RaisesAbove100(value) for value in y])
    with pytest.warns(UserWarning, match="left out: d3"):
        result = solve(factors)
    assert result.quarantined == {"d3": "RuntimeError: no calibration for 200"}
    precision = 0.01 + 3 / 5.0  # y ~ N(mean, 2^2 + 1)
    mean, sd = moments(result, factors[-1].mean)
    assert mean == pytest.approx(np.sum(y[:3]) / 5.0 / precision, abs=0.1 * precision**-0.5)
    assert sd == pytest.approx(precision**-0.5, rel=0.05)


# --- likelihoods that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda i: jnp.array([1.0, 2.0]) * i.position, r"d0: .*returned an array of shape \(2,\).*sum"),
        (lambda i: np.array([1.0, float(i.position)]), r"d0: .*returned an array of shape \(2,\)"),
        (lambda i: i.position + 1j, "d0: .*returned a complex number.*real"),
        (lambda i: complex(float(i.position), 1.0), "d0: .*returned a complex number"),
        (lambda i: None, "d0: .*returned None; return a float"),
        (lambda i: "high", "d0: .*returned 'high'; return a float"),
        (lambda i: {}["missing"], r"(?s)d0: .*raised at every point.*KeyError: 'missing'"),
    ],
    ids=["array", "NumPy array", "complex", "Python complex", "None", "text", "raises"],
)
def test_what_is_no_likelihood_is_one_error(function, message):
    factors = population([returning(function)(y) for y in DATA[:3]])
    with pytest.raises(LikelihoodError, match=message):
        solve(factors)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_likelihood_that_is_finite_nowhere_leaves_every_dataset_out(value):
    position, cls = fg.GaussianPrior(0.0, 10.0), returning(lambda i: value + 0.0 * i.position)
    factors = [fg.AnalysisFactor(fg.Model(Source, position=position), cls(y), name=f"d{y}") for y in range(3)]
    with pytest.warns(UserWarning, match=r"3 dataset\(s\) were left out: d0, d1, d2"):
        result = solve(factors)
    assert list(result.quarantined) == ["d0", "d1", "d2"]
    assert moments(result, position) == pytest.approx((0.0, 10.0), abs=1e-8)


def test_use_jax_insists():
    factor = population([ReadingWithoutJax(1.0)])[0]
    factor.analysis.use_jax = True
    factor.prior_model.position = fg.GaussianPrior(0.0, 1.0)
    with pytest.raises(LikelihoodError, match="(?s)use_jax=True.*jnp.where"):
        solve([factor])


# --- odd, but right -----------------------------------------------------------------------------------------------------------


def test_an_empty_dataset_is_no_information():
    """Zero-length arrays; and the analysis never calls ``super().__init__()``."""
    with_empty = population([Readings([1.0, 2.0]), Readings([]), Readings([3.0, 4.0])])
    without = population([Readings([1.0, 2.0]), Readings([3.0, 4.0])])
    result, expected = solve(with_empty), solve(without)
    assert set(result.status.values()) == {Status.ok}
    assert moments(result, with_empty[-1].mean) == pytest.approx(moments(expected, without[-1].mean), rel=1e-8)
    assert result.log_evidence == pytest.approx(expected.log_evidence, rel=1e-8)
    mean, sd = moments(result, with_empty[-1].mean)  # the empty one is predicted by its parent
    predicted = moments(result, with_empty[1].prior_model.position)
    assert predicted == pytest.approx((mean, np.hypot(sd, 2.0)), rel=1e-8)


@pytest.mark.parametrize("silent", [Readings([]), returning(lambda i: 0.0)(1.0)], ids=["empty", "zero"])
@pytest.mark.parametrize("free", [False, True], ids=["sigma fixed", "sigma free"])
def test_datasets_without_information_measure_nothing(silent, free):
    """Twenty of them leave N(0, 100) where it was (features.md C4): what is drawn has no prior of its own."""
    sigma = fg.UniformPrior(0.0, 30.0) if free else 10.0
    factors = population([silent] * 20, sigma=sigma, mean=fg.GaussianPrior(0.0, 100.0))
    for factor in factors[:-1]:
        assert factor.prior_model.position in factors[-1].drawn_variables
    result = solve(factors)
    assert moments(result, factors[-1].mean) == pytest.approx((0.0, 100.0), abs=1e-6)
    assert result.log_evidence == pytest.approx(0.0, abs=1e-8)
    if free:
        assert moments(result, sigma) == pytest.approx((15.0, 30.0 / np.sqrt(12.0)), rel=2e-3)


def test_a_prior_of_its_own_is_replaced_where_a_variable_is_drawn():
    bare, dressed = population([Reading(y) for y in DATA[:3]]), population([])[-1:]
    for y in DATA[:3]:
        model = fg.Model(Source, position=fg.GaussianPrior(50.0, 1.0))
        dressed[-1].add_drawn_variable(model.position)
        dressed.insert(-1, fg.AnalysisFactor(model, Reading(y)))
    found, expected = solve(dressed), solve(bare)
    assert moments(found, dressed[-1].mean) == pytest.approx(moments(expected, bare[-1].mean), rel=1e-12)


def test_two_unconnected_pieces():
    left = population([Reading(y) for y in DATA[:3]], prefix="left")
    right = population([Reading(y) for y in DATA[3:6]], prefix="right")
    both, alone = solve([*left, *right]), [solve(left), solve(right)]
    assert both.log_evidence == pytest.approx(sum(r.log_evidence for r in alone), rel=1e-8)
    for piece, result in zip((left, right), alone):
        for variable in (piece[-1].mean, *(f.prior_model.position for f in piece[:-1])):
            assert moments(both, variable) == pytest.approx(moments(result, variable), rel=1e-8)


class MixedReading(Reading):
    """jnp was meant, np slipped in."""

    def log_likelihood_function(self, instance):
        return -0.5 * jnp.square((self.y - instance.position) / self.error) - np.log(self.error)


def test_numpy_in_a_jax_likelihood_is_said_aloud():
    with pytest.warns(UserWarning, match="MixedReading.log_likelihood_function uses JAX but cannot be traced"):
        assert [lane.name for lane in fg.FactorGraphModel(*population([MixedReading(y) for y in DATA[:2]])).lanes] == [
            "host"
        ]


def test_plain_calls_beside_a_traced_plate():
    """Four of twelve likelihoods are NumPy with an if: the answer is that of the all-JAX graph."""

    def graph(cls):
        analyses = [(cls if i < 4 else Reading)(y) for i, y in enumerate(DATA[:12])]
        return population(analyses, sigma=fg.UniformPrior(0.0, 10.0))

    traced, mixed = graph(Reading), graph(ReadingWithoutJax)
    lanes = fg.FactorGraphModel(*mixed).lanes
    assert sorted(lane.name for lane in lanes) == ["host", "jax"]
    expected, found = solve(traced), solve(mixed)
    pairs = [(traced[-1].mean, mixed[-1].mean), (traced[-1].sigma, mixed[-1].sigma)]
    pairs += [(a.prior_model.position, b.prior_model.position) for a, b in zip(traced[:-1], mixed[:-1])]
    for variable, other in pairs:
        mean, sd = moments(expected, variable)
        other_mean, other_sd = moments(found, other)
        assert abs(other_mean - mean) < 0.1 * sd
        assert other_sd == pytest.approx(sd, rel=0.1)
    assert found.log_evidence == pytest.approx(expected.log_evidence, abs=0.1)


# --- graphs that cannot be solved ---------------------------------------------------------------------------------------------


def test_duplicated_names():
    factors = population([Reading(1.0), Reading(2.0)])
    factors[1].name = "d0"
    with pytest.raises(GraphError, match="Two AnalysisFactors are named 'd0'"):
        fg.FactorGraphModel(*factors)


@pytest.mark.parametrize(
    "prior",
    [
        lambda: fg.UniformPrior(3.0, 1.0),
        lambda: fg.LogUniformPrior(10.0, 1.0),
        lambda: fg.TruncatedGaussianPrior(0.0, 1.0, 3.0, 1.0),
        lambda: fg.FlatPrior(1.0, 0.0),
    ],
    ids=["uniform", "log-uniform", "truncated", "flat"],
)
def test_swapped_limits(prior):
    with pytest.raises(PriorError, match="the lower limit must be below the upper"):
        prior()


def test_a_variable_that_no_factor_reads():
    factors = population([Reading(1.0)])
    factors[-1].add_drawn_variable(fg.Model(Source).position)
    with pytest.raises(GraphError, match="1 drawn variable.*read by no factor.*position"):
        fg.FactorGraphModel(*factors)


def test_a_parent_that_draws_nothing():
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 1.0), sigma=1.0)
    with pytest.raises(GraphError, match="draws nothing: call add_drawn_variable"):
        fg.FactorGraphModel(*population([Reading(1.0)]), parent)


def test_drawn_twice():
    factors = population([Reading(1.0)])
    variable = factors[0].prior_model.position
    with pytest.raises(GraphError, match="drawn from this parent already"):
        factors[-1].add_drawn_variable(variable)
    other = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=1.0)
    other.add_drawn_variable(variable)
    with pytest.raises(GraphError, match="drawn from two parents"):
        fg.FactorGraphModel(*factors, other)


def test_unset_variables_are_listed():
    factors = [fg.AnalysisFactor(fg.Model(Source), Reading(1.0)) for _ in range(2)]
    with pytest.raises(GraphError, match=r"2 variable\(s\) have no prior.*position, position.*UniformPrior"):
        fg.FactorGraphModel(*factors)


@pytest.mark.parametrize(
    ("factors", "message"),
    [((), "there is no dataset"), (([],), re.escape("FactorGraphModel(*factors)")), ((3,), "got int")],
    ids=["nothing", "a list", "a number"],
)
def test_what_is_no_graph(factors, message):
    with pytest.raises(GraphError, match=message):
        fg.FactorGraphModel(*factors)


def test_unknown_settings():
    with pytest.raises(UnknownArgument, match="Did you mean 'max_steps'"):
        solve(population([Reading(1.0)]), max_step=3)


# --- the same again -----------------------------------------------------------------------------------------------------------


def skewed(order=None, names="d", seed=0):
    """Free scatter and a shared centre: nothing is exact, so that every random number counts."""
    mean, sigma = fg.GaussianPrior(0.0, 10.0), fg.UniformPrior(0.0, 10.0)
    factors = population([Reading(y) for y in DATA[:8]], sigma=sigma, mean=mean, prefix=names)
    if order is not None:
        factors = [factors[i] for i in order]
    result = solve(factors, seed=seed)
    return np.array([*moments(result, mean), *moments(result, sigma), result.log_evidence])


def test_same_seed_same_bits():
    np.testing.assert_array_equal(skewed(), skewed())


def test_order_and_names_change_nothing():
    order = [5, 2, 8, 0, 7, 1, 6, 3, 4]  # the parent, 8, in between
    np.testing.assert_allclose(skewed(order=order, names="other"), skewed(), rtol=1e-8)
