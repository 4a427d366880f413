"""Evaluation of comparisons between unknowns."""

from __future__ import annotations

import operator
from typing import Any

from factorgraph.model.expression import Assertion

__all__ = ["Assertion", "compare"]

_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def compare(left: Any, symbol: str, right: Any) -> Any:
    """Truth of ``left symbol right`` at numbers, or at all elements of arrays; False where either is nan."""
    truth = _COMPARISONS[symbol](left, right)
    return truth.all() if getattr(truth, "shape", ()) else truth
