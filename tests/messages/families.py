"""One row for every family: what the laws of ``test_laws.py`` need to know about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.stats

from messages.beta import Beta
from messages.bijectors import Affine, Exp, Logistic, NormalCdf, Softplus
from messages.family import Message
from messages.gamma import Gamma
from messages.inverse_gamma import InverseGamma
from messages.multivariate_normal import MultivariateNormal, pack
from messages.normal import Normal
from messages.point_mass import PointMass
from messages.transformed import Transformed
from messages.truncated_normal import TruncatedNormal


@dataclass(frozen=True)
class Case:
    """A family at a plate of three messages."""

    message: Message  # proper, plate (3,)
    other: Message  # proper, of the same family and fixed fields, not equal
    points: Any  # (3, *event): inside the support
    edges: Any  # (m, 3, *event): near the limits of the support, on them and beyond
    proper: Any = ()  # natural parameters of one message, just inside the domain
    improper: Any = ()  # the same, on the boundary or outside
    referee: list | None = field(default=None)  # three frozen scipy.stats distributions


MEAN, SD = np.array([-1.0, 0.3, 50.0]), np.array([0.5, 2.0, 0.1])
NORMAL, OTHER = Normal.from_mean_variance(MEAN, SD**2), Normal.from_mean_variance(MEAN + 0.3 * SD, 1.7 * SD**2)
SMALL = Normal.from_mean_variance(np.array([-1.0, 0.3, 2.0]), SD**2)
SMALL_OTHER = Normal.from_mean_variance(np.array([-1.1, 0.9, 2.1]), 1.5 * SD**2)
NORMAL_EDGE = {"proper": [(1e3, 1e-300)], "improper": [(1.0, 0.0), (0.0, -1e-300)]}

_ROOT = np.random.default_rng(5).normal(size=(3, 2, 2))
COVARIANCE = _ROOT @ np.swapaxes(_ROOT, -1, -2) + 0.3 * np.eye(2)
VECTOR_MEAN = np.array([[0.0, 0.0], [1.0, -2.0], [0.5, 1.0]])
VECTOR = MultivariateNormal.from_mean_covariance(VECTOR_MEAN, COVARIANCE)
VECTOR_OTHER = MultivariateNormal.from_mean_covariance(VECTOR_MEAN + 0.4, 2.0 * COVARIANCE + 0.2 * np.eye(2))
# Correlation just below and at one.
VECTOR_EDGE = {
    "proper": [pack(np.ones(2), np.array([[1.0, 1.0 - 1e-12], [1.0 - 1e-12, 1.0]]))],
    "improper": [pack(np.ones(2), np.ones((2, 2))), pack(np.zeros(2), np.diag([1.0, -1e-12]))],
}

LOWER, UPPER = np.array([0.0, -1.0, 8.0]), np.array([np.inf, 2.0, np.inf])
TRUNCATED = TruncatedNormal.from_location_scale(
    np.array([1.0, 0.3, 0.0]), np.array([1.0, 2.0, 1.0]), lower=LOWER, upper=UPPER
)
TRUNCATED_OTHER = TruncatedNormal.from_location_scale(
    np.array([1.5, -0.3, 2.0]), np.array([1.2, 1.0, 1.5]), lower=LOWER, upper=UPPER
)
TRUNCATED_DISTRIBUTIONS = [
    scipy.stats.truncnorm((low - location) / scale, (high - location) / scale, location, scale)
    for low, high, location, scale in zip(LOWER, UPPER, (1.0, 0.3, 0.0), (1.0, 2.0, 1.0), strict=True)
]

ALPHA, BETA = np.array([0.7, 3.0, 40.0]), np.array([1.5, 0.8, 25.0])
GAMMA, GAMMA_OTHER = Gamma.from_shape_rate(ALPHA, BETA), Gamma.from_shape_rate(1.4 * ALPHA, 1.2 * BETA)
POSITIVE_EDGES = np.array([1e-12, 0.0, -1.0, 1e12])[:, None] * np.ones(3)
UNIT_EDGES = np.array([1e-12, 0.0, -1.0, 1.0 - 1e-12, 1.0, 2.0])[:, None] * np.ones(3)
LINE = np.array([-1e6, 0.0, 1e6])[:, None] * np.ones(3)

CASES = {
    "normal": Case(
        NORMAL, OTHER, MEAN + SD, LINE, **NORMAL_EDGE, referee=[scipy.stats.norm(m, s) for m, s in zip(MEAN, SD)]
    ),
    "multivariate_normal": Case(
        VECTOR,
        VECTOR_OTHER,
        VECTOR_MEAN + 0.5,
        LINE[..., None] * np.ones(2),
        **VECTOR_EDGE,
        referee=[scipy.stats.multivariate_normal(m, c) for m, c in zip(VECTOR_MEAN, COVARIANCE)],
    ),
    "truncated_normal": Case(
        TRUNCATED,
        TRUNCATED_OTHER,
        LOWER + 0.1,
        np.stack([LOWER + 1e-12, LOWER, LOWER - 1.0, LOWER + 50.0]),
        referee=TRUNCATED_DISTRIBUTIONS,
    ),
    "gamma": Case(
        GAMMA,
        GAMMA_OTHER,
        ALPHA / BETA,
        POSITIVE_EDGES,
        proper=[(-1.0 + 1e-12, -1e-12)],
        improper=[(-1.0, -1.0), (0.0, 0.0), (1.0, 1.0)],
        referee=[scipy.stats.gamma(a, scale=1.0 / b) for a, b in zip(ALPHA, BETA)],
    ),
    "inverse_gamma": Case(
        InverseGamma.from_shape_scale(ALPHA + 2.0, BETA),
        InverseGamma.from_shape_scale(1.3 * ALPHA + 2.0, 0.8 * BETA),
        BETA / (ALPHA + 2.0),
        POSITIVE_EDGES,
        proper=[(-1.0 - 1e-12, -1e-12)],
        improper=[(-1.0, -1.0), (-2.0, 0.0), (-2.0, 1.0)],
        referee=[scipy.stats.invgamma(a + 2.0, scale=b) for a, b in zip(ALPHA, BETA)],
    ),
    "beta": Case(
        Beta.from_alpha_beta(ALPHA, BETA),
        Beta.from_alpha_beta(1.4 * ALPHA, 1.2 * BETA),
        ALPHA / (ALPHA + BETA),
        UNIT_EDGES,
        proper=[(-1.0 + 1e-12, -1.0 + 1e-12), (0.0, 0.0)],
        improper=[(-1.0, 0.0), (0.0, -1.0)],
        referee=[scipy.stats.beta(a, b) for a, b in zip(ALPHA, BETA)],
    ),
    "point_mass": Case(PointMass.at(MEAN), PointMass.at(MEAN), MEAN, np.stack([MEAN, MEAN + 1e-9])),
    "normal_through_affine": Case(
        Transformed(NORMAL, Affine(3.0, -2.0)),
        Transformed(OTHER, Affine(3.0, -2.0)),
        3.0 - 2.0 * MEAN,
        LINE,
        **NORMAL_EDGE,
        referee=[scipy.stats.norm(3.0 - 2.0 * m, 2.0 * s) for m, s in zip(MEAN, SD)],
    ),
    "normal_through_exp": Case(
        Transformed(SMALL, Exp()),
        Transformed(SMALL_OTHER, Exp()),
        np.exp(SMALL.mean),
        POSITIVE_EDGES,
        **NORMAL_EDGE,
        referee=[scipy.stats.lognorm(s, scale=np.exp(m)) for m, s in zip(SMALL.mean, SD)],
    ),
    "normal_through_softplus": Case(
        Transformed(SMALL, Softplus(2.5)),
        Transformed(SMALL_OTHER, Softplus(2.5)),
        np.array([0.8, 2.0, 5.0]),
        POSITIVE_EDGES,
        **NORMAL_EDGE,
    ),
    "normal_through_logistic": Case(
        Transformed(SMALL, Logistic(-1.0, 4.0)),
        Transformed(SMALL_OTHER, Logistic(-1.0, 4.0)),
        np.array([0.3, 1.8, 3.4]),
        5.0 * UNIT_EDGES - 1.0,
        **NORMAL_EDGE,
        referee=[scipy.stats.johnsonsb(-m / s, 1.0 / s, -1.0, 5.0) for m, s in zip(SMALL.mean, SD)],
    ),
    "normal_through_normal_cdf": Case(
        Transformed(Normal.from_mean_variance(np.zeros(3), np.ones(3)), NormalCdf(-1.0, 4.0)),
        Transformed(SMALL_OTHER, NormalCdf(-1.0, 4.0)),
        np.array([0.3, 1.8, 3.4]),
        5.0 * UNIT_EDGES - 1.0,
        **NORMAL_EDGE,
        referee=[scipy.stats.uniform(-1.0, 5.0)] * 3,
    ),
    "gamma_through_affine": Case(
        Transformed(GAMMA, Affine(1.0, np.array([2.0, 0.5, 3.0]))),
        Transformed(GAMMA_OTHER, Affine(1.0, np.array([2.0, 0.5, 3.0]))),
        1.0 + np.array([2.0, 0.5, 3.0]) * ALPHA / BETA,
        1.0 + POSITIVE_EDGES,
        referee=[scipy.stats.gamma(a, 1.0, c / b) for a, b, c in zip(ALPHA, BETA, (2.0, 0.5, 3.0))],
    ),
    "vector_through_softplus": Case(
        Transformed(VECTOR, Softplus(np.array([1.0, 3.0]))),
        Transformed(VECTOR_OTHER, Softplus(np.array([1.0, 3.0]))),
        np.array([[0.5, 2.0], [1.3, 0.4], [1.0, 4.0]]),
        POSITIVE_EDGES[..., None] * np.ones(2),
        **VECTOR_EDGE,
    ),
}
