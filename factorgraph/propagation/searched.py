"""A dataset explored by a search of the user's choice: its samples become the proposal of an importance sample.

A search that fails says nothing: what it returned is put aside, the dataset is explored as if none had been asked for,
and the failure is kept for the report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation, unexplored
from searches.errors import LikelihoodTypeError, MissingPackageError, SettingError, TargetError
from searches.samples import Samples
from searches.status import Status
from searches.target import Target

FLOOR, FIT_STEPS = 1e-6, 20  # of a component's variance: samples are many

NOT_THERE = "few of the points drawn about its samples count"

_MISUSE = (SettingError, TargetError, MissingPackageError, LikelihoodTypeError)


class Searched(NamedTuple):
    """``adaptation`` is `unexplored` where the search failed; ``failure`` then says how, and is empty elsewhere."""

    adaptation: Adaptation
    failure: str


def explored_by(run: Callable[..., Samples], target: Target, num_components: int, seed: list[int]) -> Searched:
    """A mixture fitted to the samples of a search of one dataset, ``run(target, seed=)``, on the host.

    Raises
    ------
    searches.errors.SearchError
        The search can take no dataset of this kind: `SettingError`, `TargetError`, `MissingPackageError`,
        `LikelihoodTypeError`. Whatever else it raises is a failure at this dataset.
    """
    try:
        samples = run(target, seed=int(np.random.default_rng(seed).integers(2**31)))
        failure = failure_of(samples)
    except _MISUSE:
        raise
    except Exception as error:  # a search, and the likelihood it calls, may fail in any way; the reason is kept
        failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    if not failure:
        fitted = _fitted(samples, num_components)
        if all(np.all(np.isfinite(part)) for part in fitted):
            fraction = samples.effective_sample_size / len(samples.x)
            return Searched(
                Adaptation(fitted, np.float64(1.0), fraction, np.float64(0.0), np.int64(samples.num_calls)), ""
            )
        failure = "its draws lie so that no distribution can be fitted to them"
    return Searched(unexplored(num_components, target.num_parameters), failure)


def failure_of(samples: Any) -> str:
    """Why the samples of a search are none; empty where there is nothing to say against them."""
    if not isinstance(samples, Samples):
        return f"it returned {type(samples).__name__}, not searches.Samples"
    if samples.diagnostics.get("status") == Status.search_failed:
        return Status.search_failed.message
    if not len(samples):
        return "it returned no draws"
    with np.errstate(all="ignore"):
        weights = samples.weights
        drawn = samples.x[weights > 0.0]
    if not np.all(np.isfinite(weights)) or not np.all(np.isfinite(drawn)):
        return "its draws or their weights are not finite"
    if np.any(np.ptp(drawn, axis=0) == 0.0):
        return "all its draws are at one place"
    if samples.effective_sample_size < 1 + drawn.shape[1]:
        return f"its weights leave {samples.effective_sample_size:.2g} effective draws"
    return ""


def _fitted(samples: Samples, num_components: int) -> mixtures.Mixture:
    drawn = samples.weights > 0.0
    return mixtures.fit(samples.x[drawn], samples.weights[drawn], num_components, num_steps=FIT_STEPS, floor=FLOOR)
