"""Nested sampling by UltraNest (Buchner 2021, JOSS 6:3001), in batches for JAX targets.

UltraNest draws from NumPy's global random state: it is seeded for the run and restored afterwards, and runs in several
threads take turns. It refuses -inf: impossible points get a large negative log likelihood that rises towards the
centre of the prior, so that they are never a plateau.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from .guard import Guard
from .samples import Samples
from .search import Search, check_positive, check_settings, collect, keywords, pick, require
from .status import Status
from .target import Target, from_unit_cube

_OURS = ("param_names", "loglike", "transform", "derived_param_names", "vectorized", "run_num")
_FLOOR = -1e99
_LOWEST = 0.5 * _FLOOR
_ONE_AT_A_TIME = threading.Lock()  # NumPy's global random state is one for all threads


class UltraNest(Search):
    """Nested sampling that puts robustness before speed.

    Parameters
    ----------
    min_num_live_points : live points.
    show_status : UltraNest's status line and log.
    **settings : any other keyword of `ultranest.ReactiveNestedSampler` and its ``run``.

    Raises
    ------
    SettingError : a keyword that neither has.
    """

    def __init__(self, *, min_num_live_points: int = 400, show_status: bool = False, **settings: Any) -> None:
        settings |= {"min_num_live_points": min_num_live_points, "show_status": show_status}
        for_sampler, for_run = _keywords()
        check_settings("UltraNest", settings, for_sampler | for_run)
        check_positive("UltraNest", min_num_live_points=min_num_live_points)
        self._settings = settings

    def run(self, target: Target, *, seed: int) -> Samples:
        require(target, "UltraNest", proper_prior=True)
        for_sampler, for_run = _keywords()
        guard = target.guard()
        explore = {"viz_callback": "auto" if self._settings["show_status"] else False, **pick(self._settings, for_run)}
        with _ONE_AT_A_TIME, _seeded(seed), _quiet(not self._settings["show_status"]):
            sampler = importlib.import_module("ultranest").ReactiveNestedSampler(
                list(target.names),
                _Batch(target, guard),
                from_unit_cube,
                vectorized=True,
                **pick(self._settings, for_sampler),
            )
            result = sampler.run(**explore)
        guard.finish()
        return _samples(target, guard, result, self._settings)

    @property
    def settings(self) -> Mapping[str, Any]:
        return MappingProxyType(self._settings)

    def __repr__(self) -> str:
        return f"UltraNest({', '.join(f'{name}={value!r}' for name, value in self._settings.items())})"


class _Batch:
    """Log likelihoods of a batch, (n, P) -> (n,), never -inf."""

    def __init__(self, target: Target, guard: Guard) -> None:
        self._target, self._guard = target, guard

    def __call__(self, x: np.ndarray) -> np.ndarray:
        values = self._target.log_likelihoods(x, self._guard)
        return np.where(np.isfinite(values), values, _FLOOR * (1.0 + 1e-3 * np.sum(x * x, axis=1)))


def _keywords() -> list[frozenset[str]]:
    """Keywords of the sampler's constructor and of its ``run``."""
    sampler = importlib.import_module("ultranest").ReactiveNestedSampler
    return keywords(sampler.__init__, sampler.run, without=_OURS)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global random state seeded inside, the caller's restored after."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """UltraNest's logger without a handler to standard output inside, as it was after."""
    logger, handler = logging.getLogger("ultranest"), logging.NullHandler()
    level, propagate = logger.level, logger.propagate
    if quiet:
        logger.addHandler(handler)  # UltraNest adds its own only if there is none
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        yield
    finally:
        if quiet:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _samples(target: Target, guard: Guard, result: Mapping[str, Any], settings: Mapping[str, Any]) -> Samples:
    points = result["weighted_samples"]
    log_likelihood = np.asarray(points["logl"])
    with np.errstate(divide="ignore"):
        log_weight = np.log(points["weights"])
    limits = [(settings.get("max_iters"), result["niter"]), (settings.get("max_ncalls"), result["ncall"])]
    stopped = any(most and done >= most for most, done in limits)
    return collect(
        target,
        x=np.asarray(points["points"]),
        log_likelihood=np.where(log_likelihood > _LOWEST, log_likelihood, -np.inf),
        log_weight=log_weight,
        guard=guard,
        log_evidence=float(result["logz"]),
        log_evidence_error=float(result["logzerr"]),
        num_calls=int(result["ncall"]),
        diagnostics={
            "status": Status.max_steps_reached if stopped else Status.ok,
            "num_iterations": int(result["niter"]),
            "insertion_order_converged": bool(result["insertion_order_MWW_test"]["converged"]),
        },
    )
