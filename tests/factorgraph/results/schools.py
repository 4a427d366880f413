"""The eight schools (Rubin 1981), their graph, and their posterior by quadrature; mu ~ N(0, 5), tau ~ HalfCauchy(5)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import stats

from factorgraph.analysis import Analysis
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior, HalfCauchyPrior

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
NAMES = tuple("ABCDEFGH")


class School:
    def __init__(self, theta=0.0):
        self.theta = theta


class Coaching(Analysis):
    def __init__(self, effect, error):
        self.effect = effect
        self.error = error

    def log_likelihood_function(self, instance):
        residual = (instance.theta - self.effect) / self.error
        return -0.5 * residual**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class Schools(NamedTuple):
    graph: FactorGraphModel
    parent: HierarchicalFactor
    models: list[Model]


def schools() -> Schools:
    models = [Model(School) for _ in NAMES]
    parent = HierarchicalFactor(GaussianPrior, mean=GaussianPrior(0.0, 5.0), sigma=HalfCauchyPrior(5.0))
    for model in models:
        parent.add_drawn_variable(model.theta)
    factors = [
        AnalysisFactor(model, Coaching(float(effect), float(error)), name=name)
        for model, effect, error, name in zip(models, EFFECTS, ERRORS, NAMES)
    ]
    return Schools(FactorGraphModel(*factors, parent), parent, models)


class Exact(NamedTuple):
    """Means and sds of mu, tau and the eight theta; correlations of the theta; log evidence."""

    mean: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray
    log_evidence: float


def exact() -> Exact:
    """Trapezoidal sums over mu and over log tau; theta given mu and tau is Gaussian."""
    mu = np.linspace(-25.0, 30.0, 221)[:, None]
    log_tau = np.linspace(np.log(1e-4), np.log(2e3), 401)[None, :]
    tau = np.exp(log_tau)
    log_joint = stats.norm.logpdf(mu, 0.0, 5.0) + stats.halfcauchy.logpdf(tau, scale=5.0) + log_tau
    for effect, error in zip(EFFECTS, ERRORS):
        log_joint = log_joint + stats.norm.logpdf(effect, mu, np.hypot(tau, error))
    cell = (mu[1, 0] - mu[0, 0]) * (log_tau[0, 1] - log_tau[0, 0])
    weight = np.exp(log_joint - log_joint.max())
    log_evidence = float(np.log(weight.sum() * cell) + log_joint.max())
    weight = weight / weight.sum()
    precision = 1.0 / tau**2 + 1.0 / ERRORS[:, None, None] ** 2
    conditional = (mu / tau**2 + (EFFECTS / ERRORS**2)[:, None, None]) / precision
    means = np.stack([np.broadcast_to(mu, weight.shape), np.broadcast_to(tau, weight.shape), *conditional])
    mean = np.einsum("kij,ij->k", means, weight)
    centred = means - mean[:, None, None]
    covariance = np.einsum("kij,lij,ij->kl", centred, centred, weight)
    covariance[np.arange(2, 10), np.arange(2, 10)] += np.einsum(
        "kij,ij->k", 1.0 / np.broadcast_to(precision, (8, *weight.shape)), weight
    )
    scale = np.sqrt(np.diag(covariance))
    return Exact(mean, scale, (covariance / np.outer(scale, scale))[2:, 2:], log_evidence)
