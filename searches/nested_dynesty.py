"""Nested sampling by dynesty (Speagle 2020, MNRAS 493:3132): one likelihood call at a time, JAX or not."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import SearchError
from .samples import Samples
from .search import Search, check_positive, check_settings, collect, keywords, pick, require
from .status import Status
from .target import Target, from_unit_cube

_OURS = frozenset({"loglikelihood", "prior_transform", "ndim", "rstate", "blob", "resume"}) | frozenset(
    {"logl_args", "logl_kwargs", "ptform_args", "ptform_kwargs"}
)
_LOWEST = -1e299  # dynesty keeps -inf as -1e300


class DynestyStatic(Search):
    """Nested sampling with a fixed number of live points.

    Parameters
    ----------
    nlive : live points.
    sample : how new points are drawn: "auto", "unif", "rwalk", "slice", "rslice".
    dlogz : stop when the evidence left is below this; unset: dynesty's choice for ``nlive``.
    print_progress : dynesty's progress line.
    **settings : any other keyword of `dynesty.NestedSampler` and its ``run_nested``.

    Raises
    ------
    SettingError : a keyword that neither has.
    """

    def __init__(
        self,
        *,
        nlive: int = 500,
        sample: str = "auto",
        dlogz: float | None = None,
        print_progress: bool = False,
        **settings: Any,
    ) -> None:
        settings |= {"nlive": nlive, "sample": sample, "dlogz": dlogz, "print_progress": print_progress}
        self._settings = _checked("DynestyStatic", "NestedSampler", settings)

    def run(self, target: Target, *, seed: int) -> Samples:
        return _run("NestedSampler", self._settings, target, seed)

    @property
    def settings(self) -> Mapping[str, Any]:
        return MappingProxyType(self._settings)

    def __repr__(self) -> str:
        return f"DynestyStatic({_listed(self._settings)})"


class DynestyDynamic(Search):
    """Nested sampling with live points added where they sharpen the posterior.

    Parameters
    ----------
    nlive, sample, print_progress : as for `DynestyStatic`; ``nlive`` is of the first run.
    **settings : any other keyword of `dynesty.DynamicNestedSampler` and its ``run_nested``.

    Raises
    ------
    SettingError : a keyword that neither has.
    """

    def __init__(
        self, *, nlive: int = 500, sample: str = "auto", print_progress: bool = False, **settings: Any
    ) -> None:
        settings |= {"nlive": nlive, "sample": sample, "print_progress": print_progress}
        self._settings = _checked("DynestyDynamic", "DynamicNestedSampler", settings)

    def run(self, target: Target, *, seed: int) -> Samples:
        return _run("DynamicNestedSampler", self._settings, target, seed)

    @property
    def settings(self) -> Mapping[str, Any]:
        return MappingProxyType(self._settings)

    def __repr__(self) -> str:
        return f"DynestyDynamic({_listed(self._settings)})"


def _checked(search: str, sampler: str, settings: dict[str, Any]) -> dict[str, Any]:
    for_sampler, for_run = _keywords(sampler)
    check_settings(search, settings, for_sampler | for_run)
    check_positive(search, nlive=settings["nlive"], dlogz=settings.get("dlogz"))
    return settings


def _keywords(sampler: str) -> list[frozenset[str]]:
    """Keywords of the sampler's constructor and of its ``run_nested``."""
    cls = getattr(importlib.import_module("dynesty"), sampler)
    build = cls.__new__ if "nlive" in inspect.signature(cls.__new__).parameters else cls.__init__
    return keywords(build, cls.run_nested, without=_OURS)


def _run(sampler: str, settings: Mapping[str, Any], target: Target, seed: int) -> Samples:
    require(target, f"dynesty's {sampler}", proper_prior=True)
    for_sampler, for_run = _keywords(sampler)
    guard = target.guard()  # dynesty takes -inf, and starts better when it sees it
    build: Callable[..., Any] = getattr(importlib.import_module("dynesty"), sampler)
    try:
        explorer = build(
            guard,
            from_unit_cube,
            target.num_parameters,
            rstate=np.random.default_rng(seed),
            **pick(settings, for_sampler),
        )
        explorer.run_nested(**pick(settings, for_run - for_sampler))
    except SearchError:
        raise
    except RuntimeError as error:
        raise SearchError(f"dynesty broke off: {error}") from error
    guard.finish()
    results = explorer.results
    log_likelihood = np.where(results.logl > _LOWEST, results.logl, -np.inf)
    return collect(
        target,
        x=np.asarray(results.samples),
        log_likelihood=log_likelihood,
        log_weight=results.logwt - results.logz[-1],
        guard=guard,
        log_evidence=float(results.logz[-1]),
        log_evidence_error=float(results.logzerr[-1]),
        num_calls=max(guard.num_calls, int(np.sum(results.ncall))),
        diagnostics={
            "status": _status(settings, results),
            "num_iterations": int(results.niter),
            "efficiency": float(results.eff) / 100.0,
            "information": float(results.information[-1]),
        },
    )


def _status(settings: Mapping[str, Any], results: Any) -> Status:
    """Whether the run ended of itself or at the caller's limit of iterations or calls."""
    limits = [(settings.get("maxiter"), results.niter), (settings.get("maxcall"), np.sum(results.ncall))]
    return Status.max_steps_reached if any(most and done >= most for most, done in limits) else Status.ok


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())
