"""A file of results is read as it was written, or not at all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from factorgraph.checkpoint.archive import DamagedFile, packed, places_in, read, unpacked, write


class Pair(NamedTuple):
    first: Any
    second: Any


TREES = {
    "array": np.arange(6.0).reshape(2, 3),
    "single": np.float32([1.5, np.nan, -np.inf]),
    "scalar": np.float64(1 / 3),
    "empty": np.zeros((0, 4)),
    "flags": np.array([True, False]),
    "tree": Pair((np.int64(3), "said", None), [1, 2.5, True, Pair(np.array(7), -0.0)]),
}


def written(path, trees=TREES):
    write(path, [packed(key, tree) for key, tree in trees.items()])
    return {key: place for key, place in places_in(path)}


def found(place):
    return unpacked(place.tree, read(place), {"Pair": Pair})


def assert_same(tree, other):
    assert type(tree) is type(other)
    if isinstance(tree, (tuple, list)):
        assert len(tree) == len(other)
        for part, same in zip(tree, other, strict=True):
            assert_same(part, same)
    elif isinstance(tree, (np.ndarray, np.generic)):
        assert tree.dtype == other.dtype
        assert tree.shape == other.shape
        assert tree.tobytes() == other.tobytes()
    else:
        assert tree == other


def test_what_is_written_is_read(tmp_path):
    places = written(tmp_path / "a.pieces")
    for key, tree in TREES.items():
        assert_same(found(places[key]), tree)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pieces"]


def test_arrays_that_were_read_can_be_written_to(tmp_path):
    array = found(written(tmp_path / "a.pieces")["array"])
    array[0, 0] = 5.0
    assert found(written(tmp_path / "a.pieces")["array"])[0, 0] == 0.0


@pytest.mark.parametrize("thing", [object(), np.array([object()]), {"a": 1}, np.array(["text"])])
def test_only_arrays_and_trees_of_them_are_kept(thing):
    with pytest.raises(TypeError, match="cannot be kept"):
        packed("a", thing)


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "a.pieces"
    small = {"a": np.arange(4.0), "b": "said"}
    written(path, small)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        with pytest.raises(DamagedFile):
            _ = [read(one) for _, one in places_in(path)]


def test_every_missing_end_is_noticed(tmp_path):
    path = tmp_path / "a.pieces"
    written(path, {"a": np.arange(4.0)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFile):
            places_in(path)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("factorgraph.checkpoint.archive.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a.pieces", [packed("a", np.arange(3.0))])
    assert not list(tmp_path.iterdir())
