"""A pool that survives its workers: every call has an answer, nothing hangs and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, wait
from pathlib import Path

import pytest

import factorgraph as fg
from tests.conftest import ROOT
from tests.factorgraph.distributed import calls

SCRIPT = """
import sys, time
import factorgraph as fg
from tests.factorgraph.distributed import calls
if __name__ == "__main__":
    pool = fg.SpawnPool(workers=1)
    print(pool.submit(calls.where).result(), flush=True)
    pool.submit(calls.never_ends)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def pool():
    with fg.SpawnPool(workers=2, timeout=2.0) as pool:
        yield pool


def gone(pid, seconds=10.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_it_is_an_executor(pool):
    assert isinstance(pool, Executor)
    future = pool.submit(calls.square, 3)
    assert isinstance(future, Future)
    assert future.result() == 9
    assert list(pool.map(calls.square, range(50))) == [x * x for x in range(50)]


def test_workers_are_other_processes_with_one_thread(pool):
    assert pool.submit(calls.where).result() in set(pool.processes) - {os.getpid()}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        before = os.environ.get(name)
        assert pool.submit(calls.environment, name).result() == "1"
        assert os.environ.get(name) == before


def test_a_worker_that_dies_loses_only_its_call(pool):
    futures = [pool.submit(calls.dies, 9), *(pool.submit(calls.square, x) for x in range(10))]
    assert [future.result() for future in futures[1:]] == [x * x for x in range(10)]
    with pytest.raises(fg.WorkerLost, match=r"died \(exit code 9\) 3 times"):
        futures[0].result()


def test_a_call_whose_worker_died_once_is_made_again(pool, tmp_path):
    assert pool.submit(calls.dies_once, str(tmp_path / "was here")).result() == "second time"


def test_a_killed_worker_is_replaced(pool):
    for pid in pool.processes:
        os.kill(pid, signal.SIGKILL)
    assert list(pool.map(calls.square, range(4))) == [0, 1, 4, 9]


def test_a_call_that_takes_too_long_is_stopped(pool):
    began = time.monotonic()
    late, fine = pool.submit(calls.never_ends), pool.submit(calls.square, 2)
    assert fine.result() == 4
    with pytest.raises(fg.WorkerLost, match="stopped after timeout = 2 s"):
        late.result(timeout=30)
    assert time.monotonic() - began < 20.0


def test_exceptions_come_back(pool):
    with pytest.raises(ValueError, match="no such galaxy") as caught:
        pool.submit(calls.fails).result()
    assert "in fails" in caught.value.__notes__[0]
    with pytest.raises(SystemExit):
        pool.submit(calls.leaves).result()
    with pytest.raises(RuntimeError, match="odd"):
        pool.submit(calls.fails_oddly).result()
    with pytest.raises(Exception, match="pickle"):
        pool.submit(calls.returns_lambda).result()
    with pytest.raises(Exception, match="pickle"):
        pool.submit(lambda: 0)


@pytest.mark.parametrize(("settings", "said"), [({"workers": 0}, "at least one"), ({"timeout": 0.0}, "seconds")])
def test_settings_are_checked(settings, said):
    with pytest.raises(fg.GraphError, match=said):
        fg.SpawnPool(**settings)


def test_nothing_is_left_behind():
    with fg.SpawnPool(workers=1) as pool:
        assert pool.submit(calls.square, 2).result() == 4
        pids = pool.processes
    assert pids
    assert all(gone(pid) for pid in pids)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(calls.square, 2)


def test_an_error_in_the_block_ends_the_calls_at_once():
    def block():
        with fg.SpawnPool(workers=1) as pool:
            found.append(pool.submit(calls.where).result())
            futures.extend(pool.submit(calls.never_ends) for _ in range(3))
            raise KeyboardInterrupt

    found, futures = [], []
    with pytest.raises(KeyboardInterrupt):
        block()
    assert gone(found[0])
    assert not wait(futures, timeout=10).not_done


def test_workers_end_with_the_process_that_made_them(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(worker)
