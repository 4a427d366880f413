"""The No-U-Turn sampler (Hoffman & Gelman 2014) of BlackJAX, several chains side by side in one compiled call.

Every chain starts from the best of its own draws of the prior, so that chains which end in different places show in
R-hat; where the prior is improper, from a draw about the mode. There is no evidence; `SMC` and nested sampling have
one.
"""

from __future__ import annotations

import importlib
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .errors import LikelihoodFailedError, MissingPackageError, SearchError, SearchWarning
from .guard import Guard
from .laplace import find_mode
from .samples import Samples
from .search import Search, check_positive, collect, require, search_settings
from .status import Status
from .target import LogDensity, Target, checked_log_density

Array = Any  # jax.Array, or numpy.ndarray once it is on the host

_STARTS = 32  # draws of the prior, of which a chain starts from the best
_WIDER = 2.0  # than the curvature at the mode: starts where the prior is improper
_LARGEST_DENSE = 100  # parameters
_TOLERATED_R_HAT = 1.01
_FEWEST_EFFECTIVE = 100  # draws a chain


@search_settings
class NUTS(Search):
    """Hamiltonian chains that choose their own length; for one mode and up to thousands of parameters.

    Parameters
    ----------
    num_chains : run side by side, two at least.
    num_warmup : draws a chain in which step size and mass matrix are found; not returned.
    num_draws : of each chain, equally weighted.
    target_acceptance : a larger one takes smaller steps: fewer divergent draws in funnels and at sharp bends.
    max_num_doublings : a trajectory has at most two to this power steps.
    dense : whether the mass matrix has correlations; unset: up to 100 parameters.

    Notes
    -----
    ``diagnostics`` has ``r_hat`` and ``ess``, (P,), rank-normalised and of split chains (Vehtari et al. 2021), the
    number of divergent draws, the mean acceptance, and ``chain`` (n,), that of each draw. With R-hat above 1.01 or
    fewer than 100 effective draws a chain the status is `max_steps_reached`.

    An improper prior has no draws: then the mode is looked for from the origin, and the chains start about it, twice as
    wide as the curvature there says. Other modes are not found.
    """

    num_chains: int = 4
    num_warmup: int = 500
    num_draws: int = 1000
    target_acceptance: float = 0.8
    max_num_doublings: int = 10
    dense: bool | None = None

    def __post_init__(self) -> None:
        check_positive("NUTS", num_chains=self.num_chains - 1, num_warmup=self.num_warmup, num_draws=self.num_draws - 3)
        check_positive("NUTS", target_acceptance=self.target_acceptance, max_num_doublings=self.max_num_doublings)

    def run(self, target: Target, *, seed: int) -> Samples:
        require(target, "NUTS", jax=True)
        blackjax()
        guard = target.guard()
        start = _starts(target, guard, self.num_chains, seed)
        with jax.enable_x64(True):
            chains = jax.device_get(
                _chains(
                    target.log_likelihood,
                    target.log_prior,
                    target.data,
                    jax.random.key(seed),
                    start,
                    self.target_acceptance,
                    num_warmup=self.num_warmup,
                    num_draws=self.num_draws,
                    max_num_doublings=self.max_num_doublings,
                    dense=target.num_parameters <= _LARGEST_DENSE if self.dense is None else self.dense,
                )
            )
        x = chains.x.reshape(-1, target.num_parameters)
        log_likelihood = target.log_likelihoods(x, guard)
        guard.finish()
        enough = np.max(chains.r_hat) <= _TOLERATED_R_HAT
        enough = enough and np.min(chains.ess) >= _FEWEST_EFFECTIVE * self.num_chains
        num_divergent = int(np.sum(chains.divergent))
        if num_divergent:
            warnings.warn(
                f"NUTS: {num_divergent} of {len(x)} draws were divergent: some place of the posterior is too sharp for "
                f"the steps taken. Raise target_acceptance (it is {self.target_acceptance:g}), or reparametrise.",
                SearchWarning,
                stacklevel=2,
            )
        return collect(
            target,
            x=x,
            log_likelihood=log_likelihood,
            log_weight=np.full(len(x), -np.log(len(x))),
            num_calls=guard.num_calls + int(np.sum(chains.num_steps)),
            guard=guard,
            diagnostics={
                "status": Status.ok if enough else Status.max_steps_reached,
                "r_hat": chains.r_hat,
                "ess": chains.ess,
                "num_divergent": num_divergent,
                "acceptance": float(np.mean(chains.acceptance)),
                "chain": np.repeat(np.arange(self.num_chains), self.num_draws),
            },
        )


class _Chains(NamedTuple):
    """``x`` (C, n, P), ``divergent`` and ``acceptance`` (C, n), ``num_steps`` (C,) with the warm-up; ``r_hat``, ``ess``
    (P,)."""

    x: Array
    divergent: Array
    acceptance: Array
    num_steps: Array
    r_hat: Array
    ess: Array


def blackjax() -> Any:
    """The package, which is an extra."""
    try:
        return importlib.import_module("blackjax")
    except ImportError:
        raise MissingPackageError("NUTS needs BlackJAX: pip install 'factorgraph-ep[nuts]'.") from None


def _starts(target: Target, guard: Guard, num_chains: int, seed: int) -> np.ndarray:
    """(C, P), for every chain the best of its draws of the prior, or its first possible one about the mode."""
    x = np.random.default_rng([seed, 1]).standard_normal((num_chains * _STARTS, target.num_parameters))
    if not target.proper_prior:
        x = _about_the_mode(target, guard, x)
    values = target.log_likelihoods(x, guard).reshape(num_chains, _STARTS)
    best = np.argmax(values if target.proper_prior else np.isfinite(values), axis=1)
    if not np.all(np.isfinite(values[np.arange(num_chains), best])):
        raise LikelihoodFailedError(
            f"The log likelihood is not finite at any of {_STARTS} points drawn "
            f"{'from the prior' if target.proper_prior else 'about the mode'}: narrow the priors, or mend the "
            f"likelihood. {guard.report() if guard.num_bad else ''}"
        )
    return x.reshape(num_chains, _STARTS, -1)[np.arange(num_chains), best]


def _about_the_mode(target: Target, guard: Guard, z: np.ndarray) -> np.ndarray:
    """(n, P) points of the normal distribution at the mode, wider than the curvature there, from standardised ones."""
    mode = find_mode(target, guard=guard)
    if not np.all(np.isfinite(mode.covariance)):
        raise SearchError(
            f"NUTS found a log density without curvature at {mode.x}: give every variable a proper prior."
        )
    variances, axes = np.linalg.eigh(mode.covariance)
    return mode.x + _WIDER * (z * np.sqrt(np.maximum(variances, 0.0))) @ axes.T


@partial(
    jax.jit,
    static_argnames=("log_likelihood", "log_prior", "num_warmup", "num_draws", "max_num_doublings", "dense"),
)
def _chains(
    log_likelihood: LogDensity,
    log_prior: LogDensity,
    data: Any,
    key: Array,
    start: Array,
    target_acceptance: Array,
    *,
    num_warmup: int,
    num_draws: int,
    max_num_doublings: int,
    dense: bool,
) -> _Chains:
    package = blackjax()

    def log_density(x: Array) -> Array:
        value = checked_log_density(log_likelihood, x, data)
        value = jnp.where(jnp.isnan(value) | (value == jnp.inf), -jnp.inf, value)
        return value + checked_log_density(log_prior, x, data)

    def chain(key: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        warm, further = jax.random.split(key)
        adaptation = package.window_adaptation(
            package.nuts,
            log_density,
            is_mass_matrix_diagonal=not dense,
            target_acceptance_rate=target_acceptance,
            adaptation_info_fn=lambda state, info, adapted: info.num_integration_steps,
            max_num_doublings=max_num_doublings,
        )
        (state, parameters), steps = adaptation.run(warm, x, num_warmup)
        kernel = package.nuts(log_density, **parameters).step

        def draw(state: Any, key: Array) -> tuple[Any, tuple[Array, Array, Array, Array]]:
            state, info = kernel(key, state)
            return state, (state.position, info.is_divergent, info.acceptance_rate, info.num_integration_steps)

        _, (x, divergent, acceptance, more) = jax.lax.scan(draw, state, jax.random.split(further, num_draws))
        return x, divergent, acceptance, jnp.sum(steps) + jnp.sum(more)

    x, divergent, acceptance, num_steps = jax.vmap(chain)(jax.random.split(key, start.shape[0]), start)
    r_hat, ess = package.diagnostics.rhat(x), package.diagnostics.ess_bulk(x)
    return _Chains(x, divergent, acceptance, num_steps, jnp.atleast_1d(r_hat), jnp.atleast_1d(ess))
