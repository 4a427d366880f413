"""On a real cluster of Dask, of processes on this machine: the same answer, and poison is left out."""

from __future__ import annotations

import os

import numpy as np
import pytest

import factorgraph as fg
from tests.conftest import ROOT
from tests.factorgraph.distributed.surveys import Called, numbers_of, survey

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    dask = pytest.importorskip("dask")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.worker.daemon": False}
    try:
        with (
            dask.config.set(settings),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_the_answer_is_the_same(client):
    expected = numbers_of(survey().optimise(correct=False))
    found = numbers_of(survey().optimise(correct=False, executor=client.get_executor()))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_class_within_a_function_is_sent_too(client):
    class Hidden(Called):
        pass

    result = survey(num=3, analysis=Hidden).optimise(correct=False, executor=client.get_executor())
    np.testing.assert_allclose(result.log_evidence, survey(num=3).optimise(correct=False).log_evidence, rtol=1e-9)


def test_a_dataset_that_kills_its_worker_is_left_out(client):
    bad, num = 5, 8
    healthy = survey(num=num, without=(bad,)).optimise(correct=False)
    with pytest.warns(UserWarning, match="left out"):
        result = survey(num=num, poison={bad: 1.0}).optimise(correct=False, executor=client.get_executor())
    assert list(result.quarantined) == [f"d{bad}"]
    assert "died" in result.quarantined[f"d{bad}"]
    np.testing.assert_allclose(result._solution.ep.mean, healthy._solution.ep.mean, rtol=1e-6)
    assert isinstance(result, fg.Result)
