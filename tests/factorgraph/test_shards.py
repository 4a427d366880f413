"""Several processes share a run: together they do all of it, and the result has the bits of one process alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.checkpoint import share, store
from factorgraph.checkpoint.lock import Lock
from factorgraph.checkpoint.share import Asked, Share, lock_of, shared_out
from factorgraph.cli import main
from factorgraph.propagation import blocks
from tests.conftest import ROOT
from tests.factorgraph.checkpoint import survey as script
from tests.factorgraph.checkpoint.survey import numbers_of, same, survey

SOURCE = f"{Path(script.__file__)}:survey"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "_SIZES", (8,))


# --- who makes what ---


def asked_by(number, of, folder, made, num=12, patience=300.0):
    """The results of a share, and in ``made`` what it made itself."""

    def make(k):
        made.append(k)
        return np.float64(k) ** 2

    keys = [Asked(f"{k:032x}", (np.float64(k),), lambda k=k: make(k)) for k in range(num)]
    opened = store.Store(folder, ())
    results = shared_out(opened, Share(folder, number, of, patience, 0.01), keys)
    opened.close()
    return results


SQUARES = [k**2 for k in range(12)]


def test_two_shares_at_work_make_half_each(tmp_path):
    made: tuple[list, list] = ([], [])
    found = {}
    locks = [Lock(tmp_path / lock_of(k, 2)) for k in range(2)]
    for lock in locks:
        lock.acquire()

    def run(k):
        found[k] = asked_by(k, 2, tmp_path, made[k])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lock in locks:
        lock.release()
    assert found == {0: SQUARES, 1: SQUARES}
    assert made == ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])


def test_the_share_of_one_who_is_not_there_is_made_last(tmp_path):
    made: list = []
    assert asked_by(1, 3, tmp_path, made) == SQUARES
    assert made[:4] == [1, 4, 7, 10]
    assert sorted(made) == list(range(12))


def test_patience_ends_where_one_at_work_finishes_nothing(tmp_path):
    lock = Lock(tmp_path / lock_of(1, 2))
    lock.acquire()
    made: list = []
    assert asked_by(0, 2, tmp_path, made, patience=0.05) == SQUARES
    assert len(made) == 12
    lock.release()


def test_a_later_share_finds_what_was_made(tmp_path):
    asked_by(0, 2, tmp_path, [])
    made: list = []
    assert asked_by(1, 2, tmp_path, made) == SQUARES
    assert not made


# --- a run ---


def worker(folder, *more):
    arguments = [sys.executable, "-m", "factorgraph", "worker", str(folder), *more]
    return subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_two_workers_and_the_plain_run_have_the_same_bits(tmp_path, monkeypatch):
    folder = fg.prepare_run(tmp_path / "run", SOURCE)
    assert main(["worker", str(folder), "--shard", "1/2"]) == 0
    num = len(list(folder.glob("*.pieces")))
    assert num
    assert main(["worker", str(folder), "--shard", "2/2"]) == 0
    assert len(list(folder.glob("*.pieces"))) == num
    whole = numbers_of(survey().optimise())
    monkeypatch.setattr("factorgraph.propagation.population.explore", None)
    assert same(numbers_of(survey().optimise(checkpoint=folder)), whole)


@pytest.mark.slow
def test_three_workers_at_a_time_one_of_them_killed(tmp_path):
    folder = fg.prepare_run(tmp_path / "run", SOURCE, seed=3)
    started = [worker(folder, "--shard", f"{k}/3") for k in range(3)]
    with pytest.raises(subprocess.TimeoutExpired):
        started[1].wait(4.0)
    started[1].kill()
    started[1].wait()
    assert [started[0].wait(), started[2].wait()] == [0, 0]
    assert same(numbers_of(survey().optimise(checkpoint=folder, seed=3)), numbers_of(survey().optimise(seed=3)))


# --- words ---


def test_a_failure_has_exit_code_one_and_says_why(tmp_path, capsys):
    assert main(["worker", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "bad.py").write_text("def none():\n    return 3\n\ndef fails():\n    raise KeyError('x')\n")
    folder = fg.prepare_run(tmp_path / "none", f"{tmp_path}/bad.py:none")
    assert main(["worker", str(folder)]) == 1
    assert "it has to return the FactorGraphModel" in capsys.readouterr().err
    folder = fg.prepare_run(tmp_path / "fails", f"{tmp_path}/bad.py:fails")
    assert main(["worker", str(folder)]) == 1
    assert "KeyError: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["3/2", "1", "a/b", "0/0", "-1/2", "1/2/3"])
def test_wrong_arguments_have_exit_code_two(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        main(["worker", "run", f"--shard={wrong}"])
    assert end.value.code == 2
    assert "is no share" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "number"), [("0/4", 0), ("3/4", 3), ("4/4", 0)])
def test_shares_are_counted_from_zero_or_one(text, number, monkeypatch):
    seen = []
    monkeypatch.setattr("factorgraph.cli.work", lambda run, number, of, patience: seen.append((number, of)))
    assert main(["worker", "run", "--shard", text]) == 0
    assert seen == [(number, 4)]


def test_a_share_that_is_at_work_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("factorgraph.checkpoint.lock._PATIENCE", 0.0)
    folder = fg.prepare_run(tmp_path / "run", SOURCE)
    lock = Lock(folder / lock_of(1, 2))
    lock.acquire()
    assert main(["worker", str(folder), "--shard", "1/2"]) == 1
    assert "is running in this folder" in capsys.readouterr().err
    lock.release()


def test_what_is_prepared_is_checked_at_once(tmp_path):
    with pytest.raises(fg.CheckpointError, match="no function 'surve'. Did you mean 'survey'"):
        fg.prepare_run(tmp_path / "a", SOURCE[:-1])
    with pytest.raises(fg.CheckpointError, match="say which function makes it"):
        fg.prepare_run(tmp_path / "a", "script.py")
    with pytest.raises(fg.CheckpointError, match="cannot be imported"):
        fg.prepare_run(tmp_path / "a", "no_such_module:graph")
    with pytest.raises(fg.UnknownArgument, match="Did you mean 'seed'"):
        fg.prepare_run(tmp_path / "a", SOURCE, sed=1)
    assert not (tmp_path / "a").exists()
    folder = fg.prepare_run(tmp_path / "a", SOURCE, seed=1)
    assert fg.prepare_run(tmp_path / "a", SOURCE, seed=1) == folder
    assert json.loads((folder / "run.json").read_text()) == {"graph": SOURCE, "settings": {"seed": 1}}
    with pytest.raises(fg.CheckpointError, match="folder of another run"):
        fg.prepare_run(folder, SOURCE, seed=2)
    with pytest.raises(fg.CheckpointError, match="counted from 0 to 1"):
        share.Share(folder, 2, 2)
