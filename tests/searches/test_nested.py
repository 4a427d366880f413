"""What the nested samplers add to the protocol: their own keywords, light imports, calls in batches."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import searches
from searches import DynestyDynamic, DynestyStatic, SearchError, Target, UltraNest
from tests.searches.targets import correlated_gaussian

STOPPED_SHORT = pytest.mark.filterwarnings("ignore:The sampling was stopped short:UserWarning")


@STOPPED_SHORT
def test_every_keyword_of_dynesty_is_reachable():
    search = DynestyStatic(nlive=50, sample="rwalk", walks=5, bound="single", maxiter=80, add_live=False)
    samples = search.run(correlated_gaussian(2).target, seed=0)
    assert 80 <= samples.diagnostics["num_iterations"] <= 81
    assert len(samples) == samples.diagnostics["num_iterations"]  # without the live points
    assert "walks=5" in repr(search)


@pytest.mark.parametrize("reserved", ["loglikelihood", "ndim", "rstate", "blob"])
@pytest.mark.parametrize("search", [DynestyStatic, DynestyDynamic])
def test_what_the_search_decides_is_not_a_setting(search, reserved):
    with pytest.raises(searches.SettingError):
        search(**{reserved: 1})


@STOPPED_SHORT
def test_step_by_step_progress_only_when_asked(capfd):
    DynestyStatic(nlive=30, maxiter=40, print_progress=True).run(correlated_gaussian(1).target, seed=0)
    assert "logz" in capfd.readouterr().err


def test_settings_cannot_be_changed():
    with pytest.raises(TypeError):
        DynestyStatic().settings["nlive"] = 3


def test_nothing_possible_is_an_error():
    target = Target(names=("a",), log_likelihood=lambda x, data: -np.inf, is_jax=False)
    with pytest.raises(SearchError, match="Not a single possible model"):
        DynestyStatic(nlive=20).run(target, seed=0)


def test_ultranest_calls_in_batches():
    sizes = []

    def log_likelihood(x, data):
        return -0.5 * float(x @ x)

    class Counting(Target):
        def log_likelihoods(self, x, guard=None):
            sizes.append(len(x))
            return super().log_likelihoods(x, guard)

    UltraNest(min_num_live_points=50, max_iters=100).run(
        Counting(names=("a",), log_likelihood=log_likelihood, is_jax=False), seed=0
    )
    assert max(sizes) >= 50


def test_importing_searches_loads_no_sampler():
    code = (
        "import searches, sys; print(sorted({'dynesty', 'ultranest', 'jax', 'scipy', 'blackjax'} & set(sys.modules)))"
    )
    root = Path(searches.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert all(getattr(searches, name) is not None for name in searches.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nuts'"):
        _ = searches.Nuts
