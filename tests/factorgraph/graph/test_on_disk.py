"""Data in a file, larger than memory: read block by block, with the answer of arrays in memory."""

from __future__ import annotations

import functools

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import factorgraph as fg
from factorgraph.graph import survey
from factorgraph.graph.on_disk import OnDisk

N, LENGTH = 40, 6


class Level:
    def __init__(self, level=0.0):
        self.level = level


class Series(fg.Analysis):
    def __init__(self, y, error, x):
        self.y, self.error, self.x = y, error, x

    def log_likelihood_function(self, instance):
        return jnp.sum(-0.5 * ((self.y - instance.level * self.x) / self.error) ** 2 - jnp.log(self.error))


class Centred(Series):
    """An attribute of its own making, which no file has."""

    def __init__(self, y, error, x):
        super().__init__(y - 1.0, error, x)


class Counting:
    """A source that remembers the largest part that was asked of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __getitem__(self, rows):
        found = self.values[rows]
        self.largest = max(self.largest, len(found))
        return found


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    level = rng.normal(2.0, 1.0, N)
    return {
        "y": (level[:, None] + rng.normal(0.0, 0.5, (N, LENGTH))).astype(np.float32),
        "error": rng.uniform(0.3, 0.6, N),
    }


def graph_of(y, error, analysis=Series, **more):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.HalfNormalPrior(3.0))
    model = fg.Model(Level)
    made = functools.partial(analysis, x=np.ones(LENGTH))
    return fg.FactorGraphModel(
        fg.Plate(model, made, {"y": y, "error": error}, **more), parent.over(model.level)
    ), parent


def answer_of(graph, parent):
    result = graph.optimise(seed=1)
    return [result.log_evidence, result.mean_field.mean[parent.mean], result.mean_field.scale[parent.sigma]]


@pytest.mark.parametrize("analysis", [Series, Centred])
def test_a_file_gives_what_arrays_give_bit_by_bit(data, analysis, tmp_path):
    with h5py.File(tmp_path / "survey.h5", "w") as file:
        data["y"] = data["y"].astype(float) if analysis is Centred else data["y"]
        file["y"] = data["y"]
        graph, parent = graph_of(file["y"], data["error"], analysis)
        assert answer_of(graph, parent) == answer_of(*graph_of(**data, analysis=analysis))
        constants = graph.plates[0].arrays.constants
        assert sum(isinstance(c, OnDisk) for c in constants) == (analysis is Series)


def test_a_memory_map_stays_one(data, tmp_path):
    np.save(tmp_path / "y.npy", data["y"])
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert answer_of(*graph_of(mapped, data["error"])) == answer_of(*graph_of(**data))


def test_a_large_variable_of_an_opened_file(data, tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "_MOST_BYTES", 1)
    names = [f"galaxy {i}" for i in range(N)]
    made = xr.Dataset({"y": (("galaxy", "pixel"), data["y"]), "error": ("galaxy", data["error"])}, {"galaxy": names})
    made["x"] = ("pixel", np.ones(LENGTH))
    made.to_netcdf(tmp_path / "survey.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "survey.nc", engine="h5netcdf") as opened:
        model = fg.Model(Level)
        plate = fg.Plate.from_dataset(opened, dim="galaxy", model=model, analysis=Series)
        parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.HalfNormalPrior(3.0))
        graph = fg.FactorGraphModel(plate, parent.over(model.level))
        assert answer_of(graph, parent) == answer_of(*graph_of(**data))
        assert any(isinstance(c, OnDisk) for c in graph.plates[0].arrays.constants)
        assert plate.names[3] == "galaxy 3"


def test_never_more_than_a_block_is_read(data):
    num = 3000
    source = Counting(np.repeat(data["y"], num // N, axis=0))
    graph, parent = graph_of(OnDisk(source), np.repeat(data["error"], num // N))
    answer_of(graph, parent)
    assert source.largest <= 1024


def test_the_summed_likelihood_reads_it_too(data):
    graph, _ = graph_of(OnDisk(data["y"]), data["error"])
    other, _ = graph_of(**data)
    at = [1.0] * graph.global_prior_model.prior_count
    instances = (g.global_prior_model.instance_from_vector(at) for g in (graph, other))
    found = [g.log_likelihood_function(i) for g, i in zip((graph, other), instances, strict=True)]
    assert found[0] == found[1]


def test_rows_in_any_order():
    values = np.arange(40.0).reshape(20, 2)
    column = OnDisk(Counting(values))
    for rows in ([3], [19, 0], [4, 4, 5, 6], [17, 2, 2, 9], list(range(19, -1, -1)), []):
        np.testing.assert_array_equal(column[np.array(rows, int)], values[np.array(rows, int)])
        np.testing.assert_array_equal(column[np.array(rows, int), 1], values[np.array(rows, int), 1])
    np.testing.assert_array_equal(column[3:11:2], values[3:11:2])
    np.testing.assert_array_equal(column[-1:], values[-1:])
    np.testing.assert_array_equal(column[7, ...], values[7])
    index = np.array([5, 1, 8, 8])
    taken = column.take(index)
    np.testing.assert_array_equal(taken[:], values[index])
    np.testing.assert_array_equal(taken[np.array([3, 0])], values[index[[3, 0]]])
    np.testing.assert_array_equal(taken.take(np.array([1]))[0], values[1])
