"""A run that is killed goes on where it was, and ends with the same bits."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.checkpoint import archive, store
from factorgraph.propagation import blocks
from tests.conftest import ROOT
from tests.factorgraph.checkpoint import survey as script
from tests.factorgraph.checkpoint.survey import COUNTS, CalledCounts, Counts, numbers_of, same, survey
from tests.factorgraph.test_failing_searches import sample

SCRIPT = Path(script.__file__)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "_SIZES", (8,))


@pytest.fixture
def every_piece_at_once(monkeypatch):
    monkeypatch.setattr(store, "_SHORTEST", 0.0)
    monkeypatch.setattr(store, "_LONGEST", 0.0)


@pytest.fixture(scope="module")
def uninterrupted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_SIZES", (8,))
        return numbers_of(survey().optimise())


class Killed(BaseException):
    """In place of SIGKILL: nothing that waits to be written is written any more."""


def run_until(monkeypatch, folder, num, graph=None):
    """Solve with a checkpoint; die when the next file after ``num`` is to be written. How many pieces were found."""
    left, stores = [num], []
    write, begin = store.write, store.Store.__init__

    def write_or_die(path, entries):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        write(path, entries)

    def noted(store, *args):
        begin(store, *args)
        stores.append(store)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", write_or_die)
        patch.setattr(store.Store, "__init__", noted)
        patch.setattr(store.Store, "close", lambda store: setattr(store, "is_open", False))
        with pytest.raises(Killed):
            (graph or survey()).optimise(checkpoint=folder)
    return stores[0].num_found


def test_a_checkpoint_changes_nothing(tmp_path, uninterrupted):
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path / "run")), uninterrupted)


@pytest.mark.parametrize("num", [0, 2, 5])
def test_a_run_that_was_killed_ends_with_the_same_bits(num, tmp_path, monkeypatch, uninterrupted, every_piece_at_once):
    run_until(monkeypatch, tmp_path, num)
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path)), uninterrupted)


def test_ten_short_slots_each_get_farther(tmp_path, monkeypatch, uninterrupted, every_piece_at_once):
    found = [run_until(monkeypatch, tmp_path, 1) for _ in range(10)]
    assert found == list(range(10))
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path)), uninterrupted)


def test_a_finished_run_computes_nothing_again(tmp_path, monkeypatch, uninterrupted):
    survey().optimise(checkpoint=tmp_path)
    files = sorted(tmp_path.iterdir())
    monkeypatch.setattr("factorgraph.propagation.population.explore", None)
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path)), uninterrupted)
    assert sorted(tmp_path.iterdir()) == files


def solved_by_script(folder, out, *more, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, str(SCRIPT), str(folder), str(out), *more]
    return subprocess.run(arguments, cwd=folder, env=environment, check=False, **options)


def test_sigkill_of_a_process(tmp_path, uninterrupted):
    """As a file is about to get its name; the rest of it is cleared away, and the lock is nobody's any more."""
    died = solved_by_script(tmp_path, tmp_path / "out.npz", "--die", "4")
    assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.pieces"))) == 3
    assert len(list(tmp_path.glob(".*.part"))) == 1
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path)), uninterrupted)
    assert not list(tmp_path.glob(".*.part"))


# --- damage ---


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_put_aside(damage, tmp_path, uninterrupted, every_piece_at_once):
    survey().optimise(checkpoint=tmp_path)
    path = sorted(tmp_path.glob("*.pieces"))[1]
    whole = path.read_bytes()
    changed = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    path.write_bytes({"cut": whole[:-8], "changed": changed, "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"is damaged .* computed again"):
        again = survey().optimise(checkpoint=tmp_path)
    assert same(numbers_of(again), uninterrupted)
    assert path.with_name(f"{path.name}.damaged").exists()


def test_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch, uninterrupted, every_piece_at_once):
    def full(path, entries):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write", full)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = survey().optimise(checkpoint=tmp_path)
    assert same(numbers_of(result), uninterrupted)
    assert sum("No space left on device" in str(one.message) for one in said) == 1


def test_nothing_is_unpickled(tmp_path, monkeypatch, uninterrupted):
    survey().optimise(checkpoint=tmp_path)

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(np, "load", refuse)
    assert same(numbers_of(survey().optimise(checkpoint=tmp_path)), uninterrupted)


# --- refusals ---


class OtherCounts(Counts):
    def log_likelihood_function(self, instance):
        return 1.0 + super().log_likelihood_function(instance)


CHANGED = np.where(np.arange(len(COUNTS)) == 7, 100.0, COUNTS)


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        ({"counts": CHANGED}, {}, r"the data of 1 of 24 Counts: s7\."),
        ({"counts": COUNTS[:20]}, {}, r"the number of datasets \(24, now 20\)"),
        ({"scatter": 3.0}, {}, r"the prior of population.sigma \(HalfNormal\(.*2.*, now HalfNormal\(.*3"),
        ({"names": "t{}"}, {}, r"the names of Counts datasets: s0, s1, s2, s3, s4, \.\.\."),
        ({"analysis": OtherCounts}, {}, r"the analysis \(Counts, now OtherCounts\)"),
        ({}, {"seed": 1}, r"the setting seed \(0, now 1\)"),
        ({}, {"power": 0.5}, r"the setting power \(1.0, now 0.5\)"),
    ],
)
def test_a_folder_of_another_run_is_refused(change, settings, said, kept):
    with pytest.raises(fg.CheckpointError, match=rf"belongs to another run\. Different are .*{said}"):
        survey(**change).optimise(checkpoint=kept, **settings)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_SIZES", (8,))
        survey().optimise(checkpoint=folder)
    return folder


def test_changed_code_and_versions_are_named(kept, monkeypatch):
    monkeypatch.setattr(Counts, "log_likelihood_function", lambda self, instance: -((instance.log_rate - 1.0) ** 2))
    monkeypatch.setattr("factorgraph.checkpoint.manifest.metadata.version", lambda name: "0.0")
    with pytest.raises(fg.CheckpointError) as error:
        survey().optimise(checkpoint=kept)
    assert "the model or the code of Counts datasets" in str(error.value)
    assert "the version of jax (" in str(error.value)
    assert "another folder, or delete this one" in str(error.value)


def test_a_damaged_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(fg.CheckpointError, match=r"manifest\.json is damaged"):
        survey().optimise(checkpoint=tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("factorgraph.factor_graph_model.solve", None)
    with pytest.raises(fg.CheckpointError, match="cannot be written to"):
        survey().optimise(checkpoint=tmp_path / "file" / "run")


def test_a_read_only_folder_is_refused_at_once(tmp_path, monkeypatch):
    def read_only(path, *parts):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("factorgraph.checkpoint.folder.write_whole", read_only)
    monkeypatch.setattr("factorgraph.factor_graph_model.solve", None)
    with pytest.raises(fg.CheckpointError, match=r"cannot be written to \(Permission denied\)"):
        survey().optimise(checkpoint=tmp_path)


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("factorgraph.checkpoint.lock._PATIENCE", 0.0)
    holder = f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from factorgraph.checkpoint.lock import Lock
        lock = Lock(Path({str(tmp_path)!r}) / "run.lock")
        lock.acquire()
        print("held", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", "if True:" + holder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(fg.CheckpointError, match=f"process {process.pid} on .* is running in this folder"):
            survey().optimise(checkpoint=tmp_path)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    survey().optimise(checkpoint=tmp_path)  # the lock of a process that was killed is nobody's


# --- likelihoods that are called ---

CHECKED = 2  # calls before a run, to see whether JAX can trace the likelihood and what it returns
FEW = np.array([0.0, 2.0, 5.0])


def called_survey(log):
    CalledCounts.log = str(log)
    return survey(FEW, CalledCounts)


def test_calls_are_not_made_again(tmp_path, monkeypatch, every_piece_at_once):
    """A run that is killed between two files has the calls of one piece to make again, at most 64."""
    whole = numbers_of(called_survey(tmp_path / "whole").optimise())
    num_calls = (tmp_path / "whole").stat().st_size
    assert num_calls == sum(whole[k].sum() for k in whole if k.startswith("calls")) + CHECKED
    folder = tmp_path / "run"
    for slot in range(3):
        run_until(monkeypatch, folder, 30, called_survey(tmp_path / "log"))
        assert len(list(folder.glob("*.pieces"))) == 30 * (slot + 1)
    assert same(numbers_of(called_survey(tmp_path / "log").optimise(checkpoint=folder)), whole)
    again = (tmp_path / "log").stat().st_size - num_calls - 3 * CHECKED
    assert 0 <= again <= 3 * 64
    before = (tmp_path / "log").stat().st_size
    assert same(numbers_of(called_survey(tmp_path / "log").optimise(checkpoint=folder)), whole)
    assert (tmp_path / "log").stat().st_size == before + CHECKED


class Failing(CalledCounts):
    def log_likelihood_function(self, instance):
        if instance.log_rate > 1.5:
            raise ValueError("too bright")
        return super().log_likelihood_function(instance)


class Broken:
    """A search that breaks off at some datasets."""

    def explore(self, target, *, seed):
        x = np.random.default_rng(seed).standard_normal((500, 1))
        for point in x[:20]:
            target.log_likelihood(point, target.data)
        if seed % 2:
            return sample(target, x)
        raise RuntimeError("no")


def test_what_calls_and_searches_said_is_kept_too(tmp_path):
    def solved():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CalledCounts.log = ""
            result = survey(FEW, Failing).optimise(Broken(), checkpoint=tmp_path)
        plate = result._solution.plates[0]
        return numbers_of(result), plate.search_failures, plate.failures

    numbers, failures, said = solved()
    assert failures
    assert all("too bright" in text for text in said.values())
    files = sorted(tmp_path.iterdir())
    again, failed_again, said_again = solved()
    assert same(again, numbers)
    assert failed_again == failures
    assert said_again == said
    assert sorted(tmp_path.iterdir()) == files


# --- by the clock ---


@pytest.mark.long
def test_sigkill_at_twenty_moments(tmp_path):
    cache = tmp_path / "cache"
    more = ("--num", "400", "--cache", str(cache))
    folder = tmp_path / "whole"
    folder.mkdir()
    assert solved_by_script(folder, tmp_path / "whole.npz", *more).returncode == 0
    again = tmp_path / "warm"
    again.mkdir()
    began = time.monotonic()
    assert solved_by_script(again, tmp_path / "warm.npz", *more).returncode == 0
    seconds = time.monotonic() - began
    whole = dict(np.load(tmp_path / "whole.npz", allow_pickle=False))
    assert same(dict(np.load(tmp_path / "warm.npz", allow_pickle=False)), whole)
    for number, fraction in enumerate(np.random.default_rng(0).uniform(0.2, 1.0, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            solved_by_script(folder, tmp_path / "out.npz", *more, timeout=fraction * seconds)
        except subprocess.TimeoutExpired:  # killed
            assert solved_by_script(folder, tmp_path / "out.npz", *more).returncode == 0
        assert same(dict(np.load(tmp_path / "out.npz", allow_pickle=False)), whole)


def test_the_script_is_killed_where_it_says():
    """`survey.py` replaces a name of the module that the files are written by."""
    assert archive.os.replace is os.replace
