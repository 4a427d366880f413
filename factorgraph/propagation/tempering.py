"""Posterior of the shared variables by tempering, where importance sampling around EP's Gaussian does not reach.

Particles go from a distribution as wide as the priors to the target along the path start^(1 - t) target^t (Del Moral,
Doucet & Jasra 2006, JRSSB 68:411), with temperatures chosen by the effective sample size and differential-evolution
moves (ter Braak 2006, Stat. Comput. 16:239): a particle moves by the difference of two others, which follows ridges
of any direction and width. Two independent runs say how far the answer can be trusted. Every move is an
evaluation of all log factors at every particle, so this is for graphs where that is cheap, and
where log f is accurate everywhere, not only near the posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm, t

from searches.pareto import pareto_k
from searches.quasi import uniform_points

NUM_PARTICLES = 2048
_DEGREES_OF_FREEDOM = 3.0  # of the start, where a coordinate has no normal prior
_ESS_FRACTION = 0.5
_MAX_STAGES, _MAX_MOVES, _MOST_MOVES = 60, 100, 1200  # of a run, of a stage, of a run
_DECORRELATED = 0.1
_ACCEPTANCE = 0.25
_JUMP_FRACTION = 0.1  # of the moves, by the whole difference: from mode to mode
_PART_FRACTION = 0.5  # of the moves, in some of the coordinates only
_SMALL_FRACTION = 0.5  # of the moves, by up to a hundredth of the difference
_JITTER = 1e-5
_MOST_CORRELATED = 0.99
_STRIDE = 7919  # between the seeds of the two runs
_FEW = 4  # dimensions that so many particles fill, moved or not
_TOLERATED_CORRELATION = 0.6  # of a particle with itself before the moves of a stage; beyond, it has not moved
_AGREED_MEAN, _AGREED_EVIDENCE = 0.2, 0.3  # posterior sds, nats: beyond, two runs have found different posteriors

LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False, slots=True)
class Wide:
    """A distribution (D,) at least as wide as the posterior, coordinate by coordinate: N(0, 1) where ``whitened``,
    otherwise a Student t about ``location`` of size ``scale``."""

    whitened: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    def draws(self, num: int, seed: int) -> np.ndarray:
        """(num, D)."""
        uniform = uniform_points(num, len(self.scale), seed)
        wide = self.location + self.scale * t.ppf(uniform, _DEGREES_OF_FREEDOM)
        return np.where(self.whitened, norm.ppf(uniform), wide)

    def log_density(self, phi: np.ndarray) -> np.ndarray:
        """(n,) at ``phi`` (n, D)."""
        wide = t.logpdf((phi - self.location) / self.scale, _DEGREES_OF_FREEDOM) - np.log(self.scale)
        return np.sum(np.where(self.whitened, norm.logpdf(phi), wide), axis=1)


@dataclass(frozen=True, eq=False, slots=True)
class Tempered:
    """Equal-weight draws ``phi`` (M, D) of two runs; their log evidence and its standard error, nats; how many of the
    draws are independent; and the largest k-hat of the weights of a stage, infinite where a run did not end or hardly
    moved, or where the two disagree."""

    phi: np.ndarray
    log_evidence: float
    log_evidence_error: float
    effective_sample_size: float
    k_hat: float


@dataclass(frozen=True, eq=False, slots=True)
class _Run:
    phi: np.ndarray
    log_evidence: float
    variance: float
    correlation: float
    k_hat: float


def temper(log_target: LogDensity, wide: Wide, *, seed: int) -> Tempered:
    """Sample exp(log_target) from ``wide``, twice.

    Parameters
    ----------
    log_target
        (n, D) -> (n,), nats, unnormalised; nan and +inf count as -inf.
    """
    runs = [_one_run(log_target, wide, seed=seed)]
    runs.append(_one_run(log_target, wide, seed=seed + _STRIDE) if np.isfinite(runs[0].variance) else runs[0])
    phi = np.concatenate([run.phi for run in runs])
    log_evidence = np.array([run.log_evidence for run in runs])
    estimated = np.sqrt(np.mean([run.variance for run in runs]) / 2.0)
    seen = 0.5 * np.abs(log_evidence[0] - log_evidence[1])
    sd = np.maximum(phi.std(axis=0), 1e-300)
    shift = np.max(np.abs(runs[0].phi.mean(axis=0) - runs[1].phi.mean(axis=0)) / sd)
    correlation = max(run.correlation for run in runs)
    moved = phi.shape[1] <= _FEW or correlation < _TOLERATED_CORRELATION
    agreed = shift < _AGREED_MEAN and 2.0 * seen < _AGREED_EVIDENCE + 4.0 * estimated
    return Tempered(
        phi,
        float(logsumexp(log_evidence) - np.log(2.0)),
        float(np.hypot(estimated, seen)),
        float(len(phi) * (1.0 - correlation) / (1.0 + correlation)),
        float(max(run.k_hat for run in runs)) if moved and agreed and np.isfinite(estimated) else np.inf,
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Particles:
    """``phi`` (n, D), and the log densities (n,) of the two ends of the path there."""

    phi: np.ndarray
    log_start: np.ndarray
    log_target: np.ndarray

    def at(self, temperature: float) -> np.ndarray:
        return (1.0 - temperature) * self.log_start + temperature * self.log_target

    def taken(self, rows: np.ndarray) -> _Particles:
        return _Particles(self.phi[rows], self.log_start[rows], self.log_target[rows])

    def replaced(self, rows: np.ndarray, by: _Particles) -> _Particles:
        parts = (self.phi.copy(), self.log_start.copy(), self.log_target.copy())
        for part, new in zip(parts, (by.phi, by.log_start, by.log_target), strict=True):
            part[rows] = new
        return _Particles(*parts)


def _one_run(log_target: LogDensity, wide: Wide, *, seed: int) -> _Run:
    def evaluated(phi: np.ndarray) -> _Particles:
        values = log_target(phi)
        bad = np.isnan(values) | (values == np.inf)
        return _Particles(phi, wide.log_density(phi), np.where(bad, -np.inf, values))

    rng = np.random.default_rng([seed, 11])
    particles = evaluated(wide.draws(NUM_PARTICLES, seed))
    temperature, log_evidence, variance, correlation, worst = 0.0, 0.0, 0.0, 0.0, -np.inf
    size, num_moves = 1.0, 0
    for _ in range(_MAX_STAGES):
        gain = particles.log_target - particles.log_start
        if not np.any(np.isfinite(gain)) or num_moves >= _MOST_MOVES:
            break
        step = _temperature_step(gain, 1.0 - temperature)
        log_weight = step * np.where(np.isfinite(gain), gain, -np.inf)
        weights = np.exp(log_weight - logsumexp(log_weight))
        log_evidence += float(logsumexp(log_weight) - np.log(NUM_PARTICLES))
        lost = float(np.sum(weights**2)) - 1.0 / NUM_PARTICLES
        variance += max(lost, 0.0) * (1.0 + correlation) / (1.0 - correlation)
        worst = max(worst, float(pareto_k(log_weight)))
        temperature = min(temperature + step, 1.0)
        particles = before = particles.taken(_resampled(weights, rng))
        for move in range(_MAX_MOVES):
            jump = rng.random() < _JUMP_FRACTION
            particles, accepted = _moved(particles, temperature, None if jump else size, evaluated, rng)
            if not jump:
                size *= float(np.exp(0.5 * (accepted - _ACCEPTANCE)))
            num_moves += 1
            correlation = float(np.clip(_correlation(before.phi, particles.phi), 0.0, _MOST_CORRELATED))
            if correlation < _DECORRELATED and move >= 2:
                break
        if temperature >= 1.0:
            return _Run(particles.phi, log_evidence, variance, correlation, worst)
    return _Run(particles.phi, log_evidence, np.inf, _MOST_CORRELATED, np.inf)


def _moved(
    particles: _Particles,
    temperature: float,
    size: float | None,
    evaluated: Callable[[np.ndarray], _Particles],
    rng: np.random.Generator,
) -> tuple[_Particles, float]:
    """The particles after one Metropolis step each, and the fraction that moved; each half moves by differences within
    the other one."""
    order, accepted = rng.permutation(len(particles.phi)), 0.0
    for half in (0, 1):
        rows, others = order[half::2], order[1 - half :: 2]
        proposed = evaluated(particles.phi[rows] + _differences(particles.phi[others], len(rows), size, rng))
        gain = proposed.at(temperature) - particles.taken(rows).at(temperature)
        kept = np.log(rng.random(len(rows))) < gain
        particles = particles.replaced(rows[kept], proposed.taken(np.flatnonzero(kept)))
        accepted += 0.5 * float(np.mean(kept))
    return particles, accepted


def _temperature_step(gain: np.ndarray, largest: float) -> float:
    """The step, at most ``largest``, that leaves a fraction of the particles of finite gain effective."""
    finite = gain[np.isfinite(gain)]
    goal = _ESS_FRACTION * len(finite)

    def enough(step: float) -> bool:
        log_weight = step * finite
        return bool(2.0 * logsumexp(log_weight) - logsumexp(2.0 * log_weight) >= np.log(goal))

    if enough(largest):
        return largest
    low, high = 0.0, largest
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return max(low, 1e-12 * largest)


def _resampled(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Systematic resampling of particles in random order: (n,) indices."""
    order, num = rng.permutation(len(weights)), len(weights)
    cumulative = np.cumsum(weights[order])
    positions = (np.arange(num) + rng.random()) / num * cumulative[-1]
    return order[np.minimum(np.searchsorted(cumulative, positions, side="right"), num - 1)]


def _differences(others: np.ndarray, num: int, size: float | None, rng: np.random.Generator) -> np.ndarray:
    """(num, D) differences of pairs of ``others``, ``size`` of what suits a normal distribution, or whole where None;
    in half of the rows some coordinates stay."""
    dimension = others.shape[1]
    first = rng.integers(len(others), size=num)
    second = (first + 1 + rng.integers(len(others) - 1, size=num)) % len(others)
    moving = rng.random((num, dimension)) < rng.random((num, 1))
    moving[np.arange(num), rng.integers(dimension, size=num)] = True
    moving |= (rng.random(num) > _PART_FRACTION)[:, None]
    scale = 1.0 if size is None else size * 2.38 / np.sqrt(2.0 * np.sum(moving, axis=1, keepdims=True))
    if size is not None:  # narrow places want small steps, of a size that differences across the whole do not have
        scale = scale * np.where(rng.random((num, 1)) < _SMALL_FRACTION, 10.0 ** -(2.0 * rng.random((num, 1))), 1.0)
    jitter = _JITTER * others.std(axis=0) * rng.standard_normal((num, dimension))
    return np.where(moving, scale * (others[first] - others[second]) + jitter, 0.0)


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    """The largest correlation of a coordinate with itself before the moves, by ranks, which tails do not dominate."""
    ranks = [np.argsort(np.argsort(part, axis=0), axis=0) - 0.5 * (len(part) - 1) for part in (before, after)]
    return float(np.max(np.sum(ranks[0] * ranks[1], axis=0) / np.sum(ranks[0] ** 2, axis=0)))
