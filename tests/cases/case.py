"""A case: a graph, what its posterior is known to be, and how far an answer is from that.

The references are files beside the data, computed independently: exact quadrature or linear algebra, or long Markov
chains. This module knows no data set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import factorgraph as fg

LARGEST_SHIFT = 0.1  # reference standard deviations
LARGEST_SPREAD = 0.07  # of a ratio of standard deviations, from one
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_NORMAL_WIDTH = 3.2897  # from the 5 % to the 95 % quantile of a normal distribution, in its standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The posterior of one unknown.

    Attributes
    ----------
    quantity
        The variable, or a relation of shared variables, that ``name`` stands for in the graph.
    mean, sd
        In the user's coordinates.
    quantiles
        (5,) at 5, 25, 50, 75 and 95 %; empty where the reference has none.
    by_quantiles
        Whether quantiles are compared rather than moments: where the variance is infinite, or the mass reaches zero.
    is_private
        Whether one dataset alone reads it.
    """

    name: str
    quantity: Any
    mean: float
    sd: float
    quantiles: tuple[float, ...] = ()
    by_quantiles: bool = False
    is_private: bool = False

    def distance(self, moments: Any) -> tuple[float, float]:
        """Shift in reference standard deviations, and ratio of standard deviations, of a `MeanField`.

        By quantiles: the largest shift of the quartiles, and the ratio of the widths from 5 to 95 %.
        """
        if not self.by_quantiles:
            shift = (moments.mean[self.quantity] - self.mean) / self.sd
            return float(shift), float(moments.scale[self.quantity] / self.sd)
        known = np.array(self.quantiles)
        found = moments.quantile(self.quantity, _LEVELS)
        width = known[-1] - known[0]
        shifts = (found - known)[1:-1] / (width / _NORMAL_WIDTH)
        return float(shifts[np.argmax(np.abs(shifts))]), float((found[-1] - found[0]) / width)


def known(
    reference: Mapping[str, Any],
    shared: Mapping[str, Any],
    private: Mapping[str, Any] | None = None,
    *,
    by_quantiles: Iterable[str] = (),
) -> tuple[Known, ...]:
    """What ``reference["parameters"]`` says of the ``shared`` and ``private`` unknowns, which are keyed by its names."""
    by_quantiles = set(by_quantiles)
    entries = []
    for is_private, quantities in ((False, shared), (True, private or {})):
        for name, quantity in quantities.items():
            entry = reference["parameters"][name]
            quantiles = tuple(entry[q] for q in ("q05", "q25", "q50", "q75", "q95") if q in entry)
            entries.append(
                Known(
                    name=name,
                    quantity=quantity,
                    mean=entry["mean"],
                    sd=entry["sd"],
                    quantiles=quantiles,
                    by_quantiles=name in by_quantiles,
                    is_private=is_private,
                )
            )
    return tuple(entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A graph, its reference posterior, and the search that explores it globally.

    Attributes
    ----------
    known
        Shared unknowns first.
    log_evidence
        Exact, nats; None where a prior is improper or nobody knows it.
    search
        Of `factorgraph.fit`.
    contracted
        Whether the search explores the shared unknowns alone, the private ones integrated out.
    """

    title: str
    graph: fg.FactorGraphModel
    known: tuple[Known, ...]
    search: Any
    log_evidence: float | None = None
    contracted: bool = True

    def propagated(self, *, seed: int = 0) -> fg.Result:
        """The answer by expectation propagation."""
        return self.graph.optimise(seed=seed)

    def searched(self, *, seed: int = 0) -> Any:
        """The answer by the global search."""
        analysis = self.graph.contracted if self.contracted else self.graph
        return self.search.fit(model=analysis.global_prior_model, analysis=analysis, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far an answer is from the reference, over several unknowns; ``shift`` in reference standard deviations."""

    shift: float
    lowest_ratio: float
    highest_ratio: float
    worst: str

    @property
    def is_small(self) -> bool:
        """Within the bounds that every case is held to; never where a number is nan."""
        ratios = (self.lowest_ratio, self.highest_ratio)
        return abs(self.shift) <= LARGEST_SHIFT and all(abs(ratio - 1.0) <= LARGEST_SPREAD for ratio in ratios)


def distance(known: Iterable[Known], moments: Any) -> Distance | None:
    """The largest shift and the extremes of the ratios over those of ``known`` that ``moments`` has."""
    measured = [(entry.name, *entry.distance(moments)) for entry in known]
    if not measured:
        return None
    names, shifts, ratios = zip(*measured, strict=True)
    worst = int(np.argmax(np.maximum(np.abs(shifts) / LARGEST_SHIFT, np.abs(np.array(ratios) - 1.0) / LARGEST_SPREAD)))
    largest = shifts[int(np.argmax(np.abs(shifts)))]
    return Distance(shift=largest, lowest_ratio=min(ratios), highest_ratio=max(ratios), worst=names[worst])


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def reference(path: Path) -> dict[str, Any]:
    """A reference file."""
    return json.loads(path.read_text())
