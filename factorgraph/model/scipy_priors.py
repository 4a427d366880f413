"""Frozen scipy.stats distributions as priors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from factorgraph.errors import PriorError
from factorgraph.model import prior as priors


def is_frozen(value: Any) -> bool:
    """Is it a frozen scipy.stats distribution?"""
    return type(value).__module__.startswith("scipy.stats") and hasattr(value, "dist") and hasattr(value, "args")


def _without_shift(loc: float, name: str) -> None:
    if loc != 0.0:
        raise PriorError(
            f"scipy.stats.{name} with loc = {loc!r} has no prior here; use loc=0 and add the shift as a relation."
        )


def _truncated(loc: float, scale: float, a: float, b: float) -> priors.Prior:
    return priors.TruncatedGaussianPrior(loc, scale, loc + scale * a, loc + scale * b)


def _beta(loc: float, scale: float, a: float, b: float) -> priors.Prior:
    _without_shift(loc, "beta")
    if scale != 1.0:
        raise PriorError(f"scipy.stats.beta with scale = {scale!r} has no prior here; use scale=1 and multiply.")
    return priors.BetaPrior(a, b)


def _scaled(name: str, make: Callable[..., priors.Prior]) -> Callable[..., priors.Prior]:
    def convert(loc: float, scale: float, *shapes: float) -> priors.Prior:
        _without_shift(loc, name)
        return make(scale, *shapes)

    return convert


_CONVERSIONS: dict[str, Callable[..., priors.Prior]] = {
    "norm": priors.GaussianPrior,
    "uniform": lambda loc, scale: priors.UniformPrior(loc, loc + scale),
    "loguniform": _scaled("loguniform", lambda scale, a, b: priors.LogUniformPrior(a * scale, b * scale)),
    "truncnorm": _truncated,
    "lognorm": _scaled("lognorm", lambda scale, s: priors.LogGaussianPrior(math.log(scale), s)),
    "halfnorm": _scaled("halfnorm", priors.HalfNormalPrior),
    "halfcauchy": _scaled("halfcauchy", priors.HalfCauchyPrior),
    "cauchy": priors.CauchyPrior,
    "t": lambda loc, scale, df: priors.StudentTPrior(df, loc, scale),
    "gamma": _scaled("gamma", lambda scale, a: priors.GammaPrior(a, scale)),
    "invgamma": _scaled("invgamma", lambda scale, a: priors.InverseGammaPrior(a, scale)),
    "expon": _scaled("expon", priors.ExponentialPrior),
    "beta": _beta,
}
_CONVERSIONS["reciprocal"] = _CONVERSIONS["loguniform"]


def prior_from_scipy(frozen: Any) -> priors.Prior:
    """The prior with the same distribution.

    Raises
    ------
    PriorError
        A distribution, or a shift, that has no counterpart.
    """
    name = frozen.dist.name
    if name not in _CONVERSIONS:
        raise PriorError(f"scipy.stats.{name} has no prior here; accepted: {', '.join(sorted(_CONVERSIONS))}.")
    shapes, loc, scale = frozen.dist._parse_args(*frozen.args, **frozen.kwds)
    return _CONVERSIONS[name](float(loc), float(scale), *map(float, shapes))
