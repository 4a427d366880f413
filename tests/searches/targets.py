"""Targets of known evidence and moments, shared by the tests of the searches."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_normal, norm

from searches import Target


@dataclass(frozen=True)
class Known:
    """A target with its exact log evidence, posterior mean (P,) and covariance (P, P)."""

    target: Target
    log_evidence: float
    mean: np.ndarray
    covariance: np.ndarray


def gaussian_log_likelihood(x, data):
    residual = x - data["mean"]
    return -0.5 * residual @ data["precision"] @ residual + data["log_norm"]


def correlated_gaussian(dimension: int, *, is_jax: bool = True, sd: float = 0.2, correlation: float = 0.9) -> Known:
    """N(x; m, S) as a likelihood of x ~ N(0, I): Z = N(m; 0, S + I), posterior precision S^-1 + I."""
    covariance = sd**2 * (correlation * np.ones((dimension, dimension)) + (1 - correlation) * np.eye(dimension))
    mean = np.linspace(0.3, 0.9, dimension)
    precision = np.linalg.inv(covariance)
    log_norm = -0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    posterior = np.linalg.inv(precision + np.eye(dimension))
    return Known(
        target=Target(
            names=tuple(f"x_{i}" for i in range(dimension)),
            log_likelihood=gaussian_log_likelihood,
            data={"mean": mean, "precision": precision, "log_norm": log_norm},
            is_jax=is_jax,
        ),
        log_evidence=multivariate_normal(np.zeros(dimension), covariance + np.eye(dimension)).logpdf(mean),
        mean=posterior @ precision @ mean,
        covariance=posterior,
    )


def two_modes_log_likelihood(x, data):
    near = jnp.log(0.3) - 0.5 * jnp.sum((x - data["centre"]) ** 2) / data["sd"] ** 2
    far = jnp.log(0.7) - 0.5 * jnp.sum((x + data["centre"]) ** 2) / data["sd"] ** 2
    return jnp.logaddexp(near, far) - x.shape[0] * jnp.log(data["sd"] * jnp.sqrt(2 * jnp.pi))


def two_modes(dimension: int, *, centre: float = 1.5, sd: float = 0.1) -> Known:
    """0.3 N(x; c, s^2 I) + 0.7 N(x; -c, s^2 I): both modes have the same prior density, so the shares stay."""
    centres = np.full(dimension, centre)
    shrink = 1 / (1 + sd**2)
    return Known(
        target=Target(
            names=tuple(f"x_{i}" for i in range(dimension)),
            log_likelihood=two_modes_log_likelihood,
            data={"centre": centres, "sd": sd},
        ),
        log_evidence=norm(0, np.sqrt(1 + sd**2)).logpdf(centres).sum(),
        mean=-0.4 * shrink * centres,
        covariance=sd**2 * shrink * np.eye(dimension) + 0.84 * shrink**2 * np.outer(centres, centres),
    )
