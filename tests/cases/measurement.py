"""Solve a case and measure the answer: one row of the table of accuracy for each method."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from searches.status import Status
from tests.cases.case import Case, Distance, distance

TRUSTED_K_HAT = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one answer.

    Attributes
    ----------
    shared, private
        Distances from the reference; None where nothing is known.
    log_evidence, exact_log_evidence
        Nats; nan and None where not defined or not known. ``log_evidence_error`` is the answer's own estimate.
    inner_error
        The largest standard error of a shared mean from the integrals over private variables, in posterior sds.
    seconds, seconds_again
        Of CPU time, the first with compilation; None where not measured.
    concern
        The text of the answer's warnings.
    """

    title: str
    method: str
    shared: Distance | None
    private: Distance | None
    log_evidence: float
    log_evidence_error: float
    exact_log_evidence: float | None
    k_hat: float = math.nan
    inner_error: float = math.nan
    seconds: float = math.nan
    seconds_again: float | None = None
    concern: str = ""

    @property
    def claims_to_be_good(self) -> bool:
        """No warning, and no importance check that failed."""
        return not self.concern and not self.k_hat >= TRUSTED_K_HAT

    @property
    def verdict(self) -> str:
        is_small = self.shared is None or self.shared.is_small
        if is_small:
            return "within" if self.claims_to_be_good else "within, warned"
        return "**wrong, unnoticed**" if self.claims_to_be_good else "out, warned"


def propagate(case: Case, *, seed: int = 0) -> Row:
    """Expectation propagation."""
    result, concern, seconds = _watched(lambda: case.propagated(seed=seed))
    if not result.converged:
        concern = concern or "not converged"
    inner_error = result._solution.inner_error  # nothing public but the text of result.info says it
    return Row(
        title=case.title,
        method="EP",
        k_hat=result.k_hat,
        inner_error=float(max(inner_error, default=math.nan)),
        seconds=seconds,
        concern=concern,
        **_distances(case, result),
    )


def search(case: Case, *, seed: int = 0) -> Row:
    """The case's global search."""
    result, concern, seconds = _watched(lambda: case.searched(seed=seed))
    if result.status != Status.ok:
        concern = concern or result.status.message
    return Row(
        title=case.title,
        method=type(case.search).__name__ + (" (contracted)" if case.contracted else ""),
        k_hat=float(result.samples.diagnostics.get("k_hat", math.nan)),
        seconds=seconds,
        concern=concern,
        **_distances(case, result),
    )


def measure(make: Callable[[Path], Case], data: Path) -> list[Row]:
    """Both methods; expectation propagation twice, so that the second time nothing is compiled."""
    first = propagate(make(data))
    again = propagate(make(data)).seconds
    return [replace(first, seconds_again=again), search(make(data))]


def _watched(solve: Callable[[], Any]) -> tuple[Any, str, float]:
    """The result, the text of our warnings, and CPU seconds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.process_time()
        result = solve()
        seconds = time.process_time() - start
    concern = "; ".join(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return result, concern, seconds


def _distances(case: Case, result: Any) -> dict[str, Any]:
    moments = result.mean_field
    kept = [entry for entry in case.known if not entry.is_private or entry.quantity in moments]
    return {
        "shared": distance([entry for entry in kept if not entry.is_private], moments),
        "private": distance([entry for entry in kept if entry.is_private], moments),
        "log_evidence": float(result.log_evidence),
        "log_evidence_error": float(result.log_evidence_error),
        "exact_log_evidence": case.log_evidence,
    }
