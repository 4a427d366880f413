"""Time, memory and error of the survey's hierarchical graph; each size in a process of its own.

``make bench`` runs this; ``make bench BENCH=--peers`` runs NumPyro NUTS on the same data in the same call, and
``BENCH=--large`` a hundred thousand datasets. The limits are those of an idle core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.benchmarks.row import row
from tests.benchmarks.survey import Posterior, exact

SIZES = (10, 100, 1_000, 10_000)
LARGE = 100_000
PEER_SIZE = 1_000
SEED = 7
KIND = "hier"

CPU_SECONDS = {1_000: 3.0, 10_000: 25.0, LARGE: 250.0}  # of a second graph of the kind
CPU_SECONDS_TO_COMPILE = 25.0
LARGEST_EXPONENT = 1.1  # of the cost against the number of datasets
LARGEST_MEMORY = {10_000: 2e9, LARGE: 4e9}
LARGEST_SHIFT, LARGEST_SPREAD = 0.1, 0.07
TIMES_FASTER = 20.0  # than NUTS for a thousand effective draws of both hyper-parameters


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


@pytest.mark.parametrize("n", [1_000, 10_000])
def test_seconds_after_compilation(ours, n):
    assert steady_seconds(ours(n)) <= CPU_SECONDS[n]


def test_seconds_of_compilation(ours):
    assert ours(1_000)["compile"] <= CPU_SECONDS_TO_COMPILE


@pytest.mark.parametrize("n", SIZES)
def test_a_second_graph_compiles_nothing(ours, n):
    assert ours(n)["steady"]["compilations"] == 0


def test_cost_grows_no_faster_than_the_number_of_datasets(ours):
    exponent = np.log10(steady_seconds(ours(10_000)) / steady_seconds(ours(1_000)))
    assert exponent <= LARGEST_EXPONENT


def test_compilations_do_not_depend_on_the_number_of_datasets(ours):
    counts = {n: ours(n)["first"]["compilations"] for n in SIZES}
    assert len(set(counts.values())) == 1, counts
    assert max(counts.values()) <= 8


def test_peak_memory(ours):
    assert ours(10_000)["peak_memory"] <= LARGEST_MEMORY[10_000]


def test_a_hundred_thousand_datasets(request, ours, report):
    """Their error is in the table of the documentation: the quadrature takes longer than the solution."""
    if not request.config.getoption("--large"):
        pytest.skip("asked for by --large")
    measured = ours(LARGE)
    report(f"N={LARGE:,}: second graph {steady_seconds(measured):.1f}, peak {measured['peak_memory'] / 1e9:.2f} GB")
    assert measured["first"]["converged"]
    assert steady_seconds(measured) <= CPU_SECONDS[LARGE]
    assert measured["peak_memory"] <= LARGEST_MEMORY[LARGE]


def test_faster_than_nuts(request, ours, measure, report, shared):
    """NumPyro, one chain of 300 + 300; its error is Monte-Carlo error. Compilation apart on both sides."""
    if not request.config.getoption("--peers"):
        pytest.skip("asked for by --peers")
    measured, peer = ours(PEER_SIZE), measure("numpyro_nuts", "--n", str(PEER_SIZE))
    known = exact(shared, KIND, PEER_SIZE, SEED)
    shift, spread = errors(peer, known)
    seconds = row(peer, known._asdict())["seconds"]
    report(
        f"N={PEER_SIZE:>6,}: NumPyro NUTS {peer['steady']:.1f} + {peer['compile']:.1f} for compilation, "
        f"{seconds:.1f} for 1,000 effective draws of both (it had {min(peer['effective'].values()):.0f}), "
        f"mu {shift[0]:+.3f} x{spread[0]:.3f}, tau {shift[1]:+.3f} x{spread[1]:.3f}"
    )
    assert seconds >= TIMES_FASTER * steady_seconds(measured)
