import warnings
from dataclasses import replace

import numpy as np
import pytest

from factorgraph.results.dataset_result import DatasetResult
from factorgraph.results.result import Result
from searches.status import Status
from tests.factorgraph.results.schools import EFFECTS, ERRORS, NAMES


def test_moments_agree_with_quadrature(solved):
    parent, models = solved.schools.parent, solved.schools.models
    variables = [parent.mean, parent.sigma, *(model.theta for model in models)]
    moments = solved.result.mean_field
    mean = np.array([moments.mean[v] for v in variables])
    scale = np.array([moments.scale[v] for v in variables])
    assert np.max(np.abs(mean - solved.exact.mean) / solved.exact.scale) < 0.15
    np.testing.assert_allclose(scale, solved.exact.scale, rtol=0.15)
    assert solved.result.log_evidence == pytest.approx(solved.exact.log_evidence, abs=0.05)
    assert moments.covariance(parent.mean, parent.mean) == moments.variance[parent.mean]


def test_what_can_be_relied_on_is_said(solved):
    result = solved.result
    assert result.converged
    assert result.is_corrected
    assert not result.is_exact
    assert result.k_hat < 0.7
    assert result.log_evidence_note == ""
    assert result.seed == 0
    assert result.seconds > 0.0
    assert repr(result).startswith("Result(8 datasets, 2 shared variables, converged, corrected, log_evidence=-31.")


def test_ep_keeps_its_own_answer(solved):
    result, parent = solved.result, solved.schools.parent
    assert result.ep.log_evidence != result.log_evidence
    assert (
        abs(result.ep.mean_field.mean[parent.mean] - result.mean_field.mean[parent.mean]) < 0.2 * solved.exact.scale[0]
    )
    draws = result.ep.mean_field.draws(parent.sigma)
    assert draws.min() > 0.0
    assert draws.mean() == pytest.approx(result.ep.mean_field.mean[parent.sigma], rel=0.1)
    assert result.ep.num_steps == len(result.ep.history) == len(result.ep_history)
    assert [info.step for info in result.ep_history] == list(range(1, result.ep.num_steps + 1))
    assert repr(result.ep).startswith("EPResult(converged, ")


def test_the_corrected_answer_is_an_object_of_its_own(solved):
    corrected, result, parent = solved.result.corrected, solved.result, solved.schools.parent
    assert corrected.is_trusted
    assert corrected.log_evidence == result.log_evidence
    assert corrected.log_evidence_error == result.log_evidence_error
    assert corrected.k_hat == result.k_hat
    assert corrected.mean_field.mean[parent.sigma] == result.mean_field.mean[parent.sigma]
    np.testing.assert_array_equal(corrected.draws, result.draws)
    assert 500.0 < corrected.effective_sample_size < 8192.0
    assert repr(corrected).startswith("CorrectedResult(importance sampling, ")


def test_a_correction_that_is_not_trusted_can_be_looked_at(solved):
    found = solved.result._solution
    solution = replace(found, is_corrected=False, answer=found.ep, k_hat=0.9, log_joint=None)
    with pytest.warns(UserWarning, match="could not be corrected"):
        result = Result.from_solution(solved.schools.graph, solution)
    assert not result.corrected.is_trusted
    assert result.corrected.log_evidence == pytest.approx(solved.exact.log_evidence, abs=0.05)
    assert "k-hat 0.90, NOT TRUSTED" in repr(result.corrected)


def test_names_of_the_older_interface(solved):
    result, parent = solved.result, solved.schools.parent
    assert result.updated_ep_mean_field.mean_field.mean[parent.mean] == result.mean_field.mean[parent.mean]
    assert parent.mean in result.updated_ep_mean_field.mean_field.variables


def test_draws_and_samples_are_joint(solved):
    result, parent = solved.result, solved.schools.parent
    assert result.variables == (parent.mean, parent.sigma)
    samples = result.samples(100, seed=3)
    assert list(samples) == ["parent.mean", "parent.sigma"]
    rows = {tuple(row) for row in result.draws}
    assert all(row in rows for row in zip(*samples.values()))
    np.testing.assert_array_equal(samples["parent.mean"], result.samples(100, seed=3)["parent.mean"])
    assert len(result.samples(5000)["parent.mean"]) == 5000


def test_one_child_a_dataset(solved):
    result, models = solved.result, solved.schools.models
    assert len(result) == len(list(result)) == 8
    assert [child.name for child in result] == list(NAMES)
    child = result[1]
    assert isinstance(child, DatasetResult)
    assert result["B"].name == result[-7].name == child.name
    assert child.status == Status.ok
    assert child.local_variables == child.mean_field.variables == (models[1].theta,)
    assert child.instance.theta == result.mean_field.mean[models[1].theta]
    assert child.draws.shape == (len(result.draws), 1)
    with pytest.raises(KeyError, match="There is no dataset 'Z'"):
        result["Z"]
    with pytest.raises(IndexError):
        result[8]


def test_instance_of_largest_likelihood(solved):
    child = solved.result[0]
    rows = np.linspace(0, len(child.draws) - 1, 100).astype(int)
    distance = np.abs(child.draws[rows, 0] - EFFECTS[0])  # the likelihood falls with the distance from the datum
    assert child.max_log_likelihood_instance.theta == child.draws[rows[np.argmin(distance)], 0]


def test_status_and_outliers(solved):
    result = solved.result
    assert result.status == dict.fromkeys(NAMES, Status.ok)
    assert result.quarantined == {}
    assert set(result.leave_one_out) == set(NAMES)
    ranked = result.outliers(3)
    assert [value for _, value in ranked] == sorted(result.leave_one_out.values())[:3]


def test_leave_one_out_is_the_predictive_density_of_a_school(solved):
    """Under the others' posterior of (mu, tau), by importance sampling from the full posterior: 1 / mean(1 / f_j)."""
    mu, tau = solved.result.draws.T
    for name, effect, error in zip(NAMES, EFFECTS, ERRORS):
        variance = tau**2 + error**2
        log_factor = -0.5 * (effect - mu) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
        expected = -np.log(np.mean(np.exp(-log_factor)))
        assert solved.result.leave_one_out[name] == pytest.approx(expected, abs=0.1)


def test_a_good_result_warns_of_nothing(solved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type(solved.result).from_solution(solved.schools.graph, solved.result._solution)


def test_a_run_that_did_not_settle_says_so(solved):
    solution = replace(solved.result._solution, converged=False)
    with pytest.warns(UserWarning, match=r"had not converged after \d+ sweeps. See result.info"):
        result = Result.from_solution(solved.schools.graph, solution)
    assert "NOT CONVERGED" in result.info
    assert "not converged" in repr(result)


def test_an_answer_that_could_not_be_corrected_says_so(solved):
    found = solved.result._solution
    solution = replace(found, is_corrected=False, answer=found.ep, k_hat=0.9, log_joint=None)
    with pytest.warns(UserWarning, match=r"could not be corrected \(k-hat 0.90\), the answer is EP's"):
        result = Result.from_solution(solved.schools.graph, solution)
    assert result.log_evidence == result.ep.log_evidence
    assert "UNCORRECTED" in result.info
    assert "EP mean" not in result.info
    assert "sample_stats" not in result.datatree.children


def test_quarantined_datasets_are_named_with_the_reason(solved):
    found = solved.result._solution
    status = found.status[0].copy()
    status[2] = Status.quarantined
    lost = (status, *found.status[1:])
    with pytest.warns(UserWarning, match=r"1 dataset\(s\) were left out: C. See"):
        result = Result.from_solution(solved.schools.graph, replace(found, status=lost))
    assert result.quarantined == {"C": "its log likelihood is finite at none of the points tried"}
    assert result["C"].status == Status.quarantined
    assert "QUARANTINED: C\n" in result.info


def test_datasets_that_were_not_explored_are_named(solved):
    found = solved.result._solution
    status = found.status[0].copy()
    status[[1, 4]] = Status.poor_proposal, Status.cavity_improper
    unsure = (status, *found.status[1:])
    with pytest.warns(UserWarning, match=r"1 dataset\(s\) may be wrong, see result.status: B\. See"):
        result = Result.from_solution(solved.schools.graph, replace(found, status=unsure))
    assert result.status["B"] == Status.poor_proposal
