"""The names a user types: they exist, they are documented, and a misspelled one is answered with the right one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import factorgraph as fg
from tests.conftest import ROOT

MODEL = ("Model", "Collection", "Array", "Log", "Log10", "Exp", "Sqrt")
PRIORS = tuple(
    f"{family}Prior"
    for family in (
        *("Uniform", "LogUniform", "Gaussian", "TruncatedGaussian", "LogGaussian", "HalfNormal", "HalfCauchy"),
        *("StudentT", "Gamma", "InverseGamma", "Beta", "Exponential", "Flat"),
    )
)
GRAPH = ("Analysis", "AnalysisFactor", "HierarchicalFactor", "FactorGraphModel", "Result")
SEARCHES = ("DynestyStatic", "UltraNest", "SMC", "NUTS", "Laplace", "LaplaceOptimiser")
CALIBRATION = ("calibrate", "Calibration", "PredictiveCheck", "predictive_check")


@pytest.mark.parametrize("name", MODEL + PRIORS + GRAPH + SEARCHES + CALIBRATION + ("ex", "util"))
def test_promised_names_are_public(name):
    assert name in fg.__all__
    assert name in dir(fg)


@pytest.mark.parametrize("name", ["ex.Gaussian", "ex.Analysis", "ex.plot_profile_1d", "util.numpy_array_from_json"])
def test_example_objects_of_the_documents_are_there(name):
    module, attribute = name.split(".")
    assert callable(getattr(getattr(fg, module), attribute))


def test_public_names_resolve_and_are_documented():
    assert len(set(fg.__all__)) == len(fg.__all__)
    undocumented = [name for name in fg.__all__ if not (name.startswith("__") or getattr(fg, name).__doc__)]
    assert not undocumented


def test_a_misspelled_name_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match="HierarchicalFactor"):
        _ = fg.HierarchicalFacter


@pytest.mark.parametrize("sibling", ["messages", "searches"])
def test_a_file_that_hides_a_sibling_package_is_named(tmp_path, sibling):
    (tmp_path / f"{sibling}.py").write_text("")
    (tmp_path / "script.py").write_text("import factorgraph\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode != 0
    assert "ImportError" in run.stderr
    assert str(tmp_path / f"{sibling}.py") in run.stderr
