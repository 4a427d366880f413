"""Unconstrained coordinates: every unknown is seen as one real number, and its Jacobian is taken here and nowhere else.

A coordinate is a *kind*, which is static, and four numbers ``(anchor, end, location, scale)``, which are traced:

==========  ==================================================  =========================================
kind        theta(t)                                            used for
==========  ==================================================  =========================================
real        location + scale t                                  the whole line
softplus    anchor + end scale log(1 + exp(t + location))       a half line, end = +1 or -1; scales
log         anchor + end exp(location + scale t)                a half line whose values span decades
interval    anchor + (end - anchor) / (1 + exp(-u)),            a bounded interval, u = location + scale t
==========  ==================================================  =========================================

A variable with a light-tailed prior of its own is mostly *whitened* instead (see `Family.is_whitened`):
theta = F^-1(Phi(t)) through its family, so that its prior is N(0, 1) in t and needs no Jacobian at all. The functions
are namespace-agnostic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from messages.array_namespace import expit, namespace, softplus, softplus_inverse

Array = Any

KINDS = ("real", "softplus", "log", "interval")


def value_from_coordinate(kind: str, t: Array, parameters: Array) -> Array:
    """theta(t); ``parameters`` has shape ``(..., 4)`` and broadcasts with ``t``."""
    xp = namespace(t, parameters)
    anchor, end, location, scale = (parameters[..., i] for i in range(4))
    if kind == "real":
        return location + scale * t
    if kind == "softplus":
        return anchor + end * scale * softplus(t + location)
    if kind == "log":
        return anchor + end * xp.exp(location + scale * t)
    return anchor + (end - anchor) * expit(location + scale * t)


def log_jacobian(kind: str, t: Array, parameters: Array) -> Array:
    """log |d theta / d t|."""
    xp = namespace(t, parameters)
    anchor, end, location, scale = (parameters[..., i] for i in range(4))
    if kind == "real":
        return xp.log(scale) + 0.0 * t
    if kind == "softplus":
        return xp.log(scale) - softplus(-(t + location))
    if kind == "log":
        return xp.log(scale) + location + scale * t
    u = location + scale * t
    return xp.log((end - anchor) * scale) - softplus(u) - softplus(-u)


def coordinate_from_value(kind: str, value: Array, parameters: Array) -> Array:
    """t(theta), the inverse of `value_from_coordinate`."""
    xp = namespace(value, parameters)
    anchor, end, location, scale = (parameters[..., i] for i in range(4))
    if kind == "real":
        return (value - location) / scale
    if kind == "softplus":
        return softplus_inverse((value - anchor) * end / scale) - location
    if kind == "log":
        return (xp.log((value - anchor) * end) - location) / scale
    fraction = (value - anchor) / (end - anchor)
    return (xp.log(fraction) - xp.log1p(-fraction) - location) / scale


def kind_for_support(support_kind: str, decades: bool = False) -> str:
    """The kind for a family's support, ``"real" | "lower" | "upper" | "interval"``."""
    if support_kind in ("lower", "upper"):
        return "log" if decades else "softplus"
    return support_kind


def unit_coordinate(support_kind: str, lower: float, upper: float, scale: float = 1.0) -> np.ndarray:
    """The four numbers of a coordinate over ``(lower, upper)`` before anything is known of the variable, shape
    ``(4,)``."""
    if support_kind == "real":
        return np.array([0.0, 0.0, 0.0, scale])
    if support_kind == "lower":
        return np.array([lower, 1.0, 0.0, scale])
    if support_kind == "upper":
        return np.array([upper, -1.0, 0.0, scale])
    return np.array([lower, upper, 0.0, 1.0])
