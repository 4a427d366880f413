"""Importance sampling with t-tailed quasi-random draws: evidence, weights, and k-hat to say whether to trust them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import chdtri, gammaln, logsumexp, ndtri

from .pareto import pareto_smooth
from .quasi import uniform_points
from .status import Status

TRUSTED_K_HAT = 0.7
_SMOOTHED_ABOVE = (
    0.5  # below, the raw weights have a finite variance and quasi-random accuracy that smoothing would blur
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceDraws:
    """Weighted draws of a target. ``x`` (n, d); ``log_target`` (n,) unnormalised; ``log_weight`` (n,) sums to one when
    exponentiated (Pareto-smoothed if k-hat is above 0.5); ``log_evidence`` the log integral of the target.
    """

    x: np.ndarray
    log_target: np.ndarray
    log_weight: np.ndarray
    log_evidence: float
    log_evidence_error: float
    k_hat: float
    effective_sample_size: float
    status: Status

    @property
    def weights(self) -> np.ndarray:
        return np.exp(self.log_weight)

    @property
    def mean(self) -> np.ndarray:
        return self.weights @ self.x

    @property
    def covariance(self) -> np.ndarray:
        centred = self.x - self.mean
        return (self.weights[:, None] * centred).T @ centred


def importance_sample(
    log_target: Callable[[np.ndarray], np.ndarray],
    mean: np.ndarray,
    covariance: np.ndarray,
    *,
    num_draws: int,
    seed: int,
    df: float = 5.0,
) -> ImportanceDraws:
    """Integrate ``exp(log_target)`` with draws from a multivariate t.

    Parameters
    ----------
    log_target : (n, d) -> (n,) unnormalised log density, on the host; nan and +inf count as -inf.
    mean, covariance : (d,), (d, d), location and scale matrix of the proposal.
    df : degrees of freedom of the proposal; inf is a normal.

    Returns
    -------
    ImportanceDraws ; ``status`` is `search_failed` if no draw has a finite target, `poor_proposal` if k-hat > 0.7.
        ``log_evidence_error`` is that of independent draws, quasi-random ones are usually better.
    """
    x, log_proposal = student_draws(mean, np.linalg.cholesky(covariance), num_draws=num_draws, seed=seed, df=df)
    values = np.asarray(log_target(x), dtype=np.float64)
    values = np.where(np.isnan(values) | (values == np.inf), -np.inf, values)
    return weigh(x, values, log_proposal)


def student_draws(
    mean: np.ndarray, cholesky: np.ndarray, *, num_draws: int, seed: int, df: float = 5.0
) -> tuple[np.ndarray, np.ndarray]:
    """Quasi-random draws (n, d) of a multivariate t with scale matrix ``cholesky cholesky^T``; log densities (n,)."""
    d = len(mean)
    uniform = uniform_points(num_draws, d + 1, seed)
    stretch = np.sqrt(df / chdtri(df, uniform[:, d])) if np.isfinite(df) else np.ones(num_draws)
    x = mean + (ndtri(uniform[:, :d]) * stretch[:, None]) @ cholesky.T
    return x, student_log_density(x, mean, cholesky, df=df)


def student_log_density(x: np.ndarray, mean: np.ndarray, cholesky: np.ndarray, *, df: float) -> np.ndarray:
    """log density (n,) at ``x`` (n, d) of a multivariate t with ``df`` degrees of freedom (inf: normal)."""
    d = len(mean)
    squares = np.sum(solve_triangular(cholesky, (x - mean).T, lower=True) ** 2, axis=0)
    log_scale = np.sum(np.log(np.diag(cholesky)))
    if not np.isfinite(df):
        return -0.5 * squares - 0.5 * d * np.log(2 * np.pi) - log_scale
    log_norm = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi) - log_scale
    return log_norm - 0.5 * (df + d) * np.log1p(squares / df)


def weigh(x: np.ndarray, log_target: np.ndarray, log_proposal: np.ndarray) -> ImportanceDraws:
    """Weights, evidence and k-hat of draws ``x`` (n, d) of a proposal, from both log densities (n,)."""
    raw = log_target - log_proposal
    smoothed, k_hat = pareto_smooth(raw)
    log_weight = smoothed if k_hat > _SMOOTHED_ABOVE else raw
    total = logsumexp(log_weight)
    n, found = len(x), np.isfinite(total)
    log_weight = log_weight - total if found else np.full(n, -np.log(n))
    effective = float(np.exp(-logsumexp(2 * log_weight))) if found else 0.0
    return ImportanceDraws(
        x=x,
        log_target=log_target,
        log_weight=log_weight,
        log_evidence=float(total - np.log(n)),
        log_evidence_error=float(np.sqrt(max(1 / effective - 1 / n, 0.0))) if found else np.inf,
        k_hat=k_hat,
        effective_sample_size=effective,
        status=_status(found, k_hat),
    )


def _status(found: bool, k_hat: float) -> Status:
    if not found:
        return Status.search_failed
    return Status.poor_proposal if k_hat > TRUSTED_K_HAT else Status.ok
