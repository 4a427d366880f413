"""Graphs of many linked variables: chains, grids, groups of groups, against filters, linear algebra and quadrature."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

import factorgraph as fg

LOG_2PI = np.log(2.0 * np.pi)


class State:
    def __init__(self, x):
        self.x = x


class Reading(fg.Analysis):
    """y ~ N(x, 1)"""

    def __init__(self, y):
        self.y = float(y)

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - instance.x) ** 2 - 0.5 * LOG_2PI


class Count(fg.Analysis):
    """y ~ Poisson(exp(1 + 0.3 x))"""

    def __init__(self, y):
        self.y = float(y)
        self.constant = float(gammaln(y + 1.0))

    def log_likelihood_function(self, instance):
        rate = 1.0 + 0.3 * instance.x
        return self.y * rate - jnp.exp(rate) - self.constant


class Step(fg.Analysis):
    """after ~ N(before, size), as ``share`` of a normalised density: a grid has more steps than pixels."""

    def __init__(self, share):
        self.share = float(share)

    def log_likelihood_function(self, instance):
        difference = (instance.after - instance.before) / instance.size
        return -0.5 * difference**2 - self.share * (jnp.log(instance.size) + 0.5 * LOG_2PI)


def chain(y, analysis, step, start_sd=3.0):
    """States of a random walk, the first with a prior N(0, start_sd), and the factors that read them."""
    states, factors = [fg.GaussianPrior(0.0, start_sd)], []
    for t, value in enumerate(y):
        if t:
            parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=states[-1], sigma=step)
            states.append(fg.GaussianPrior(0.0, 1.0))
            parent.add_drawn_variable(states[-1])
            factors.append(parent)
        factors.append(fg.AnalysisFactor(fg.Model(State, x=states[t]), analysis(value)))
    return states, factors


def walk(n, seed, step=0.7):
    rng = np.random.default_rng(seed)
    x = np.cumsum(step * rng.normal(size=n))
    return x, rng


def smoothed(y, step, start_sd=3.0):
    """Means and variances of the states given all of ``y`` with unit noise, and log Z (Rauch, Tung & Striebel 1965)."""
    mean, variance, log_evidence, filtered = 0.0, start_sd**2, 0.0, []
    for t, value in enumerate(y):
        variance = variance + (step**2 if t else 0.0)
        log_evidence += -0.5 * ((value - mean) ** 2 / (variance + 1.0) + np.log(variance + 1.0) + LOG_2PI)
        gain = variance / (variance + 1.0)
        mean, variance = mean + gain * (value - mean), variance * (1.0 - gain)
        filtered.append((mean, variance))
    found = [filtered[-1]]
    for mean, variance in filtered[-2::-1]:
        gain = variance / (variance + step**2)
        later_mean, later = found[0]
        found.insert(0, (mean + gain * (later_mean - mean), variance + gain**2 * (later - variance - step**2)))
    return np.array(found), log_evidence


def over_log_step(at, centre=np.log(0.7), sd=0.7, num=200):
    """Weights of the posterior of log step on a grid, and log Z, from ``at(step)`` = log Z given it."""
    grid = np.linspace(centre - 4.0, centre + 4.0, num)
    log_weight = np.array([at(np.exp(u)) for u in grid]) - 0.5 * ((grid - centre) / sd) ** 2
    log_weight += np.log(grid[1] - grid[0]) - np.log(sd) - 0.5 * LOG_2PI
    log_evidence = logsumexp(log_weight)
    return np.exp(grid), np.exp(log_weight - log_evidence), log_evidence


def moments(weights, values):
    mean = weights @ values
    return mean, np.sqrt(weights @ values**2 - mean**2)


def assert_moments(result, variable, expected, shift=0.02, ratio=0.02):
    mean, sd = result.mean_field.mean[variable], result.mean_field.scale[variable]
    assert abs(mean - expected[0]) < shift * expected[1]
    assert abs(np.log(sd / expected[1])) < ratio


@pytest.mark.parametrize("n", [30, 100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_chain_of_unknown_step(n):
    """One normal distribution over the states and their step is 2.5 sds off at n = 100 (0.37 where 0.66 is exact)."""
    x, rng = walk(n, seed=3)
    y = x + rng.normal(size=n)
    size = fg.LogGaussianPrior(float(np.log(0.7)), 0.7)
    states, factors = chain(y, Reading, size)
    result = fg.FactorGraphModel(*factors).optimise()
    steps, weights, log_evidence = over_log_step(lambda step: smoothed(y, step)[1])
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.02)
    assert_moments(result, size, moments(weights, steps))
    given = np.array([smoothed(y, step)[0] for step in steps])  # (steps, n, 2)
    for t in (0, n // 2, n - 1):
        mean = weights @ given[:, t, 0]
        variance = weights @ (given[:, t, 1] + (given[:, t, 0] - mean) ** 2)
        assert_moments(result, states[t], (mean, np.sqrt(variance)))


def counted(y, step, grid):
    """Means and variances of the states and log Z given Poisson counts, by forward and backward sums on a grid."""
    width = grid[1] - grid[0]
    likelihood = np.array([v * (1 + 0.3 * grid) - np.exp(1 + 0.3 * grid) - gammaln(v + 1) for v in y])
    kernel = np.exp(-0.5 * ((grid[:, None] - grid) / step) ** 2) / (step * np.sqrt(2 * np.pi)) * width
    forward, log_evidence = [], 0.0
    density = np.exp(-0.5 * (grid / 3.0) ** 2) / (3.0 * np.sqrt(2 * np.pi))
    for t in range(len(y)):
        density = (kernel @ density if t else density) * np.exp(likelihood[t])
        total = density.sum() * width
        log_evidence += np.log(total)
        density = density / total
        forward.append(density)
    backward, found = np.ones(len(grid)), []
    for t in range(len(y) - 1, -1, -1):
        weights = forward[t] * backward / np.sum(forward[t] * backward)
        mean = weights @ grid
        found.insert(0, (mean, weights @ (grid - mean) ** 2))
        backward = kernel.T @ (backward * np.exp(likelihood[t]))
        backward /= backward.max()
    return np.array(found), log_evidence


@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_chain_of_counts(known):
    """Nothing but the steps is Gaussian: draws of the field correct EP."""
    x, rng = walk(40, seed=5)
    y = rng.poisson(np.exp(1.0 + 0.3 * x))
    size = 0.7 if known else fg.LogGaussianPrior(float(np.log(0.7)), 0.7)
    states, factors = chain(y, Count, size)
    result = fg.FactorGraphModel(*factors).optimise()
    grid = np.linspace(-50.0, 25.0, 1001)
    if known:
        exact, log_evidence = counted(y, 0.7, grid)
        expected = {t: (exact[t, 0], np.sqrt(exact[t, 1])) for t in (0, 20, 38)}
    else:
        steps, weights, log_evidence = over_log_step(
            lambda step: counted(y, step, grid)[1] if step > 0.15 else -np.inf, num=60
        )
        assert_moments(result, size, moments(weights, steps), shift=0.05, ratio=0.05)
        given = np.array([counted(y, step, grid)[0] for step in steps])
        mean = np.einsum("s,st->t", weights, given[:, :, 0])
        sd = np.sqrt(np.einsum("s,st->t", weights, given[:, :, 1] + (given[:, :, 0] - mean) ** 2))
        expected = {t: (mean[t], sd[t]) for t in (0, 20, 38)}
    assert result.is_corrected
    assert result.log_evidence == pytest.approx(log_evidence, abs=max(0.03, 3.0 * result.log_evidence_error))
    for t, moment in expected.items():
        assert_moments(result, states[t], moment, shift=0.05, ratio=0.03)


def test_a_smooth_surface():
    """An intrinsic prior on a grid of 8 x 8 pixels, each with a reading; how rough it is, is unknown."""
    side, rng = 8, np.random.default_rng(2)
    truth = np.cumsum(np.cumsum(0.3 * rng.normal(size=(side, side)), axis=0), axis=1)
    y = (truth + rng.normal(size=truth.shape)).ravel()
    pixels = [fg.GaussianPrior(0.0, 10.0) for _ in y]
    size = fg.LogGaussianPrior(float(np.log(0.7)), 0.7)
    factors = [fg.AnalysisFactor(fg.Model(State, x=x), Reading(v)) for x, v in zip(pixels, y, strict=True)]
    pairs = [(i, i + 1) for i in range(side**2) if (i + 1) % side] + [(i, i + side) for i in range(side**2 - side)]
    share = (side**2 - 1) / len(pairs)
    for i, j in pairs:
        factors.append(fg.AnalysisFactor(fg.Collection(before=pixels[i], after=pixels[j], size=size), Step(share)))
    result = fg.FactorGraphModel(*factors).optimise()
    incidence = np.zeros((len(pairs), side**2))
    for row, (i, j) in enumerate(pairs):
        incidence[row, i], incidence[row, j] = -1.0, 1.0

    def given(step):
        precision = np.eye(side**2) * 1.01 + incidence.T @ incidence / step**2
        mean = np.linalg.solve(precision, y)
        log_evidence = -0.5 * (y @ y - y @ mean) - 0.5 * len(y) * LOG_2PI - 0.5 * np.linalg.slogdet(precision)[1]
        log_evidence -= side**2 * np.log(10.0) + (side**2 - 1) * (np.log(step) + 0.5 * LOG_2PI)
        return mean, np.linalg.inv(precision), log_evidence

    steps, weights, log_evidence = over_log_step(lambda step: given(step)[2])
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.02)
    assert_moments(result, size, moments(weights, steps))
    every = [given(step)[:2] for step in steps]
    mean = sum(w * m for w, (m, _) in zip(weights, every, strict=True))
    covariance = sum(w * (c + np.outer(m - mean, m - mean)) for w, (m, c) in zip(weights, every, strict=True))
    for i in (0, 27, 63):
        assert_moments(result, pixels[i], (mean[i], np.sqrt(covariance[i, i])))
    found = result.mean_field.covariance(pixels[27], pixels[28]) / np.sqrt(covariance[27, 27] * covariance[28, 28])
    assert found == pytest.approx(covariance[27, 28] / np.sqrt(covariance[27, 27] * covariance[28, 28]), abs=0.03)


def test_groups_of_groups():
    """Forty clusters of ten stars: the clusters' means are drawn from a root, the stars from their cluster."""
    num, size, rng = 40, 10, np.random.default_rng(5)
    centres = 3.0 + 1.5 * rng.normal(size=num)
    y = centres[:, None] + 0.7 * rng.normal(size=(num, size)) + rng.normal(size=(num, size))
    root = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.LogGaussianPrior(0.0, 1.0)
    )
    scatter, clusters, factors = fg.LogGaussianPrior(0.0, 1.0), [], [root]
    for row in y:
        clusters.append(fg.GaussianPrior(0.0, 1.0))
        root.add_drawn_variable(clusters[-1])
        branch = fg.HierarchicalFactor(fg.GaussianPrior, mean=clusters[-1], sigma=scatter)
        factors.append(branch)
        for value in row:
            star = fg.Model(State)
            branch.add_drawn_variable(star.x)
            factors.append(fg.AnalysisFactor(star, Reading(value)))
    result = fg.FactorGraphModel(*factors).optimise()

    log_outer, log_inner = np.linspace(np.log(0.6), np.log(3.0), 80), np.linspace(np.log(0.2), np.log(1.5), 80)
    outer, inner = (np.exp(g).ravel() for g in np.meshgrid(log_outer, log_inner))
    means, within = y.mean(axis=1), np.sum((y - y.mean(axis=1, keepdims=True)) ** 2)
    noise = inner**2 + 1.0
    spread = noise / size + outer**2
    precision = num / spread + 0.01
    mean = means.sum() / spread / precision
    log_weight = -0.5 * within / noise - 0.5 * num * (size - 1) * np.log(2 * np.pi * noise) - 0.5 * num * np.log(size)
    log_weight += -0.5 * np.sum(means**2) / spread - 0.5 * num * np.log(2 * np.pi * spread)
    log_weight += 0.5 * mean**2 * precision - 0.5 * np.log(precision) - np.log(10.0)
    log_weight += -0.5 * np.log(outer) ** 2 - 0.5 * np.log(inner) ** 2 - LOG_2PI
    log_weight += np.log(log_outer[1] - log_outer[0]) + np.log(log_inner[1] - log_inner[0])
    log_evidence = logsumexp(log_weight)
    weights = np.exp(log_weight - log_evidence)
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.03)
    assert_moments(result, root.sigma, moments(weights, outer), shift=0.03, ratio=0.03)
    assert_moments(result, scatter, moments(weights, inner), shift=0.03, ratio=0.03)
    centre = weights @ mean
    assert_moments(result, root.mean, (centre, np.sqrt(weights @ (1 / precision + (mean - centre) ** 2))), 0.03, 0.03)
    pull = outer**2 / spread  # of the first cluster towards its own data
    given = mean + pull * (means[0] - mean)
    variance = outer**2 * (1.0 - pull) + (1.0 - pull) ** 2 / precision
    centre = weights @ given
    assert_moments(result, clusters[0], (centre, np.sqrt(weights @ (variance + (given - centre) ** 2))), 0.03, 0.03)


def test_chains_that_share_their_step():
    """Three chains are three components; the order of factors changes nothing."""
    size = fg.LogGaussianPrior(float(np.log(0.7)), 0.7)
    readings, factors = [], []
    for seed in (1, 2, 3):
        x, rng = walk(12, seed)
        readings.append(x + rng.normal(size=12))
        factors += chain(readings[-1], Reading, size)[1]
    steps, weights, log_evidence = over_log_step(lambda step: sum(smoothed(y, step)[1] for y in readings))
    for order in (np.arange(len(factors)), np.random.default_rng(0).permutation(len(factors))):
        result = fg.FactorGraphModel(*(factors[i] for i in order)).optimise()
        assert result.log_evidence == pytest.approx(log_evidence, abs=0.02)
        assert_moments(result, size, moments(weights, steps))


def test_what_does_not_reach_the_states_is_said():
    x, rng = walk(30, seed=3)
    _, factors = chain(x + rng.normal(size=30), Reading, 0.7)
    graph = fg.FactorGraphModel(*factors)
    with pytest.warns(UserWarning, match=r"power and blocks act on .* the other \d+, which are linked"):
        result = graph.optimise(power=0.5, blocks="mean field")
    assert result.log_evidence == pytest.approx(graph.optimise().log_evidence, rel=1e-12)


def test_a_dataset_without_a_finite_likelihood_is_left_out():
    x, rng = walk(30, seed=3)
    y = x + rng.normal(size=30)
    y[11] = np.nan
    states, factors = chain(y, Reading, 0.7)
    with pytest.warns(UserWarning, match=r"1 dataset\(s\) were left out: dataset_11"):
        result = fg.FactorGraphModel(*factors).optimise()
    assert list(result.quarantined) == ["dataset_11"]
    kept = [f for i, f in enumerate(f for f in factors if isinstance(f, fg.AnalysisFactor)) if i != 11]
    parents = [f for f in factors if isinstance(f, fg.HierarchicalFactor)]
    without = fg.FactorGraphModel(*kept, *parents).optimise()
    assert result.log_evidence == pytest.approx(without.log_evidence, rel=1e-10)
    assert result.mean_field.mean[states[11]] == pytest.approx(without.mean_field.mean[states[11]], rel=1e-8)


def test_every_dataset_predicted_by_the_others():
    x, rng = walk(30, seed=3)
    y = x + rng.normal(size=30)
    states, factors = chain(y, Reading, 0.7)
    result = fg.FactorGraphModel(*factors).optimise()
    exact, _ = smoothed(y, 0.7)
    for t in (0, 10, 28):
        precision = 1.0 / exact[t, 1] - 1.0  # without the reading
        mean = (exact[t, 0] / exact[t, 1] - y[t]) / precision
        expected = -0.5 * (y[t] - mean) ** 2 / (1.0 + 1.0 / precision) - 0.5 * np.log(2 * np.pi * (1 + 1 / precision))
        assert result.leave_one_out[f"dataset_{t}"] == pytest.approx(expected, rel=1e-6)


def test_the_cost_of_a_dataset_does_not_grow():
    calls = []
    for n in (60, 600):
        x, rng = walk(n, seed=4)
        states, factors = chain(x + rng.normal(size=n), Reading, fg.LogGaussianPrior(float(np.log(0.7)), 0.7))
        result = fg.FactorGraphModel(*factors).optimise()
        calls.append(float(result.diagnostics["num_calls"].mean()))
        assert result.mean_field.mean[states[n // 2]] == pytest.approx(x[n // 2], abs=3.0)
    assert calls[1] < 1.5 * calls[0]
