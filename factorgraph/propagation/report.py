"""Moments and draws of the shared variables in the user's coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factorgraph.graph.plates import SharedVariable
from factorgraph.propagation.correction import Correction
from factorgraph.propagation.resampling import equal_weight_rows
from factorgraph.propagation.solution import Moments
from factorgraph.propagation.state import EPState
from searches.quasi import normal_points

_NUM_POINTS = 4096
NUM_DRAWS = 1024  # of an answer
_FEWEST_EFFECTIVE = 300.0  # below, or where weighted draws are few, Gaussian draws are moved to the corrected moments
_ENOUGH = 1024


def gaussian_points(state: EPState, num: int = _NUM_POINTS, seed: int = 7) -> np.ndarray:
    """Points (n, D) of the EP posterior in coordinates, with its mean and covariance exactly."""
    mean, covariance = state.phi_moments()
    dimension = len(mean)
    if dimension == 0:
        return np.zeros((num, 0))
    num = max(num, 1 << int(np.ceil(np.log2(2 * dimension))))
    return mean + normal_points(num, dimension, seed, whiten=True) @ np.linalg.cholesky(covariance).T


def values(shared: Sequence[SharedVariable], phi: np.ndarray) -> np.ndarray:
    """(n, D) in the user's coordinates."""
    if not shared:
        return np.zeros_like(phi)
    return np.stack([s.value(phi[:, i]) for i, s in enumerate(shared)], axis=1)


def moments_of(shared: Sequence[SharedVariable], state: EPState, correction: Correction | None) -> Moments:
    """True moments: EP's own, plus the weighted difference between the target and EP on the correction's draws.

    The difference estimator (a control variate) has no Monte-Carlo noise where EP is exact, and is the plain weighted
    estimate where EP has little to do with the target (`Correction.overlap`), or where it would leave a variable's
    standard deviation with more noise.
    """
    theta = values(shared, gaussian_points(state))
    centre = theta.mean(axis=0)
    if correction is None:
        return Moments(mean=centre, covariance=_covariance(theta - centre), log_evidence=state.log_evidence)
    drawn = values(shared, correction.phi)
    overlap, difference, weights = correction.overlap, correction.difference, correction.weights
    plain_mean, controlled_mean = weights @ drawn, overlap * centre + difference @ drawn
    plain = _covariance(drawn - plain_mean, weights)
    controlled = overlap * _covariance(theta - controlled_mean) + _covariance(drawn - controlled_mean, difference)
    if np.any(np.linalg.eigvalsh(controlled) <= 0):  # few draws in many dimensions; the plain estimate is proper
        return Moments(mean=plain_mean, covariance=plain, log_evidence=correction.log_evidence)
    errors = correction.spread_errors(drawn)
    is_controlled = errors[1] <= errors[0]
    size = np.where(is_controlled, 1.0, np.sqrt(np.diag(plain) / np.diag(controlled)))
    mean = np.where(is_controlled, controlled_mean, plain_mean)
    return Moments(mean=mean, covariance=np.outer(size, size) * controlled, log_evidence=correction.log_evidence)


def _covariance(deviation: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    if weights is None:
        return deviation.T @ deviation / len(deviation)
    return deviation.T @ (weights[:, None] * deviation)


def posterior_draws(state: EPState, correction: Correction | None, *, seed: int) -> np.ndarray:
    """Equal-weight draws (M, D) in coordinates."""
    if correction is None:
        return gaussian_points(state, NUM_DRAWS, seed=8)
    if are_enough(correction):
        rng = np.random.default_rng(seed)
        chosen = equal_weight_rows(correction.phi, correction.weights, NUM_DRAWS, rng)
        return correction.phi[rng.permutation(chosen)]
    return _moved(state, correction)


def are_enough(correction: Correction) -> bool:
    """Whether its weighted draws stand for the posterior by themselves."""
    enough = len(correction.phi) >= _ENOUGH and correction.effective_sample_size > _FEWEST_EFFECTIVE
    return enough or correction.num_modes > 1


def _moved(state: EPState, correction: Correction) -> np.ndarray:
    """Draws of the EP posterior, moved linearly to the corrected mean and covariance."""
    points = gaussian_points(state, NUM_DRAWS, seed=8)
    mean, covariance = state.phi_moments()
    overlap, difference = correction.overlap, correction.difference
    corrected = overlap * mean + difference @ correction.phi
    deviation = correction.phi - corrected
    target = overlap * (covariance + np.outer(mean - corrected, mean - corrected))
    target = target + deviation.T @ (difference[:, None] * deviation)
    try:
        factor = np.linalg.cholesky(target) @ np.linalg.inv(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        factor = np.eye(len(mean))
    return corrected + (points - mean) @ factor.T


def few_draws(state: EPState, correction: Correction | None, num: int) -> np.ndarray:
    """About ``num`` equal-weight draws (n, D) in coordinates, with the mean and covariance of the answer."""
    if correction is not None:
        return balanced_draws(correction, num, state)
    mean, covariance = state.phi_moments()
    dimension = len(mean)
    if dimension == 0:
        return np.zeros((num, 0))
    num = max(num, 1 << int(np.ceil(np.log2(2 * dimension + 1))))
    points = normal_points(num, dimension, seed=6, whiten=True)
    return mean + points @ np.linalg.cholesky(covariance).T


def balanced_draws(correction: Correction, num: int, state: EPState) -> np.ndarray:
    """``num`` equal-weight draws (num, D) with the mean and covariance of the weighted ones."""
    if len(correction.phi) < 2 * num:
        moved = _moved(state, correction)
        chosen = moved[np.linspace(0, len(moved) - 1, num).astype(int)]
    else:
        rows = equal_weight_rows(correction.phi, correction.weights, num, np.random.default_rng(num))
        chosen = correction.phi[rows]
    weights = correction.weights
    mean = weights @ correction.phi
    target = np.linalg.cholesky((correction.phi - mean).T @ (weights[:, None] * (correction.phi - mean)))
    centred = chosen - chosen.mean(axis=0)
    own = np.linalg.cholesky(centred.T @ centred / num)
    return mean + np.linalg.solve(own, centred.T).T @ target.T
