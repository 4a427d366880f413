"""The exponential families that a shared variable's messages may be chosen from.

Those of the first kind are normal distributions of a transform. All variables that have one are correlated in one
posterior. A variable with a light-tailed prior of its own has by default the family of that prior, seen as a transform
of N(0, 1); any other has that of its support, `softplus-normal` for a half line.

Those of the second kind (`EXPONENTIAL`) are distributions of the value itself: of its distance from the limit of a half
line, or of the fraction of an interval. They are exact where factors are conjugate, and have no correlations with other
variables; see `propagation.product`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.errors import GraphError, name_hint
from factorgraph.graph.coordinate import unit_coordinate

KIND_OF = {  # the coordinate that a search, and the correction, sees a variable in
    "normal": "real",
    "log-normal": "log",
    "softplus-normal": "softplus",
    "logit-normal": "interval",
    "gamma": "softplus",
    "inverse-gamma": "softplus",
    "beta": "interval",
}
EXPONENTIAL = ("gamma", "inverse-gamma", "beta")
_HALF_LINE = ("softplus-normal", "log-normal", "gamma", "inverse-gamma")
_NAMES_FOR = {"real": ("normal",), "lower": _HALF_LINE, "upper": _HALF_LINE, "interval": ("logit-normal", "beta")}


def check_families(families: Mapping[Any, str], shared: Sequence[Any], support_of: Mapping[Any, str]) -> None:
    """Every key is a shared variable, and its family has the support that the variable has.

    Raises
    ------
    GraphError
        Otherwise; says what is allowed.
    """
    known = set(shared)
    for variable, name in families.items():
        if variable not in known:
            raise GraphError(
                f"families: {variable!r} is no shared variable of this graph; private ones are integrated out and have "
                "no messages."
            )
        if name not in KIND_OF:
            raise GraphError(f"families: there is no family {name!r}.{name_hint(str(name), KIND_OF)}")
        allowed = _NAMES_FOR[support_of[variable]]
        if name not in allowed:
            raise GraphError(
                f"families: {variable!r} cannot have {name!r} messages, whose support is not its own; "
                f"{_listed(allowed)} can be chosen."
            )


def _listed(names: Sequence[str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} and {last}" if first else last


def coordinate_of_family(name: str, support_kind: str, lower: float, upper: float, scale: float) -> np.ndarray:
    """The four numbers of the coordinate in which messages of the family are normal, or near it."""
    numbers = unit_coordinate(support_kind, lower, upper, scale)
    if KIND_OF[name] == "log":
        numbers[2:] = np.log(scale), 1.0
    return numbers
