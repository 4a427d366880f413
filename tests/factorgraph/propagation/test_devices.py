"""Datasets divided among several devices: the same answer, wherever each of them is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.propagation.kernel import counts
from tests.factorgraph.propagation.devices_script import graph

NUM = 37  # a block of eight on each of three devices does not divide it
SCRIPT = Path(__file__).with_name("devices_script.py")


def solved_with(num_devices, cache):
    """The answer of `SCRIPT` in a process that has so many devices."""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(NUM)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_three_devices_give_the_answer_of_one(tmp_path):
    one, three = (solved_with(num, tmp_path) for num in (1, 3))
    assert (one.pop("devices"), three.pop("devices")) == (1, 3)
    assert one.keys() == three.keys()
    for name, expected in one.items():
        is_shared = np.size(expected) == 1  # the private ones follow from draws of these
        np.testing.assert_allclose(three[name], expected, rtol=1e-9 if is_shared else 1e-7, err_msg=name)


def test_each_device_is_told_how_many_of_its_datasets_count():
    assert counts(np.int64(5), 24, [None]) == 5
    np.testing.assert_array_equal(counts(np.int64(5), 24, [None] * 3), [5, 0, 0])
    np.testing.assert_array_equal(counts(np.int64(19), 24, [None] * 3), [8, 8, 3])
    np.testing.assert_array_equal(counts(np.int64(24), 24, [None] * 3), [8, 8, 8])


@pytest.mark.parametrize("size", [0, -8, 12, 2.0, True])
def test_a_block_is_a_multiple_of_eight(size):
    with pytest.raises(fg.GraphError, match="a positive multiple of 8"):
        graph(20)[0].optimise(block_size=size)


@pytest.mark.parametrize("devices", [[], ["cpu"]])
def test_devices_are_those_of_jax(devices):
    with pytest.raises(fg.GraphError, match=r"some of jax\.devices"):
        graph(20)[0].optimise(devices=devices)


@pytest.mark.slow
def test_a_smaller_block_gives_the_same_answer():
    survey, _ = graph(20)
    usual, blocks, named = (
        survey.optimise(seed=1, **how) for how in ({}, {"block_size": 16}, {"devices": jax.devices()[:1]})
    )
    assert usual.log_evidence == named.log_evidence
    np.testing.assert_allclose(blocks.log_evidence, usual.log_evidence, rtol=1e-9)
