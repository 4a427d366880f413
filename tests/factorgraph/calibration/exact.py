"""A solver of the model `mean_and_scatter` that is exact up to a fine grid, and the faults that can be planted in it.

With y_i ~ N(x_i, e_i) and x_i ~ N(mu, tau), y_i ~ N(mu, hypot(tau, e_i)), and x_i given mu, tau and y_i is normal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

import factorgraph as fg

STEP = 0.1
MU, TAU = np.meshgrid(np.arange(-5.0, 5.0, STEP) + STEP / 2, np.arange(0.0, 4.5, STEP) + STEP / 2, indexing="ij")
LOG_PRIOR = stats.norm.logpdf(MU) + stats.halfnorm.logpdf(TAU)
NUM_DRAWS = 1000

Draws = dict[fg.Variable, np.ndarray]


def solver(
    *,
    prior_power: float = 1.0,
    jacobian_power: float = 0.0,
    first_twice: bool = False,
    width: float = 1.0,
    shift: float = 0.0,
) -> Callable[[fg.FactorGraphModel, int], Draws]:
    """``solve(survey, seed)``.

    Parameters
    ----------
    prior_power
        2 counts the prior twice.
    jacobian_power
        1 drops the Jacobian of log tau.
    first_twice
        Use the first dataset twice.
    width, shift
        Factor of all posterior standard deviations, and shift of all posteriors in theirs.
    """

    def solve(survey: fg.FactorGraphModel, seed: int) -> Draws:
        rng = np.random.default_rng(seed)
        y = np.array([factor.analysis.y for factor in survey.factors])
        precision = np.array([factor.analysis.error for factor in survey.factors]) ** -2.0
        if first_twice:
            precision[0] *= 2.0
        variance = TAU[..., None] ** 2 + 1.0 / precision
        log_posterior = -0.5 * np.sum((y - MU[..., None]) ** 2 / variance + np.log(variance), axis=-1)
        log_posterior += prior_power * LOG_PRIOR - jacobian_power * np.log(TAU)
        weight = np.exp(log_posterior - log_posterior.max()).ravel()
        cells = rng.choice(weight.size, NUM_DRAWS, p=weight / weight.sum())
        mu, tau = (grid.ravel()[cells] + rng.uniform(-0.5 * STEP, 0.5 * STEP, NUM_DRAWS) for grid in (MU, TAU))
        local_precision = precision[:, None] + tau**-2.0
        local_mean = (precision[:, None] * y[:, None] + mu / tau**2) / local_precision
        x = rng.normal(local_mean, local_precision**-0.5)
        parent = survey.hierarchical_factors[0]
        draws = {parent.mean: mu, parent.sigma: tau}
        draws |= {factor.prior_model.x: row for factor, row in zip(survey.factors, x)}
        return {variable: moved(column, width, shift) for variable, column in draws.items()}

    return solve


def moved(draws: np.ndarray, width: float, shift: float) -> np.ndarray:
    """Draws (M,) with another width, shifted by as many standard deviations."""
    mean, scale = np.mean(draws), np.std(draws)
    return mean + width * (draws - mean) + shift * scale


def grid_moments(y: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (2,) of mu and tau for any data, on midpoints of a wide grid."""
    mu, tau = np.meshgrid(np.linspace(-8.0, 16.0, 961), (np.arange(400) + 0.5) * 0.03, indexing="ij")
    log_posterior = stats.norm.logpdf(mu) + stats.halfnorm.logpdf(tau)
    for value, error in zip(y, errors):
        log_posterior += stats.norm.logpdf(value, mu, np.hypot(tau, error))
    weight = np.exp(log_posterior - log_posterior.max())
    weight /= weight.sum()
    mean = np.array([np.sum(weight * mu), np.sum(weight * tau)])
    return mean, np.sqrt([np.sum(weight * (mu - mean[0]) ** 2), np.sum(weight * (tau - mean[1]) ** 2)])
