"""Tempered sequential Monte Carlo: from a normal start to the posterior, with the evidence on the way.

Del Moral, Doucet & Jasra (2006, JRSSB 68:411) with temperatures chosen by the effective sample size (Jasra et al.
2011) and moves tuned from the particles (Buchholz, Chopin & Jacob 2021). `tempered_smc` is a pure function that can
be jitted, and vmapped over seeds and data (a plate of datasets); `SMC` is the search in front of it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from messages.array_namespace import cholesky

from . import splitmix
from .errors import LikelihoodFailedError, SearchWarning
from .samples import Samples
from .search import Search, check_positive, collect, require, search_settings
from .smc_moves import Points, correlations, hamiltonian_move, random_walk_move, tempered_gain
from .status import Status
from .target import LogDensity, Target, checked_log_density

Array = Any  # jax.Array, or numpy.ndarray once it is on the host

_BISECTIONS = 50
_DECORRELATED = 0.1
_RANDOM_WALK_ACCEPTANCE = 0.3
_GRADIENT_ACCEPTANCE = 0.7


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "particles",
        "log_weight",
        "log_likelihood",
        "log_evidence",
        "log_evidence_error",
        "num_stages",
        "num_moves",
        "acceptance",
        "correlation",
        "temperature",
        "num_bad",
        "status",
    ],
    meta_fields=[],
)
@dataclass(frozen=True)
class SmcRun:
    """What `tempered_smc` returns.

    ``particles`` (n, P), ``log_weight`` (n,) equal unless the stages ran out, ``log_likelihood`` (n,); scalars: the log
    evidence and its standard error, the number of stages and of moves, the acceptance of the last move and the
    correlation of the gain that the last stage left, the temperature reached, the number of likelihood values that were
    nan or +inf, and a `searches.status.Status` code.
    """

    particles: Array
    log_weight: Array
    log_likelihood: Array
    log_evidence: Array
    log_evidence_error: Array
    num_stages: Array
    num_moves: Array
    acceptance: Array
    correlation: Array
    temperature: Array
    num_bad: Array
    status: Array


class _State(NamedTuple):
    points: Points
    temperature: Array
    log_evidence: Array
    variance: Array
    log_scale: Array
    acceptance: Array
    correlation: Array
    stage: Array
    num_moves: Array
    num_bad: Array


class _Moving(NamedTuple):
    points: Points
    log_scale: Array
    acceptance: Array
    correlations: Array
    num_bad: Array
    num_moves: Array


def tempered_smc(
    seed: Array | int,
    log_likelihood: LogDensity,
    log_prior: LogDensity,
    data: Any,
    start_mean: Array,
    start_cholesky: Array,
    *,
    num_particles: int,
    num_moves: int,
    max_stages: int = 100,
    num_leapfrog: int = 0,
    ess_fraction: float = 0.5,
) -> SmcRun:
    """Sample ``exp(log_likelihood + log_prior)`` along the path start^(1-t) target^t, t from 0 to 1. Call it inside
    ``jax.enable_x64(True)``.

    Parameters
    ----------
    seed : an integer from 0 on.
    log_likelihood, log_prior : (x (P,), data) -> scalar; nan and +inf count as -inf.
    start_mean, start_cholesky : (P,), (P, P), the normal from which the particles start: the prior N(0, I), or an
        approximation of the posterior (then few stages are needed).
    num_moves : most Metropolis moves a stage; it ends when no coordinate, nor the gain, is correlated above 0.1 with
        its value before the moves.
    num_leapfrog : 0 for a random walk preconditioned by the particles; n > 0 for Hamiltonian moves of n gradient steps
        (1 is the Metropolis-adjusted Langevin algorithm).
    ess_fraction : the effective sample size that a temperature step leaves, as a fraction of the particles.

    Returns
    -------
    SmcRun ; ``status`` is `max_steps_reached` when the stages ran out (the particles then carry the remaining weight),
        and `search_failed` when no particle has a finite log target.
    """
    dimension = start_mean.shape[-1]
    log_volume = jnp.sum(jnp.log(jnp.diagonal(start_cholesky))) + 0.5 * dimension * math.log(2 * math.pi)

    def gain(z: Array) -> tuple[Array, tuple[Array, Array]]:
        x = start_mean + start_cholesky @ z
        value = checked_log_density(log_likelihood, x, data)
        bad = jnp.isnan(value) | (value == jnp.inf)
        value = jnp.where(bad, -jnp.inf, value)
        log_target = value + checked_log_density(log_prior, x, data) + log_volume + 0.5 * z @ z
        return jnp.where(jnp.isnan(log_target), -jnp.inf, log_target), (value, bad)

    def evaluate(z: Array) -> tuple[Points, Array]:
        if num_leapfrog:
            (gains, (values, bad)), gradients = jax.vmap(jax.value_and_grad(gain, has_aux=True))(z)
        else:
            (gains, (values, bad)), gradients = jax.vmap(gain)(z), jnp.zeros_like(z)
        return Points(z, values, gains, gradients), jnp.sum(bad)

    move = partial(hamiltonian_move, num_leapfrog=num_leapfrog) if num_leapfrog else random_walk_move
    goal = _GRADIENT_ACCEPTANCE if num_leapfrog else _RANDOM_WALK_ACCEPTANCE

    def stage(state: _State) -> _State:
        random = splitmix.substream(root, state.stage + 1)
        step = _temperature_step(state.points.gain, 1.0 - state.temperature, ess_fraction)
        weights, log_mean_weight = _weigh(tempered_gain(state.points.gain, step))
        index = _systematic(splitmix.substream(random, num_moves), weights)
        cholesky = _particle_cholesky(state.points.z, weights)
        temperature = state.temperature + step
        points = jax.tree.map(lambda leaf: leaf[index], state.points)

        def one_move(carry: _Moving) -> _Moving:
            now, acceptance, bad = move(
                splitmix.substream(random, carry.num_moves),
                carry.points,
                temperature,
                jnp.exp(carry.log_scale) * cholesky,
                evaluate,
            )
            return _Moving(
                points=now,
                log_scale=carry.log_scale + (acceptance - goal),
                acceptance=acceptance,
                correlations=correlations(points, now),
                num_bad=carry.num_bad + bad,
                num_moves=carry.num_moves + 1,
            )

        def correlated(carry: _Moving) -> Array:
            return (carry.num_moves < num_moves) & (jnp.max(carry.correlations) > _DECORRELATED)

        zero = jnp.zeros(())
        moved = jax.lax.while_loop(
            correlated,
            one_move,
            _Moving(points, state.log_scale, zero, jnp.ones(dimension + 1), state.num_bad, jnp.zeros((), int)),
        )
        lost = jnp.sum(weights**2) - 1.0 / num_particles
        return _State(
            points=moved.points,
            temperature=temperature,
            log_evidence=state.log_evidence + log_mean_weight,
            variance=state.variance + lost * (1.0 + state.correlation) / (1.0 - state.correlation),
            log_scale=moved.log_scale,
            acceptance=moved.acceptance,
            correlation=jnp.clip(moved.correlations[-1], 0.0, 0.99),
            stage=state.stage + 1,
            num_moves=state.num_moves + moved.num_moves,
            num_bad=moved.num_bad,
        )

    root = splitmix.stream(seed)
    points, num_bad = evaluate(splitmix.normal(splitmix.substream(root, 0), (num_particles, dimension)))
    zero = jnp.zeros(())
    state = _State(
        points=points,
        temperature=zero,
        log_evidence=zero,
        variance=zero,
        log_scale=zero + math.log((1.0 if num_leapfrog else 2.4) / math.sqrt(dimension)),
        acceptance=zero,
        correlation=zero,
        stage=jnp.zeros((), int),
        num_moves=jnp.zeros((), int),
        num_bad=num_bad,
    )

    def unfinished(state: _State) -> Array:
        return (state.temperature < 1.0) & (state.stage < max_stages) & jnp.any(jnp.isfinite(state.points.gain))

    return _finish(jax.lax.while_loop(unfinished, stage, state), start_mean, start_cholesky)


def _finish(state: _State, start_mean: Array, start_cholesky: Array) -> SmcRun:
    """Weigh the particles by what is left of the path (nothing, if the run finished)."""
    num_particles = state.points.gain.shape[0]
    weights, log_mean_weight = _weigh(tempered_gain(state.points.gain, 1.0 - state.temperature))
    found = jnp.isfinite(log_mean_weight)
    weights = jnp.where(found, weights, 1.0 / num_particles)
    finished = jnp.where(state.temperature < 1.0, int(Status.max_steps_reached), int(Status.ok))
    return SmcRun(
        particles=start_mean + state.points.z @ start_cholesky.T,
        log_weight=jnp.log(weights),
        log_likelihood=state.points.log_likelihood,
        log_evidence=state.log_evidence + log_mean_weight,
        log_evidence_error=jnp.sqrt(state.variance + jnp.sum(weights**2) - 1.0 / num_particles),
        num_stages=state.stage,
        num_moves=state.num_moves,
        acceptance=state.acceptance,
        correlation=state.correlation,
        temperature=state.temperature,
        num_bad=state.num_bad,
        status=jnp.where(found, finished, int(Status.search_failed)),
    )


def _weigh(log_weight: Array) -> tuple[Array, Array]:
    """Weights (n,) that sum to one, and the log of the mean weight."""
    top = jnp.max(log_weight)
    weights = jnp.exp(log_weight - jnp.where(jnp.isfinite(top), top, 0.0))
    total = jnp.sum(weights)
    return weights / total, top + jnp.log(total / log_weight.shape[0])


def _temperature_step(gain: Array, largest: Array, ess_fraction: float) -> Array:
    """The step, at most ``largest``, that leaves ``ess_fraction`` of the particles of finite gain effective."""
    finite = jnp.isfinite(gain)
    below = jnp.where(finite, gain - jnp.max(gain), 0.0)
    goal = ess_fraction * jnp.sum(finite)

    def enough(step: Array) -> Array:
        weights = finite * jnp.exp(step * below)
        return jnp.sum(weights) ** 2 >= goal * jnp.sum(weights**2)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        keep = enough(middle)
        return jnp.where(keep, middle, low), jnp.where(keep, high, middle)

    low, _ = jax.lax.fori_loop(0, _BISECTIONS, halve, (jnp.zeros_like(largest), 2.0 * largest))
    return jnp.minimum(jnp.maximum(low, 1e-12 * largest), largest)


def _systematic(random: Array, weights: Array) -> Array:
    """Systematic resampling: (n,) indices, each particle within one of n times its weight."""
    n = weights.shape[0]
    cumulative = jnp.cumsum(weights)
    points = (jnp.arange(n) + splitmix.uniform(random, ())) / n * cumulative[-1]
    return jnp.minimum(jnp.searchsorted(cumulative, points, side="right"), n - 1)


def _particle_cholesky(z: Array, weights: Array) -> Array:
    """Factor of the weighted particle covariance (P, P), kept positive when few particles differ."""
    centred = z - weights @ z
    covariance = (weights[:, None] * centred).T @ centred
    variance = jnp.trace(covariance) / z.shape[1]
    return cholesky(covariance + (1e-8 * variance + 1e-300) * jnp.eye(z.shape[1]))


jitted_smc = jax.jit(
    tempered_smc,
    static_argnames=("log_likelihood", "log_prior", "num_particles", "num_moves", "num_leapfrog"),
)


@search_settings
class SMC(Search):
    """Tempered sequential Monte Carlo on a JAX target; finds separate modes and gives the evidence.

    Parameters
    ----------
    num_particles : and equally weighted draws returned.
    num_moves : most moves a stage, fewer when the particles forget sooner where they were; unset: 50 + 10 P for a
        random walk, 20 with gradients.
    max_stages : temperature steps before the run stops with the status `max_steps_reached`.
    gradient : Hamiltonian moves instead of a random walk; better above about ten parameters.
    num_leapfrog : gradient steps a Hamiltonian move.
    ess_fraction : how far a temperature step may thin the particles.
    """

    num_particles: int = 1000
    num_moves: int | None = None
    max_stages: int = 100
    gradient: bool = False
    num_leapfrog: int = 5
    ess_fraction: float = 0.5

    def __post_init__(self) -> None:
        check_positive(
            "SMC", num_particles=self.num_particles - 1, num_moves=self.num_moves, max_stages=self.max_stages
        )
        check_positive("SMC", num_leapfrog=self.num_leapfrog, ess_fraction=self.ess_fraction)

    def run(self, target: Target, *, seed: int) -> Samples:
        require(target, "SMC", proper_prior=True, jax=True)
        num_leapfrog = self.num_leapfrog if self.gradient else 0
        num_moves = self.num_moves or (20 if self.gradient else 50 + 10 * target.num_parameters)
        with jax.enable_x64(True):
            run = jax.device_get(
                jitted_smc(
                    np.uint64(seed),
                    target.log_likelihood,
                    target.log_prior,
                    target.data,
                    np.zeros(target.num_parameters),
                    np.eye(target.num_parameters),
                    num_particles=self.num_particles,
                    num_moves=num_moves,
                    max_stages=self.max_stages,
                    num_leapfrog=num_leapfrog,
                    ess_fraction=self.ess_fraction,
                )
            )
        num_calls = self.num_particles * (1 + int(run.num_moves) * max(num_leapfrog, 1))
        _check(run, num_calls)
        return collect(
            target,
            x=run.particles,
            log_likelihood=run.log_likelihood,
            log_weight=run.log_weight,
            log_evidence=float(run.log_evidence),
            log_evidence_error=float(run.log_evidence_error),
            num_calls=num_calls,
            diagnostics={
                "status": Status(int(run.status)),
                "num_stages": int(run.num_stages),
                "num_moves": int(run.num_moves),
                "acceptance": float(run.acceptance),
                "correlation": float(run.correlation),
                "temperature": float(run.temperature),
                "num_bad": int(run.num_bad),
            },
        )


def _check(run: SmcRun, num_calls: int) -> None:
    """The guard's rule for likelihoods that are evaluated where it cannot look."""
    if run.status == Status.search_failed:
        raise LikelihoodFailedError(
            f"The log likelihood is not finite at any of the {len(run.log_weight)} points drawn from the prior "
            f"({int(run.num_bad)} are nan or +inf): narrow the priors, or mend the likelihood."
        )
    told = f"The log likelihood was nan or +inf at {int(run.num_bad)} of {num_calls} points"
    if run.num_bad > 0.5 * num_calls:
        raise LikelihoodFailedError(
            f"{told}, too many for the answer to mean anything: "
            "let it return -inf where a model is impossible, or narrow the priors."
        )
    if run.num_bad > 1e-3 * num_calls:
        warnings.warn(f"{told}; they were counted as impossible.", SearchWarning, stacklevel=3)
