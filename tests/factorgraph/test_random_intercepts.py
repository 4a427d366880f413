"""Straight lines with an offset for each group, from a few data: noise and scatter have heavy tails, or reach zero.

y_ij = a + b x_ij + u_i + s e_ij, u_i ~ N(0, t). Given s and t all else is Gaussian (Gelman et al. 2013, Bayesian Data
Analysis, chapter 15), so that a grid of the two gives the exact posterior.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg

WIDTH = 3.0  # sd of the priors of intercept and slope
MOST = 6  # data of a group
PRIORS = {
    "half-normal": (lambda: fg.HalfNormalPrior(1.0), stats.halfnorm()),
    "half-Cauchy": (lambda: fg.HalfCauchyPrior(1.0), stats.halfcauchy()),
    "uniform": (lambda: fg.UniformPrior(0.0, 3.0), stats.uniform(0.0, 3.0)),
    "log-uniform": (lambda: fg.LogUniformPrior(0.01, 10.0), stats.loguniform(0.01, 10.0)),
}


class Line:
    def __init__(self, a, b, offset, noise):
        self.a = a
        self.b = b
        self.offset = offset
        self.noise = noise


class Data(fg.Analysis):
    """Of weight zero is padding."""

    def __init__(self, x, y):
        super().__init__()
        missing = (0, MOST - len(x))
        self.x, self.y, self.weight = np.pad(x, missing), np.pad(y, missing), np.pad(np.ones(len(x)), missing)

    def log_likelihood_function(self, instance):
        residual = (self.y - instance.a - instance.b * self.x - instance.offset) / instance.noise
        return jnp.sum(self.weight * (-0.5 * residual**2 - jnp.log(instance.noise) - 0.5 * jnp.log(2.0 * jnp.pi)))


class Groups(NamedTuple):
    x: list[np.ndarray]
    y: list[np.ndarray]
    of_noise: str
    of_scatter: str


class Exact(NamedTuple):
    """Of a, b, s and t: means and standard deviations; quantiles of s and t at 5, 50 and 95 %."""

    mean: np.ndarray
    scale: np.ndarray
    quantiles: np.ndarray
    log_evidence: float


def simulated(seed: int) -> Groups:
    random = np.random.default_rng(seed)
    scatter, noise = random.choice([0.0, 0.1, 0.5, 2.0]), random.choice([0.2, 1.0])
    x = [random.normal(size=random.integers(1, MOST + 1)) for _ in range(random.choice([2, 3, 5, 8]))]
    y = [1.0 + 0.5 * v + scatter * random.normal() + noise * random.normal(size=len(v)) for v in x]
    return Groups(x, y, *map(str, random.choice(list(PRIORS), 2)))


def cells(prior: Any, low: float, high: float, num: int) -> np.ndarray:
    """Midpoints (num,) of equal cells in the logarithm, within the prior's limits."""
    lower, upper = prior.support()
    edges = np.linspace(np.log(max(low, lower)), np.log(min(high, upper)), num + 1)
    return 0.5 * (edges[1:] + edges[:-1])


def exact(groups: Groups) -> Exact:
    x, y = np.concatenate(groups.x), np.concatenate(groups.y)
    group = np.repeat(np.arange(len(groups.x)), [len(v) for v in groups.x])
    design, same = np.stack([np.ones(len(x)), x], axis=1), 1.0 * (group[:, None] == group)
    priors = [PRIORS[name][1] for name in (groups.of_noise, groups.of_scatter)]
    limits = [(1e-3, 100.0), (1e-4, 300.0)]
    for num in (40, 90):
        axes = [cells(prior, *limit, num) for prior, limit in zip(priors, limits, strict=True)]
        u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        s, t = np.exp(u).T
        covariance = s[:, None, None] ** 2 * np.eye(len(x)) + t[:, None, None] ** 2 * same
        covariance += WIDTH**2 * design @ design.T
        solved = np.linalg.solve(covariance, np.broadcast_to(np.c_[y, design], (len(u), len(x), 3)))
        log_weight = -0.5 * (solved[..., 0] @ y + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
        log_weight += sum(prior.logpdf(v) for prior, v in zip(priors, (s, t), strict=True)) + np.sum(u, axis=1)
        weight = np.exp(log_weight - log_weight.max())
        table = weight.reshape(num, num)
        kept = [np.flatnonzero(table.sum(axis=1 - k) > 1e-8 * table.sum(axis=1 - k).max()) for k in (0, 1)]
        step = [axis[1] - axis[0] for axis in axes]
        limits = [
            (np.exp(axis[k[0]] - d), np.exp(axis[k[-1]] + d)) for axis, k, d in zip(axes, kept, step, strict=True)
        ]
    log_evidence = log_weight.max() + np.log(weight.sum() * step[0] * step[1])
    weight /= weight.sum()
    gain = WIDTH**2 * np.swapaxes(solved[..., 1:], 1, 2)
    line, remaining = gain @ y, WIDTH**2 * (np.eye(2) - gain @ design)
    values = np.column_stack([line, s, t])
    mean = weight @ values
    variance = weight @ (values - mean) ** 2
    variance[:2] += weight @ np.diagonal(remaining, axis1=1, axis2=2)
    quantiles = []
    for k, axis in enumerate(axes):
        below = np.concatenate([[0.0], np.cumsum(weight.reshape(num, num).sum(axis=1 - k))])
        edges = np.append(axis - 0.5 * step[k], axis[-1] + 0.5 * step[k])
        quantiles.append(np.exp(np.interp([0.05, 0.5, 0.95], below, edges)))
    return Exact(mean, np.sqrt(variance), np.array(quantiles), float(log_evidence))


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= 2)) for seed in range(24)])
def test_few_groups(seed):
    groups = simulated(seed)
    noise, scatter = (PRIORS[name][0]() for name in (groups.of_noise, groups.of_scatter))
    a, b = fg.GaussianPrior(0.0, WIDTH), fg.GaussianPrior(0.0, WIDTH)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=scatter)
    factors = []
    for x, y in zip(groups.x, groups.y, strict=True):
        model = fg.Model(Line, a=a, b=b, noise=noise)
        parent.add_drawn_variable(model.offset)
        factors.append(fg.AnalysisFactor(model, Data(x, y)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    known, found = exact(groups), result.mean_field
    variables = (a, b, noise, scatter)
    shift = (np.array([found.mean[v] for v in variables]) - known.mean) / known.scale
    ratio = np.array([found.scale[v] for v in variables]) / known.scale
    width = (known.quantiles[:, 2] - known.quantiles[:, 0]) / 3.29  # of a normal distribution: its standard deviation
    quantiles = [found.quantile(v, [0.05, 0.5, 0.95]) for v in (noise, scatter)]
    assert result.is_corrected
    assert np.max(np.abs(shift)) < 0.06, shift
    has_fourth_moment = groups.of_scatter != "half-Cauchy" or len(groups.x) > 3  # the tail falls as t^-(2 + groups)
    assert np.max(np.abs(ratio[: 4 if has_fourth_moment else 3] - 1.0)) < 0.06, ratio
    assert np.max(np.abs((quantiles - known.quantiles) / width[:, None])) < 0.15
    assert abs(result.log_evidence - known.log_evidence) < 4.0 * result.log_evidence_error + 0.01
