"""Searches: given a target (a log density over a vector with names), explore it.

Nothing here knows a model or a graph. Names are loaded when first used: importing this package loads no sampler.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "BadPoint": "guard",
    "DynestyDynamic": "nested_dynesty",
    "DynestyStatic": "nested_dynesty",
    "Guard": "guard",
    "ImportanceDraws": "importance",
    "Laplace": "laplace",
    "LikelihoodFailedError": "errors",
    "LikelihoodTypeError": "errors",
    "MissingPackageError": "errors",
    "Mode": "laplace",
    "NUTS": "nuts",
    "SMC": "smc",
    "Samples": "samples",
    "Search": "search",
    "SearchError": "errors",
    "SearchWarning": "errors",
    "SettingError": "errors",
    "SmcRun": "smc",
    "Status": "status",
    "Target": "target",
    "TargetError": "errors",
    "UltraNest": "nested_ultranest",
    "find_mode": "laplace",
    "from_unit_cube": "target",
    "importance_sample": "importance",
    "newton_mode": "laplace",
    "normal_points": "quasi",
    "pareto_k": "pareto",
    "pareto_smooth": "pareto",
    "standard_normal_log_density": "target",
    "student_draws": "importance",
    "tempered_smc": "smc",
    "uniform_points": "quasi",
    "weigh": "importance",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'searches' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
