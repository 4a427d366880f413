"""The mode of a target and the curvature there; draws from that normal, importance-weighted, as a search.

A mode is not a mean and its curvature not a covariance: the draws are weighted against the target, and k-hat says
whether they cover it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from .errors import SearchError, TargetError
from .guard import Guard
from .importance import importance_sample
from .quasi import normal_points
from .samples import Samples
from .search import Search, check_positive, collect, require, search_settings
from .target import LogDensity, Target, checked_log_density

Array = Any  # jax.Array, or numpy.ndarray once it is on the host

_FLATTEST = 1e-10  # eigenvalues of the curvature below this fraction of the largest are raised to it
_GIVE_UP = 1e10  # damping at which no smaller step is tried
_GRADIENT_STEP = 3e-3  # of the parameter's own scale
_CURVATURE_STEP = 0.1  # of the parameter's own scale: the log density falls by 0.005


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "covariance", "log_density", "converged", "num_steps"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Mode:
    """A maximum of log likelihood + log prior.

    ``x`` (..., P), ``covariance`` (..., P, P) the inverse of the negative Hessian there (of its absolute value where
    it is not positive, then ``converged`` is False), ``log_density`` (...), ``converged`` (...), ``num_steps`` (...).
    """

    x: Array
    covariance: Array
    log_density: Array
    converged: Array
    num_steps: Array

    @property
    def log_evidence(self) -> float:
        """Laplace's approximation: log density + P/2 log 2 pi + log det(covariance) / 2. On the host, of one mode."""
        log_determinant = np.linalg.slogdet(np.asarray(self.covariance))[1]
        return float(self.log_density) + 0.5 * len(self.x) * math.log(2 * math.pi) + 0.5 * float(log_determinant)


def find_mode(
    target: Target, start: np.ndarray | None = None, *, max_steps: int = 100, guard: Guard | None = None
) -> Mode:
    """The mode of ``target`` nearest uphill of ``start`` (P,), the origin if not given; NumPy arrays.

    JAX targets: Newton steps with exact derivatives (`newton_mode`). Others: BFGS and central differences whose steps
    are scaled to each parameter; ``guard`` counts their calls.
    """
    start = np.zeros(target.num_parameters) if start is None else np.asarray(start, dtype=np.float64)
    if not target.is_jax:
        return _host_mode(target, start, max_steps, target.guard() if guard is None else guard)
    with jax.enable_x64(True):
        mode = _jitted_newton(target.log_likelihood, target.log_prior, target.data, start, max_steps=max_steps)
        return jax.device_get(mode)


class _Newton(NamedTuple):
    x: Array
    value: Array
    gradient: Array
    hessian: Array
    damping: Array
    decrement: Array
    num_steps: Array


def newton_mode(
    log_likelihood: LogDensity,
    log_prior: LogDensity,
    data: Any,
    start: Array,
    *,
    max_steps: int = 100,
    tolerance: float = 1e-14,
) -> Mode:
    """Damped Newton ascent; pure, can be jitted and vmapped over ``data`` and ``start`` (P,).

    Each step divides the gradient by the absolute eigenvalues of the Hessian plus a damping, which grows when a step
    does not go uphill (or meets a value that is not finite) and vanishes when it does. Converged when half the
    squared Newton decrement, the rise still expected, is below ``tolerance`` and the Hessian is negative.
    """

    def log_density(x: Array) -> Array:
        return checked_log_density(log_likelihood, x, data) + checked_log_density(log_prior, x, data)

    def gradient_with_value(x: Array) -> tuple[Array, tuple[Array, Array]]:
        value, gradient = jax.value_and_grad(log_density)(x)
        return gradient, (value, gradient)

    def step(state: _Newton) -> _Newton:
        curvature, axes = jnp.linalg.eigh(-state.hessian)
        stiffness = jnp.abs(curvature) + state.damping * jnp.max(jnp.abs(curvature))
        slope = axes.T @ state.gradient
        trial = state.x + axes @ (slope / jnp.maximum(stiffness, _FLATTEST * jnp.max(stiffness)))
        hessian, (value, gradient) = jax.jacfwd(gradient_with_value, has_aux=True)(trial)
        usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(hessian))
        uphill = usable & (value >= state.value - 1e-14 * jnp.abs(state.value))
        x, value, gradient, hessian = jax.tree.map(
            lambda new, old: jnp.where(uphill, new, old),
            (trial, value, gradient, hessian),
            (state.x, state.value, state.gradient, state.hessian),
        )
        relaxed = jnp.where(state.damping < 1e-4, 0.0, state.damping / 10.0)
        return _Newton(
            x=x,
            value=value,
            gradient=gradient,
            hessian=hessian,
            damping=jnp.where(uphill, relaxed, jnp.maximum(10.0 * state.damping, 1e-3)),
            decrement=0.5 * gradient @ _absolute_inverse(hessian) @ gradient,
            num_steps=state.num_steps + 1,
        )

    def unfinished(state: _Newton) -> Array:
        return (state.num_steps < max_steps) & (state.damping < _GIVE_UP) & ~(state.decrement < tolerance)

    size = start.shape[-1]
    first = _Newton(  # the first step goes nowhere: it evaluates the start
        x=jnp.asarray(start),
        value=jnp.asarray(-jnp.inf),
        gradient=jnp.zeros(size),
        hessian=-jnp.eye(size),
        damping=jnp.zeros(()),
        decrement=jnp.asarray(jnp.inf),
        num_steps=jnp.zeros((), int),
    )
    last = jax.lax.while_loop(unfinished, step, first)
    flat = last.decrement < 1e-6  # gave up within rounding of the top
    return Mode(
        x=last.x,
        covariance=_absolute_inverse(last.hessian),
        log_density=last.value,
        converged=flat & jnp.all(jnp.linalg.eigvalsh(-last.hessian) > 0),
        num_steps=last.num_steps,
    )


_jitted_newton = jax.jit(newton_mode, static_argnums=(0, 1))


def _absolute_inverse(hessian: Array) -> Array:
    """Inverse of |-hessian| (P, P), its eigenvalues kept off zero."""
    curvature, axes = jnp.linalg.eigh(-hessian)
    stiffness = jnp.abs(curvature)
    return (axes / jnp.maximum(stiffness, _FLATTEST * jnp.max(stiffness))) @ axes.T


@search_settings
class Laplace(Search):
    """Mode, curvature, and importance-weighted draws from the t distribution they suggest.

    ``log_evidence`` is the importance estimate; ``diagnostics`` has ``k_hat``, ``mode``, and ``laplace_log_evidence``.

    Parameters
    ----------
    num_draws : weighted draws returned.
    num_starts : points of the prior of which the best is the start; unset: ``num_draws`` for JAX, 64 otherwise. An
        improper prior is started at ``start``.
    start : (P,), instead of points of the prior.
    max_steps : of the climb.
    df : degrees of freedom of the draws' t distribution.
    """

    num_draws: int = 1024
    num_starts: int | None = None
    start: tuple[float, ...] | None = None
    max_steps: int = 100
    df: float = 5.0

    def __post_init__(self) -> None:
        check_positive(
            "Laplace", num_draws=self.num_draws, num_starts=self.num_starts, max_steps=self.max_steps, df=self.df
        )

    def run(self, target: Target, *, seed: int) -> Samples:
        require(target, "Laplace")
        guard = target.guard()
        mode = find_mode(target, self._best_start(target, guard, seed), max_steps=self.max_steps, guard=guard)
        if not np.all(np.isfinite(mode.covariance)):
            raise SearchError(
                f"Laplace found a log density without curvature at {mode.x}: it has no normal shape there."
            )
        log_likelihood, log_prior = [], []

        def log_density(x: np.ndarray) -> np.ndarray:
            log_likelihood.append(target.log_likelihoods(x, guard))
            log_prior.append(target.log_priors(x))
            return log_likelihood[0] + log_prior[0]

        draws = importance_sample(log_density, mode.x, mode.covariance, num_draws=self.num_draws, seed=seed, df=self.df)
        guard.finish()
        return collect(
            target,
            x=draws.x,
            log_likelihood=log_likelihood[0],
            log_prior=log_prior[0],
            log_weight=draws.log_weight,
            guard=guard,
            log_evidence=draws.log_evidence if target.proper_prior else math.nan,
            log_evidence_error=draws.log_evidence_error if target.proper_prior else math.nan,
            num_calls=guard.num_calls + (int(mode.num_steps) if target.is_jax else 0),
            diagnostics={
                "status": draws.status,
                "k_hat": draws.k_hat,
                "mode": mode,
                "laplace_log_evidence": mode.log_evidence if target.proper_prior else math.nan,
            },
        )

    def _best_start(self, target: Target, guard: Guard, seed: int) -> np.ndarray:
        if self.start is not None:
            points = np.asarray(self.start, dtype=np.float64).reshape(1, target.num_parameters)
        elif target.proper_prior:
            num_starts = self.num_starts or (self.num_draws if target.is_jax else 64)
            points = normal_points(num_starts, target.num_parameters, seed)
            points[0] = 0.0
        else:
            points = np.zeros((1, target.num_parameters))
        values = target.log_densities(points, guard)
        if not np.any(np.isfinite(values)):
            raise TargetError(
                f"Laplace found no point of finite log density to start from ({len(points)} tried): give `start=`, "
                f"narrow the priors, or mend the likelihood.\n{guard.report()}"
            )
        return points[int(np.argmax(values))]


def _host_mode(target: Target, start: np.ndarray, max_steps: int, guard: Guard) -> Mode:
    """BFGS in coordinates scaled to the parameters, then one Newton step from a central-difference Hessian."""

    def log_density(x: np.ndarray) -> float:
        return guard(x) + float(target.log_priors(x[None])[0])

    x, num_steps = start, 0
    for _ in range(3):  # the scales at the start need not be those at the top
        scale = _scales(log_density, x)
        found = _climb(log_density, x, scale, max_steps)
        moved, x, num_steps = np.max(np.abs(found.x)), x + scale * found.x, num_steps + int(found.nit)
        if moved < 1.0:
            break
    scale = _scales(log_density, x)
    value, hessian = log_density(x), _hessian(log_density, x, scale)
    curvature, axes = np.linalg.eigh(-hessian)
    positive = bool(np.all(curvature > 0))
    stiffness = np.maximum(np.abs(curvature), _FLATTEST * np.max(np.abs(curvature)))
    covariance = (axes / stiffness) @ axes.T
    gradient = _gradient(log_density, x, scale)
    step = scale * (covariance @ gradient)
    risen = log_density(x + step)
    if risen >= value:
        x, value = x + step, risen
    return Mode(
        x=x,
        covariance=scale[:, None] * covariance * scale,
        log_density=np.float64(value),
        converged=np.bool_(positive and 0.5 * gradient @ covariance @ gradient < 1e-3),
        num_steps=np.int64(num_steps + 1),
    )


def _climb(log_density: Any, x: np.ndarray, scale: np.ndarray, max_steps: int) -> Any:
    def negative(z: np.ndarray) -> float:
        return min(-log_density(x + scale * z), 1e300)

    def slope(z: np.ndarray) -> np.ndarray:
        return -_gradient(log_density, x + scale * z, scale)

    return minimize(negative, np.zeros(len(x)), jac=slope, method="BFGS", options={"maxiter": max_steps, "gtol": 1e-4})


def _scales(log_density: Any, x: np.ndarray) -> np.ndarray:
    """(P,) the distance over which the log density falls by about a half in each coordinate, 1 where it does not."""
    centre, scale = log_density(x), np.ones(len(x))
    for i in range(len(x)):
        for _ in range(12):
            step = np.zeros(len(x))
            step[i] = _CURVATURE_STEP * scale[i]
            fall = centre - 0.5 * (log_density(x + step) + log_density(x - step))
            if not fall > 1e-6:
                fall = 1e-6 if np.isfinite(fall) else 1e3
            factor = math.sqrt(0.5 * _CURVATURE_STEP**2 / fall)
            scale[i] = min(scale[i] * factor, 1.0)
            if 0.5 < factor < 2.0 or (scale[i] == 1.0 and factor > 1.0):
                break
    return scale


def _gradient(log_density: Any, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Central differences in units of ``scale``, (P,); 0 where a neighbour is not finite."""
    steps = _GRADIENT_STEP * np.diag(scale)
    slopes = [(log_density(x + step) - log_density(x - step)) / (2 * _GRADIENT_STEP) for step in steps]
    return np.nan_to_num(np.array(slopes), nan=0.0, posinf=0.0, neginf=0.0)


def _hessian(log_density: Any, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Central differences in units of ``scale``, (P, P); -1 on the diagonal where a neighbour is not finite."""
    steps, h2 = _CURVATURE_STEP * np.diag(scale), _CURVATURE_STEP**2
    centre, hessian = log_density(x), np.zeros((len(x), len(x)))
    for i, a in enumerate(steps):
        hessian[i, i] = (log_density(x + a) - 2 * centre + log_density(x - a)) / h2
        for j, b in enumerate(steps[:i]):
            mixed = log_density(x + a + b) - log_density(x + a - b) - log_density(x - a + b) + log_density(x - a - b)
            hessian[i, j] = hessian[j, i] = mixed / (4 * h2)
    return np.where(np.isfinite(hessian), hessian, -np.eye(len(x)))
