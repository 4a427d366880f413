"""A dataset that kills its worker, or never ends, is left out and named; the others know nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from searches.status import Status
from tests.factorgraph.distributed.surveys import survey

NUM, BAD = 20, 7


@pytest.fixture(scope="module")
def healthy():
    return survey(num=NUM, without=(BAD,)).optimise(correct=False)


def assert_without_it(result, healthy, reason):
    assert list(result.quarantined) == [f"d{BAD}"]
    assert reason in result.quarantined[f"d{BAD}"]
    assert result.status[f"d{BAD}"] == Status.quarantined
    assert f"d{BAD}" in result.info
    assert str(result.diagnostics["status"].values[BAD]) == "quarantined"
    for found, expected in [
        (result._solution.ep.mean, healthy._solution.ep.mean),
        (result._solution.ep.covariance, healthy._solution.ep.covariance),
        (result.log_evidence, healthy.log_evidence),
        (np.delete(result._solution.local[0].mean, BAD, axis=0), healthy._solution.local[0].mean),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.all(np.isnan(result._solution.local[0].mean[BAD]))


@pytest.mark.parametrize(
    ("poison", "timeout", "reason"),
    [(1.0, None, "died (exit code 9) 3 times"), (2.0, 10.0, "timeout = 10 s"), (3.0, None, "sys.exit(3)")],
    ids=["os._exit", "endless", "sys.exit"],
)
@pytest.mark.slow
def test_a_poisoned_dataset_is_left_out_and_named(healthy, poison, timeout, reason):
    with fg.SpawnPool(workers=2, timeout=timeout) as pool, pytest.warns(UserWarning, match="left out"):
        result = survey(num=NUM, poison={BAD: poison}).optimise(executor=pool, correct=False)
    assert_without_it(result, healthy, reason)


def test_a_dataset_that_kills_its_worker_is_left_out_and_named(healthy):
    with fg.SpawnPool(workers=2, timeout=60.0) as pool, pytest.raises(fg.DatasetsLeftOut, match=f"d{BAD}") as caught:
        survey(num=NUM, poison={BAD: 1.0}).optimise(executor=pool, correct=False, strict=True)
    assert_without_it(caught.value.result, healthy, "died (exit code 9) 3 times")


@pytest.mark.parametrize("method", [pytest.param("joint", marks=pytest.mark.slow), "direct"])
def test_one_that_is_lost_late_says_nothing_either(method, tmp_path, monkeypatch):
    """It has been explored, and its surrogate or its integrals are in the sweeps."""
    graph = survey(method, num=8, without=(BAD,))
    healthy, late = graph.optimise(correct=False), tmp_path / "calls"
    explored = {"joint": 60_000, "direct": 300}[method]
    monkeypatch.setenv("LATE_POISON_FILE", str(late))
    monkeypatch.setenv("LATE_POISON_CALLS", str(explored))
    with fg.SpawnPool(workers=1, timeout=60.0) as pool, pytest.warns(UserWarning, match="left out"):
        result = survey(method, num=8, poison={BAD: 4.0}).optimise(executor=pool, correct=False)
    assert late.stat().st_size >= explored
    assert list(result.quarantined) == [f"d{BAD}"]
    assert "died" in result.quarantined[f"d{BAD}"]
    np.testing.assert_allclose(result._solution.ep.mean, healthy._solution.ep.mean, rtol=1e-6)
    np.testing.assert_allclose(result._solution.ep.covariance, healthy._solution.ep.covariance, rtol=1e-6)
    assert result.log_evidence == pytest.approx(healthy.log_evidence, abs=1e-6)


@pytest.mark.slow
def test_nothing_but_poison_is_an_error():
    with fg.SpawnPool(workers=2) as pool, pytest.raises(fg.LikelihoodError, match="no answer about any of its 2"):
        survey(num=3, poison={1: 1.0, 2: 1.0}, without=(0,)).optimise(executor=pool)
