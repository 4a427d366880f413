"""Compilation is timed apart, and can be kept from one process to the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import factorgraph as fg
from tests.compilations import count_compilations

PROGRAM = """
import sys
import jax.numpy as jnp
import factorgraph as fg

class Level:
    def __init__(self, level):
        self.level = level

class Measured(fg.Analysis):
    def __init__(self, y):
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - instance.level) ** 2 - jnp.log1p(instance.level**2)

fg.cache_compilations(sys.argv[1])
parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=fg.HalfNormalPrior(1.0))
model = fg.Model(Level)
plate = fg.Plate(model, Measured, {"y": [0.1, -0.4, 1.2, 0.3]})
result = fg.FactorGraphModel(plate, parent.over(model.level)).optimise(seed=0)
print(result.compile_seconds, result.seconds, result.log_evidence.hex())
"""


def run(folder: Path) -> tuple[float, float, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True, env=environment
    )
    compiled, seconds, evidence = done.stdout.split()
    return float(compiled), float(seconds), evidence


@pytest.mark.slow
def test_a_second_process_reads_what_the_first_has_compiled(tmp_path):
    folder = tmp_path / "cache"
    first, first_seconds, evidence = run(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = {path.name for path in folder.iterdir()}
    assert files
    second, second_seconds, again = run(folder)
    assert {path.name for path in folder.iterdir() if path.name.endswith("-cache")} <= files
    assert second < 0.5 * first
    assert second_seconds < first_seconds
    assert again == evidence


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    open_to_all = tmp_path / "cache"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(fg.FactorGraphError, match="chmod 700"):
        fg.cache_compilations(open_to_all)


def test_what_was_compiled_already_takes_no_time():
    def graph(value):
        return fg.FactorGraphModel(
            fg.AnalysisFactor(fg.Model(fg.ex.Gaussian), Close(value))  # three private variables
        )

    with count_compilations() as compilations:
        first = graph(1.0).optimise(seed=0)
    assert (first.compile_seconds > 0.0) == (compilations.count > 0)
    assert first.compile_seconds < first.seconds
    assert graph(2.0).optimise(seed=0).compile_seconds == 0.0


class Close(fg.Analysis):
    def __init__(self, value):
        self.value = value

    def log_likelihood_function(self, instance):
        return -0.5 * (instance.centre - self.value) ** 2
