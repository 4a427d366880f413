"""Searches: given a target (a log density over a vector with names), explore it.

Nothing here knows a model or a graph. Names are loaded when first used: importing this package loads no sampler.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "BadPoint": "guard",
    "Guard": "guard",
    "ImportanceDraws": "importance",
    "LikelihoodFailedError": "errors",
    "LikelihoodTypeError": "errors",
    "Samples": "samples",
    "SearchError": "errors",
    "SearchWarning": "errors",
    "SettingError": "errors",
    "Status": "status",
    "Target": "target",
    "TargetError": "errors",
    "importance_sample": "importance",
    "normal_points": "quasi",
    "pareto_k": "pareto",
    "pareto_smooth": "pareto",
    "standard_normal_log_density": "target",
    "uniform_points": "quasi",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'searches' has no attribute {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
