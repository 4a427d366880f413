"""Pareto-smoothed importance weights and their diagnostic k-hat.

Vehtari, Simpson, Gelman, Yao & Gabry (2024, JMLR 25:72) with the fit of the generalised Pareto tail by
Zhang & Stephens (2009, Technometrics 51:316). k-hat below 0.5: finite variance; above 0.7: do not trust the weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from messages.array_namespace import logsumexp, namespace

Array = Any

_FEWEST_TAIL_WEIGHTS = 5


def tail_length(num_weights: int) -> int:
    """How many of the largest weights make the tail: min(n / 5, 3 sqrt(n)) (Vehtari et al. 2024, section 2.4)."""
    return math.ceil(min(0.2 * num_weights, 3.0 * math.sqrt(num_weights)))


def fit_generalized_pareto(exceedances: Array) -> tuple[Array, Array]:
    """Shape k and scale sigma of a generalised Pareto distribution, Zhang & Stephens' quasi-Bayesian fit.

    Parameters
    ----------
    exceedances : (..., n), positive, ascending along the last axis.

    Returns
    -------
    k, sigma : (...), k > 0 is a heavy tail; k is drawn towards 0.5 by a prior worth ten observations.
        nan where the exceedances are degenerate.
    """
    xp = namespace(exceedances)
    n = exceedances.shape[-1]
    num_candidates = 30 + int(math.sqrt(n))
    quartile = exceedances[..., max(int(n / 4 + 0.5) - 1, 0)]
    grid = 1.0 - np.sqrt(num_candidates / (np.arange(1, num_candidates + 1) - 0.5))
    theta = 1.0 / exceedances[..., -1:] + grid / (3.0 * quartile[..., None])
    k = xp.mean(xp.log1p(-theta[..., None] * exceedances[..., None, :]), axis=-1)
    profile = n * (xp.log(-theta / k) - k - 1.0)
    weights = xp.exp(profile - logsumexp(profile, axis=-1, keepdims=True))
    theta = xp.sum(weights * theta, axis=-1)
    k = xp.mean(xp.log1p(-theta[..., None] * exceedances), axis=-1)
    return (n * k + 5.0) / (n + 10.0), -k / theta


def pareto_k(log_weights: Array) -> Array:
    """k-hat of unnormalised log weights along the last axis, (..., n) -> (...); traced or on the host, batched.

    inf where too few weights are positive to judge, 0 where all weights are equal.
    """
    xp = namespace(log_weights)
    n = log_weights.shape[-1]
    num_tail = tail_length(n)
    if num_tail < _FEWEST_TAIL_WEIGHTS:
        return xp.full(log_weights.shape[:-1], xp.inf)
    with np.errstate(all="ignore"):
        tail = xp.sort(log_weights, axis=-1)[..., n - num_tail - 1 :]
        top = tail[..., -1:]
        weights = xp.exp(tail - top)
        flat = tail[..., -1] - tail[..., 0] < 1e-12
        k, _ = fit_generalized_pareto(_positive(weights[..., 1:] - weights[..., :1]))
    covered = xp.isfinite(top[..., 0]) & (weights[..., -_FEWEST_TAIL_WEIGHTS] > 0)
    return xp.where(flat & covered, 0.0, xp.where(xp.isfinite(k) & covered, k, xp.inf))


def pareto_smooth(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Replace the largest importance weights by the expected order statistics of a fitted Pareto tail.

    Parameters
    ----------
    log_weights : (n,) unnormalised, -inf allowed, nan not.

    Returns
    -------
    smoothed : (n,) log weights on the scale of the input, none above the largest raw one.
    k_hat : inf if fewer than 25 weights are positive (then nothing is smoothed).
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(log_weights))
    k_hat = float(pareto_k(log_weights[finite]))
    if not np.isfinite(k_hat) or k_hat == 0.0:
        return log_weights, k_hat
    order = finite[np.argsort(log_weights[finite], kind="stable")]
    num_tail = tail_length(len(finite))
    tail, top, cut = order[-num_tail:], log_weights[order[-1]], log_weights[order[-num_tail - 1]]
    k, sigma = fit_generalized_pareto(_positive(np.exp(log_weights[tail] - top) - np.exp(cut - top)))
    probability = (np.arange(num_tail) + 0.5) / num_tail
    quantiles = sigma * np.expm1(-k * np.log1p(-probability)) / k
    smoothed = log_weights.copy()
    smoothed[tail] = top + np.minimum(np.log(np.exp(cut - top) + quantiles), 0.0)
    return smoothed, k_hat


def _positive(exceedances: Array) -> Array:
    return namespace(exceedances).maximum(exceedances, np.finfo(np.float64).tiny * 1e20)
