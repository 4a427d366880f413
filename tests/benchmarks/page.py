"""The rows as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.row import METHODS

HEADER = (
    "method",
    "N",
    "CPU s",
    "as run",
    "compile",
    "GB",
    "likelihoods",
    "GE",
    "mu: shift, sd",
    "tau: shift, sd",
    "log Z",
    "effective draws",
)

INTRODUCTION = """# Speed

A simulated survey of N datasets: noisy one-dimensional Gaussian profiles of 100 pixels, signal-to-noise ratio 4, whose
centres are drawn from one population. There are 3N + 2 unknowns: three of every profile, and the population's mean mu
and scatter tau. Its posterior is known by quadrature, so that every time stands beside an error.

![CPU seconds and error against the number of datasets](figures/speed.svg)

"""

EXPLANATION = """
- *CPU s*: without compilation, of all threads, every method on one core in a process of its own. Of EP: a second
  graph of the kind, of other data, built and solved. Of a chain: for 1,000 effective draws of both mu and tau, its
  warm-up counted once and its sampling scaled by 1,000 / the smaller effective number; *as run* is before scaling.
- *compile*: CPU seconds that the first call takes longer than the next. Once a model, whatever N.
- *GB*: the largest resident memory of the process, Python and JAX included.
- *likelihoods*: evaluations of one dataset's likelihood, and *GE* gradient equivalents, an evaluation being 0.43 of a
  gradient (0.18 and 0.42 microseconds here). Of a chain: gradients, scaled as its time is.
- *shift*: the mean's difference from the exact one in exact standard deviations, then the standard deviation over the
  exact one. A chain's are those of its run, and within its Monte-Carlo error, which is one over the root of the
  effective draws.
- *log Z*: log evidence minus the exact one, nats. Above 1,000 datasets the quadrature itself is good to about 5e-5
  nats a dataset. EP's is low by about 1e-4 nats a dataset there, up to three of its stated errors at 10,000: narrow
  peaks, each with less than a percent of a dataset's evidence, that few points meet.
- PyAutoFit keeps a prior of its own on each centre beside the parent. It is compared with the exact answer of that
  density.

Chains run 500 + 1,000 draws, 300 + 300 from 1,000 datasets on, from the best match of a template. dynesty has 500 live
points and is stopped where it has not ended after 200 CPU seconds. Above 30,000 datasets EP's graph is made of arrays
(`fg.Plate`) instead of a loop.

`make bench` measures the table anew, `make bench BENCH=--peers` with the others (`docs/make_speed.py`; the methods are
in `tests/benchmarks`, one short module each).
"""


def page(rows: Sequence[dict[str, Any]]) -> str:
    lines = [HEADER, ("---",) * len(HEADER), *map(cells, rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return INTRODUCTION + comparison(rows) + table + EXPLANATION + absent(rows) + machines(rows)


def comparison(rows: Sequence[dict[str, Any]]) -> str:
    """How much less EP costs than each chain at the largest size of both."""
    times = {(found["method"], found["n"]): found["seconds"] for found in rows if "seconds" in found}
    said = []
    for name, method in METHODS.items():
        sizes = [n for other, n in times if other == name and ("ep", n) in times]
        if name != "ep" and sizes:
            n = max(sizes)
            said.append(f"{times[name, n] / times['ep', n]:.0f} times that of EP for {method.title} at N = {n:,}")
    return f"CPU time, compilation apart: {'; '.join(said)}.\n\n" if said else ""


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    title, n = METHODS[found["method"]].title, f"{found['n']:,}"
    if "unfinished" in found:
        return (title, n, f"unfinished at {found['unfinished']:.0f}", *("",) * (len(HEADER) - 3))
    effective = found["effective"]
    return (
        title,
        n,
        f"{found['seconds']:.2f}",
        f"{found['raw_seconds']:.2f}",
        f"{found['compile_seconds']:.1f}",
        f"{found['peak_memory'] / 1e9:.2f}",
        "" if found["likelihoods"] is None else f"{found['likelihoods']:,.0f}",
        "" if found["gradient_equivalents"] is None else f"{found['gradient_equivalents']:,.0f}",
        *(f"{found['shift'][name]:+.3f}, {found['spread'][name]:.3f}" for name in ("mu", "tau")),
        "" if found["log_evidence_error"] is None else f"{found['log_evidence_error']:+.3f}",
        "" if effective is None else f"{effective['mu']:.0f}, {effective['tau']:.0f}",
    )


def absent(rows: Sequence[dict[str, Any]]) -> str:
    there = {found["method"] for found in rows}
    missing = [method.title for name, method in METHODS.items() if name not in there]
    return f"\nNot run here: {', '.join(missing)}.\n" if missing else ""


def machines(rows: Sequence[dict[str, Any]]) -> str:
    """On what the rows were measured, the loads of all of them as a range."""
    kinds: dict[tuple[str, str], list[float]] = {}
    for found in rows:
        before, after = found["machine"].split(", load ")
        load, python = after.split(", ")
        kinds.setdefault((before, python), []).append(float(load))
    said = [
        f"{before}, shared with other jobs (load average {min(loads):.1f} to {max(loads):.1f}), {python}"
        for (before, python), loads in kinds.items()
    ]
    return f"\nMeasured on: {'; '.join(said)}. A busy machine makes CPU seconds up to twice as many.\n" if said else ""
