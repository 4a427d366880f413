"""Time, memory and error of the survey's hierarchical graph; each size in a process of its own.

``make bench`` runs this; ``make bench BENCH=--peers`` runs NumPyro NUTS on the same data in the same call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.benchmarks.survey import Posterior, exact

SIZES = (10, 100, 1_000, 10_000)
PEER_SIZES = (100, 1_000)
SEED = 7
KIND = "hier"

CPU_SECONDS_AFTER_COMPILATION = 5.0
CPU_SECONDS_IN_ALL = 60.0
LARGEST_GROWTH = 11.0  # for ten times as many datasets: linear, and a tenth for noise
LARGEST_MEMORY = 2e9
LARGEST_SHIFT, LARGEST_SPREAD = 0.1, 0.07


@pytest.fixture(scope="module")
def ours(measure):
    return lambda n: measure("stages", "--kind", KIND, "--n", str(n))


def steady_seconds(measured: dict[str, Any]) -> float:
    """Build and solve a new graph of a kind that has been solved before."""
    return measured["steady"]["build"] + measured["steady"]["solve"]


def errors(measured: dict[str, Any], known: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Means off by how many exact sds, and sds over the exact ones."""
    names = list(known.mean)
    mean, scale = (np.array([getattr(known, field)[name] for name in names]) for field in ("mean", "scale"))
    found, width = (np.array([measured[field][name] for name in names]) for field in ("mean", "scale"))
    return (found - mean) / scale, width / scale


@pytest.mark.parametrize("n", SIZES)
def test_error(ours, report, shared, n):
    measured = ours(n)
    shift, spread = errors(measured, exact(shared, KIND, n, SEED))
    first, steady = measured["first"], measured["steady"]
    report(
        f"N={n:>6,}: import {measured['import']:.1f}, build {first['build']:.2f}, compile {measured['compile']:.1f} "
        f"({first['compilations']} kernels), second graph {steady['build']:.2f} + {steady['solve']:.2f} "
        f"({steady['compilations']} kernels, {steady['sweeps']} sweeps), peak {measured['peak_memory'] / 1e9:.2f} GB, "
        f"mu {shift[0]:+.3f} x{spread[0]:.3f}, tau {shift[1]:+.3f} x{spread[1]:.3f}"
    )
    assert np.max(np.abs(shift)) < LARGEST_SHIFT
    assert np.max(np.abs(spread - 1.0)) < LARGEST_SPREAD


def test_seconds_after_compilation(ours):
    assert steady_seconds(ours(1_000)) < CPU_SECONDS_AFTER_COMPILATION


def test_seconds_with_compilation(ours):
    first = ours(1_000)["first"]
    assert first["build"] + first["solve"] < CPU_SECONDS_IN_ALL


@pytest.mark.parametrize("n", SIZES)
def test_a_second_graph_compiles_nothing(ours, n):
    assert ours(n)["steady"]["compilations"] == 0


@pytest.mark.parametrize(("small", "large"), [(100, 1_000), (1_000, 10_000)])
def test_cost_grows_no_faster_than_the_number_of_datasets(ours, small, large):
    assert steady_seconds(ours(large)) < LARGEST_GROWTH * steady_seconds(ours(small))


def test_compilations_do_not_depend_on_the_number_of_datasets(ours):
    counts = {n: ours(n)["first"]["compilations"] for n in SIZES}
    assert len(set(counts.values())) == 1, counts
    assert max(counts.values()) <= 8


def test_peak_memory(ours):
    assert ours(10_000)["peak_memory"] < LARGEST_MEMORY


@pytest.mark.parametrize("n", PEER_SIZES)
def test_faster_than_nuts(request, ours, measure, report, shared, n):
    """NumPyro, one chain of 300 + 300; its error is Monte-Carlo error."""
    if not request.config.getoption("--peers"):
        pytest.skip("asked for by --peers")
    measured, peer = ours(n), measure("peers", "--n", str(n))
    shift, spread = errors(peer, exact(shared, KIND, n, SEED))
    report(
        f"N={n:>6,}: NumPyro NUTS {peer['first']:.1f} with compilation, {peer['steady']:.1f} without, "
        f"effective draws of tau {peer['effective']['tau']:.0f}, "
        f"mu {shift[0]:+.3f} x{spread[0]:.3f}, tau {shift[1]:+.3f} x{spread[1]:.3f}"
    )
    assert steady_seconds(measured) < peer["steady"]
