"""`calibrate` with an exact solver passes, with a planted fault it does not; and nothing is dropped silently."""

from __future__ import annotations

import copy
import warnings
from collections import Counter

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError
from tests.factorgraph.calibration.exact import solver
from tests.factorgraph.calibration.models import Measurement, Object, mean_and_scatter, measure

FEW = 20


@pytest.fixture(scope="module")
def case():
    return mean_and_scatter()


@pytest.fixture(scope="module")
def calibrated(case):
    return fg.calibrate(case.graph, case.simulate, solve=solver(), seed=1)


def calibrate_few(case, **settings):
    return fg.calibrate(case.graph, case.simulate, **{"num_simulations": FEW, "solve": solver(), **settings})


# --- what it sees ---


def test_an_exact_posterior_passes(calibrated):
    assert calibrated.passed, calibrated.info
    assert calibrated.names == ("parent.mean", "parent.sigma", "dataset_0.x", "log likelihood")
    assert len(calibrated.checks) == 1 + 4 * 9
    assert not calibrated.failed
    assert not calibrated.unconverged


FAULTS = {  # the noise of the data, so that the prior matters where it is at fault
    "sd too small": (1.0, {"width": 0.8}),
    "mean shifted": (1.0, {"shift": 0.3}),
    "prior counted twice": (3.0, {"prior_power": 2.0}),
    "Jacobian dropped": (3.0, {"jacobian_power": 1.0}),
    "one dataset used twice": (1.0, {"first_twice": True}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    noise, fault_of_solver = FAULTS[fault]
    case = mean_and_scatter(noise=noise)
    found = fg.calibrate(case.graph, case.simulate, solve=solver(**fault_of_solver), seed=1)
    assert not found.passed
    assert len(found.failures) >= 2, found.info
    if fault == "one dataset used twice":
        assert {check.quantity for check in found.failures} >= {"dataset_0.x"}
    if fault in ("prior counted twice", "Jacobian dropped"):
        assert {check.quantity for check in found.failures} >= {"parent.sigma"}


@pytest.mark.slow
def test_an_exact_posterior_with_noisy_data_passes():
    """The model of the faults of the prior, without a fault, so that it is the fault that is caught."""
    case = mean_and_scatter(noise=3.0)
    found = fg.calibrate(case.graph, case.simulate, solve=solver(), num_simulations=1000, seed=2)
    assert found.passed, found.info


def test_a_simulate_that_is_not_the_likelihood_is_caught(case):
    def too_quiet(analysis, instance, rng):
        return Measurement(float(rng.normal(instance.x, 0.7 * analysis.error)), analysis.error)

    found = fg.calibrate(case.graph, too_quiet, solve=solver(), seed=1)
    assert "log likelihood" in {check.quantity for check in found.failures}


# --- how it is done ---


def test_simulated_graphs_are_the_graph_with_other_data(case):
    seen = []

    def solve(survey, seed):
        seen.append((survey, seed))
        return solver()(survey, seed)

    before = [factor.analysis.y for factor in case.graph.factors]
    calibrate_few(case, solve=solve)
    for survey, _ in seen:
        assert survey.dataset_names == case.graph.dataset_names
        assert survey.terms.shared == case.graph.terms.shared
        assert survey.hierarchical_factors == case.graph.hierarchical_factors
        for new, old in zip(survey.factors, case.graph.factors):
            assert new.prior_model is old.prior_model
            assert new.analysis.error == old.analysis.error
            assert new.analysis.y != old.analysis.y
    assert len({seed for _, seed in seen}) == FEW
    assert len({survey.factors[0].analysis.y for survey, _ in seen}) == FEW
    assert [factor.analysis.y for factor in case.graph.factors] == before


def test_a_seed_says_everything(case):
    first, again, more, other = (
        calibrate_few(case, seed=seed, num_simulations=num)
        for seed, num in ((3, FEW), (3, FEW), (3, FEW + 5), (4, FEW))
    )
    for mine, twin, longer, different in zip(first.quantities, again.quantities, more.quantities, other.quantities):
        np.testing.assert_array_equal(mine.positions, twin.positions)
        np.testing.assert_array_equal(mine.positions, longer.positions[:FEW])
        assert np.all(mine.positions != different.positions)


def test_the_second_simulation_compiles_nothing(case, count_compilations):
    calibrate_few(case)
    with count_compilations() as seen:
        calibrate_few(case, seed=9)
    assert seen.count == 0


def test_the_dataset_is_chosen_by_name_or_number(case):
    assert "dataset_3.x" in calibrate_few(case, dataset="dataset_3").names
    assert "dataset_3.x" in calibrate_few(case, dataset=3).names
    assert calibrate_few(case, dataset=None).names == ("parent.mean", "parent.sigma", "log likelihood")


def test_likelihoods_by_plain_calls_rank_as_traced_ones():
    class Plain(Measurement):
        def log_likelihood_function(self, instance):
            return float(super().log_likelihood_function(Object(float(instance.x))))

    def simulate(analysis, instance, rng):
        return Plain(float(rng.normal(instance.x, analysis.error)), analysis.error)

    traced, plain = mean_and_scatter(num=3), mean_and_scatter(num=3)
    for factor in plain.graph.factors:
        factor.analysis = Plain(0.0, factor.analysis.error)
    called = fg.calibrate(plain.graph, simulate, num_simulations=FEW, solve=solver(), seed=1)
    traced = calibrate_few(traced, seed=1)
    assert called["log likelihood"].truths == pytest.approx(traced["log likelihood"].truths, rel=1e-12)
    np.testing.assert_array_equal(called["log likelihood"].ranks, traced["log likelihood"].ranks)


def shared_only(survey, seed):
    draws = solver()(survey, seed)
    return {variable: draws[variable] for variable in survey.terms.shared}


def test_what_the_solver_does_not_return_is_named(case):
    found = calibrate_few(case, solve=shared_only)
    assert found.names == ("parent.mean", "parent.sigma")
    assert set(found.left_out) == {"dataset_0.x", "log likelihood"}
    assert "left out: dataset_0.x" in found.info


@pytest.mark.slow
def test_a_search_can_be_tested():
    """And where it has not ended well, that is said."""
    case = mean_and_scatter(num=3)

    def solve(survey, seed):
        return fg.Laplace().fit(model=survey.global_prior_model, analysis=survey, seed=seed)

    found = calibrate_few(case, solve=solve)
    assert found.names == ("parent.mean", "parent.sigma", "dataset_0.x", "log likelihood")
    assert all(np.all(np.isfinite(quantity.pulls)) for quantity in found.quantities)
    assert set(found.unconverged) <= set(found.concerns)


# --- what goes wrong ---


def test_a_failed_simulation_is_named_and_nothing_passes(case):
    calls = Counter()

    def solve(survey, seed):
        calls["n"] += 1
        if calls["n"] in (8, 11):
            raise np.linalg.LinAlgError("not positive definite")
        return solver()(survey, seed)

    found = calibrate_few(case, solve=solve)
    assert list(found.failed) == [7, 10]
    assert found.failed[7] == "LinAlgError: not positive definite"
    assert not found.passed
    assert "2 simulation(s) FAILED: 7, 10" in found.info
    assert len(found["parent.mean"].ranks) == FEW - 2
    assert found.bounds.num_simulations == FEW - 2


def test_draws_that_are_nan_fail(case):
    def solve(survey, seed):
        draws = solver()(survey, seed)
        draws[survey.factors[0].prior_model.x][5] = np.nan
        return draws

    with pytest.raises(GraphError, match="first 5 simulations all failed.*not all finite"):
        calibrate_few(case, solve=solve)


def test_too_few_draws_fail(case):
    def solve(survey, seed):
        return {variable: draws[:50] for variable, draws in solver()(survey, seed).items()}

    with pytest.raises(GraphError, match="made 50 draws, 99 are to be ranked"):
        calibrate_few(case, solve=solve)


def test_data_that_the_likelihood_calls_impossible_fail(case):
    def simulate(analysis, instance, rng):
        return Measurement(float(rng.normal(instance.x, analysis.error)), np.inf)

    def solve(survey, seed):
        return {v: np.random.default_rng(seed).uniform(1.0, 2.0, 100) for v in survey.names}

    with pytest.raises(GraphError, match="likelihood calls impossible"):
        fg.calibrate(case.graph, simulate, num_simulations=FEW, solve=solve)


def test_warnings_of_the_solver_are_collected(case):
    def solve(survey, seed):
        if seed % 2:
            warnings.warn("a warning of the solver", stacklevel=2)
        return solver()(survey, seed)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrate_few(case, solve=solve)
    assert 0 < len(found.concerns) < FEW
    assert set(found.concerns.values()) == {"a warning of the solver"}
    assert f"{len(found.concerns)} simulation(s) came with a warning" in found.info


@pytest.mark.parametrize(
    ("simulate", "said"),
    [
        (lambda analysis, instance, rng: None, "returned NoneType for dataset 'dataset_0'; a new Measurement"),
        (lambda analysis, instance, rng: analysis, "returned the analysis of dataset 'dataset_0' itself"),
        ("simulate", "a function"),
    ],
)
def test_a_wrong_simulate_is_refused(case, simulate, said):
    with pytest.raises(GraphError, match=said):
        fg.calibrate(case.graph, simulate, num_simulations=FEW, solve=solver())


def test_an_error_of_simulate_is_the_user_s(case):
    def simulate(analysis, instance, rng):
        return instance.y

    with pytest.raises(AttributeError, match="y") as caught:
        fg.calibrate(case.graph, simulate, num_simulations=FEW)
    assert "in simulation 0 of calibrate" in caught.value.__notes__


def test_whole_numbers_that_split_the_plate_are_noticed(case):
    def simulate(analysis, instance, rng):
        new = copy.copy(analysis)
        new.y = round(rng.normal(instance.x, analysis.error))
        return new

    with pytest.warns(UserWarning, match="plates"):
        fg.calibrate(case.graph, simulate, num_simulations=FEW, solve=shared_only)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_simulations": 5}, "num_simulations=5"),
        ({"num_draws": 3}, "num_draws=3"),
        ({"false_alarm": 0.0}, "false_alarm=0.0"),
        ({"dataset": "dataset_77"}, "no dataset 'dataset_77'"),
        ({"dataset": 20}, "datasets 0 to 19"),
    ],
)
def test_wrong_settings_are_refused(case, settings, said):
    with pytest.raises(GraphError, match=said):
        calibrate_few(case, **settings)


def test_something_else_than_a_graph_is_refused(case):
    with pytest.raises(GraphError, match="a FactorGraphModel is needed"):
        fg.calibrate(case.graph.global_prior_model, measure)


def test_draws_that_exist_already_cannot_be_simulated():
    chain = np.random.default_rng(0).normal(0.0, 1.0, 200)
    factor = fg.SamplesFactor({"x": chain}, prior={"x": fg.GaussianPrior(0.0, 10.0)})
    with pytest.raises(GraphError, match="no data that could be simulated"):
        fg.calibrate(fg.FactorGraphModel(factor), measure)


# --- what it says ---


def test_info_has_a_row_a_quantity_and_stars_where_it_failed(case, calibrated):
    assert calibrated.info.startswith("calibration: passed")
    assert "*" not in calibrated.info
    for name in calibrated.names:
        assert f"\n{name} " in calibrated.info
    assert "57.0-78.5" in calibrated.info
    narrow = calibrate_few(case, solve=solver(width=0.3))
    assert narrow.info.startswith(f"calibration: FAILED {len(narrow.failures)} of")
    assert narrow.info.count("*") == len(narrow.failures)
    assert "sd z" in {check.name for check in narrow.failures}


def test_a_failure_says_what_which_value_and_bound(case):
    narrow = calibrate_few(case, solve=solver(width=0.3))
    check = next(check for check in narrow.failures if check.name == "sd z")
    assert check.value > check.upper
    assert str(check).startswith(f"{check.quantity}: sd z is ")


def test_another_rate_of_false_alarms(calibrated):
    strict = calibrated.judged(0.5)
    assert len(strict.failures) > len(calibrated.failures)
    assert strict.quantities is calibrated.quantities


def test_an_unknown_quantity_is_answered_with_the_names(calibrated):
    with pytest.raises(KeyError, match=r"parent\.sigma"):
        _ = calibrated["parent.sgima"]


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_plot_writes_a_file(calibrated, tmp_path, suffix):
    path = calibrated.plot(tmp_path / f"calibration{suffix}")
    assert path.stat().st_size > 1000


def test_plot_refuses_another_suffix(calibrated, tmp_path):
    with pytest.raises(GraphError, match=r"\.svg"):
        calibrated.plot(tmp_path / "calibration.txt")
