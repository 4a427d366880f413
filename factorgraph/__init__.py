"""Graphical models over many datasets: compose models, join them through shared and hierarchical variables, solve the
graph.

``import factorgraph as fg`` is the only import a user needs. Everything is loaded when first used (PEP 562), so that
importing the package is instant and brings in no sampler, plotting library or JAX.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "factorgraph.analysis": ("Analysis", "Visualizer"),
    "factorgraph.calibration.calibrate": ("calibrate",),
    "factorgraph.calibration.calibration": ("Calibration",),
    "factorgraph.calibration.predictive": ("PredictiveCheck", "predictive_check"),
    "factorgraph.compilation": ("cache_compilations",),
    "factorgraph.contracted": ("Contracted",),
    "factorgraph.distributed.spawn_pool": ("SpawnPool",),
    "factorgraph.errors": (
        "CheckpointError",
        "DatasetsLeftOut",
        "FactorGraphError",
        "GraphError",
        "LikelihoodError",
        "ModelError",
        "PriorError",
        "SearchError",
        "UnknownArgument",
        "WorkerLost",
    ),
    "factorgraph.fit": (
        "DynestyDynamic",
        "DynestyStatic",
        "Laplace",
        "LaplaceOptimiser",
        "NUTS",
        "SMC",
        "UltraNest",
    ),
    "factorgraph.factor_graph_model": ("FactorGraphModel",),
    "factorgraph.graph.factors": ("AnalysisFactor", "HierarchicalFactor"),
    "factorgraph.graph.samples_factor": ("SamplesFactor",),
    "factorgraph.graph.survey": ("Plate",),
    "factorgraph.model.array": ("Array",),
    "factorgraph.model.collection": ("Collection",),
    "factorgraph.model.correlation": ("LKJPrior",),
    "factorgraph.model.discrete": ("BernoulliPrior", "CategoricalPrior"),
    "factorgraph.model.mixture": ("DirichletPrior", "GaussianMixturePrior"),
    "factorgraph.model.model": ("Model",),
    "factorgraph.model.multivariate": ("MultivariateNormalPrior",),
    "factorgraph.model.prior": (
        "BetaPrior",
        "CauchyPrior",
        "ExponentialPrior",
        "FlatPrior",
        "GammaPrior",
        "GaussianPrior",
        "HalfCauchyPrior",
        "HalfNormalPrior",
        "InverseGammaPrior",
        "LogGaussianPrior",
        "LogUniformPrior",
        "StudentTPrior",
        "TruncatedGaussianPrior",
        "UniformPrior",
    ),
    "factorgraph.model.relation": ("Cos", "Exp", "Log", "Log10", "Sin", "Sqrt"),
    "factorgraph.model.variable": ("Variable",),
    "factorgraph.results.result": ("Result",),
    "factorgraph.shards": ("prepare_run",),
    "searches.status": ("Status",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("ex", "util")

__all__ = sorted([*_HOME_OF, *_MODULES, "__version__"])


def _check_siblings() -> None:
    """Refuse to work beside a user's own ``messages.py`` or ``searches.py``, which would be imported in place of
    ours."""
    home = Path(__file__).resolve().parent.parent
    for sibling in ("messages", "searches"):
        found = importlib.util.find_spec(sibling)
        origin = Path(found.origin).resolve() if found is not None and found.origin else None
        if origin is None or origin.parent.parent != home:
            raise ImportError(
                f"factorgraph needs its own package {sibling!r}, but Python finds {origin or 'none'} first. "
                "Rename or move that file, or start Python from another folder."
            )


_check_siblings()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"factorgraph.{name}")
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    close = difflib.get_close_matches(name, __all__, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise AttributeError(f"module 'factorgraph' has no attribute {name!r}.{hint}")


def __dir__() -> list[str]:
    return list(__all__)
