"""The contract of every search: settings at construction, `run(target, seed=...)` -> `Samples`.

A search is immutable, holds no state between runs, prints nothing unless asked, and leaves NumPy's global random
state and JAX's settings as it found them. The same search, target and seed give the same samples, bit for bit.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from .errors import SettingError, TargetError
from .guard import Guard
from .samples import Samples
from .target import Target


class Search(ABC):
    """A way of exploring a target."""

    @abstractmethod
    def run(self, target: Target, *, seed: int) -> Samples:
        """Explore ``target``.

        Raises
        ------
        TargetError : this search cannot take this target.
        LikelihoodTypeError, LikelihoodFailedError : see `Guard`.
        """


SearchClass = TypeVar("SearchClass", bound=Search)


def search_settings(cls: type[SearchClass]) -> type[SearchClass]:
    """Class decorator: a frozen, keyword-only dataclass that refuses an unknown setting with a suggestion."""
    built: Any = dataclass(frozen=True, kw_only=True)(cls)
    build, known = built.__init__, [field.name for field in fields(built)]

    def __init__(self: Any, **settings: Any) -> None:
        check_settings(cls.__name__, settings, known)
        build(self, **settings)

    __init__.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]
    built.__init__ = __init__
    return built


def check_settings(search: str, settings: Iterable[str], known: Iterable[str]) -> None:
    """Refuse settings that ``search`` does not have.

    Raises
    ------
    SettingError : names the setting, the nearest known one, and all of them.
    """
    known = sorted(known)
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingError(f"{search} has no setting {name!r}.{hint} It has: {', '.join(known)}.")


def check_positive(search: str, **settings: float | None) -> None:
    """Refuse settings that are not positive; None passes.

    Raises
    ------
    SettingError : names the setting and what it was.
    """
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise SettingError(f"{search}: {name} must be positive, got {value!r}.")


def keywords(*functions: Callable[..., Any], without: Iterable[str] = ()) -> list[frozenset[str]]:
    """For each function the names of its parameters, less ``without``: how a sampler's settings are split."""
    dropped = {"self", "cls", "args", "kwargs", *without}
    return [frozenset(inspect.signature(function).parameters) - dropped for function in functions]


def pick(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The entries of ``settings`` called one of ``names``."""
    return {name: settings[name] for name in settings if name in names}


def require(target: Target, search: str, *, proper_prior: bool = False, jax: bool = False) -> None:
    """Refuse a target that a search cannot take.

    Raises
    ------
    TargetError : no parameters, an improper prior, or not JAX; says how to mend it.
    """
    if target.num_parameters == 0:
        raise TargetError(f"{search} needs at least one free parameter; everything in this target is fixed.")
    if proper_prior and not target.proper_prior:
        raise TargetError(
            f"{search} draws from the prior, and a prior of this target is improper: give every variable a proper "
            "prior (in place of FlatPrior), or use optimise() or Laplace, which need none."
        )
    if jax and not target.is_jax:
        raise TargetError(
            f"{search} needs a log likelihood that JAX can trace: write it with jax.numpy, or use DynestyStatic or "
            "UltraNest."
        )


def collect(
    target: Target,
    *,
    x: np.ndarray,
    log_likelihood: np.ndarray,
    log_weight: np.ndarray,
    guard: Guard | None = None,
    diagnostics: Mapping[str, Any],
    log_prior: np.ndarray | None = None,
    **results: Any,
) -> Samples:
    """`Samples` of ``target`` at ``x`` (n, P) with the user's coordinates and the prior filled in."""
    failures = {} if guard is None else {"num_bad": guard.num_bad, "bad_points": tuple(guard.bad_points)}
    return Samples(
        x=x,
        parameters=np.asarray(target.to_parameters(x), dtype=np.float64),
        log_likelihood=log_likelihood,
        log_prior=target.log_priors(x) if log_prior is None else log_prior,
        log_weight=log_weight,
        names=target.names,
        diagnostics={**diagnostics, **failures},
        **results,
    )
