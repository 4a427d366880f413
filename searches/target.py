"""What a search explores: a log likelihood and a log prior over a vector with names.

A target knows nothing of models, priors or graphs. Its coordinates x are whitened where the prior is proper: the prior
is N(0, I). ``log_likelihood`` is a hashable callable and the arrays it reads travel separately as ``data``, so that
jitted searches compile once for a structure and not once for a dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from .errors import LikelihoodTypeError, TargetError
from .guard import Guard, not_a_scalar_message

Array = Any
LogDensity = Callable[[Array, Any], Array]

_LARGEST_BATCH = 4096
_SMALLEST_BATCH = 8


def standard_normal_log_density(x: Array, data: Any = None) -> Array:
    """log N(x; 0, I) over the last axis of ``x`` (..., P), on the host or traced; the prior of whitened coordinates."""
    return -0.5 * (x * x).sum(-1) - 0.5 * x.shape[-1] * np.log(2.0 * np.pi)


def from_unit_cube(u: np.ndarray) -> np.ndarray:
    """Phi^-1(u), the whitened coordinates of ``u`` in the closed unit cube; finite at 0 and 1 (within +-8.21)."""
    return ndtri(np.clip(u, 2.0**-53, 1.0 - 2.0**-53))


def unchanged(x: np.ndarray) -> np.ndarray:
    """The map to the user's coordinates when they are ``x``."""
    return x


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A log likelihood and a log prior over ``names``.

    Parameters
    ----------
    names : the P parameters.
    log_likelihood : (x (P,), data) -> scalar, nats. Hashable; for JAX the same object for the same structure.
    log_prior : (x (P,), data) -> scalar, nats.
    data : pytree of arrays, handed to both.
    is_jax : whether both can be traced. If not, they are called with NumPy arrays.
    proper_prior : the prior is N(0, I) in x, so that u in the unit cube maps to x = Phi^-1(u).
    to_parameters : (n, P) -> (n, P), x to the user's coordinates, on the host.

    Raises
    ------
    TargetError : two parameters with one name, or a JAX density that is not hashable.
    """

    names: tuple[str, ...]
    log_likelihood: LogDensity
    log_prior: LogDensity = standard_normal_log_density
    data: Any = None
    is_jax: bool = True
    proper_prior: bool = True
    to_parameters: Callable[[np.ndarray], np.ndarray] = unchanged

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        twice = sorted(name for name, times in Counter(self.names).items() if times > 1)
        if twice:
            raise TargetError(f"Parameter names must differ, these occur twice: {', '.join(twice)}.")
        if self.is_jax and not all(isinstance(f, Hashable) for f in (self.log_likelihood, self.log_prior)):
            raise TargetError("A JAX target needs hashable densities: pass a function, arrays go into `data`.")

    @property
    def num_parameters(self) -> int:
        return len(self.names)

    def guard(self, **settings: Any) -> Guard:
        """A fresh `Guard` of this target's likelihood (its settings are those of `Guard`), for one run."""
        if self.is_jax:
            function = partial(_on_device, self.log_likelihood, self._device_data)
        else:
            function = partial(_on_host, self.log_likelihood, self.data)
        return Guard(function, names=self.names, to_parameters=self.to_parameters, **settings)

    def log_likelihoods(self, x: np.ndarray, guard: Guard | None = None) -> np.ndarray:
        """Log likelihoods at ``x`` (n, P), (n,); bad points are -inf (or the floor of ``guard``), and counted there.

        JAX: one jitted call for each power of two of n, whatever the data. Otherwise a loop on the host.
        """
        guard = self.guard() if guard is None else guard
        x = np.asarray(x, dtype=np.float64)
        return guard.judge(x, self._batched(self.log_likelihood, x)) if self.is_jax else guard.batch(x)

    def log_priors(self, x: np.ndarray) -> np.ndarray:
        """Log prior densities at ``x`` (n, P), (n,); nan counts as -inf."""
        x = np.asarray(x, dtype=np.float64)
        if self.log_prior is standard_normal_log_density:
            return standard_normal_log_density(x)
        if self.is_jax:
            values = self._batched(self.log_prior, x)
        else:
            values = np.array([_on_host(self.log_prior, self.data, row) for row in x])
        return np.where(np.isnan(values), -np.inf, values)

    def log_densities(self, x: np.ndarray, guard: Guard | None = None) -> np.ndarray:
        """Unnormalised log posterior densities at ``x`` (n, P), (n,)."""
        return self.log_likelihoods(x, guard) + self.log_priors(x)

    @cached_property
    def _device_data(self) -> Any:
        with jax.enable_x64(True):
            return jax.device_put(self.data)

    def _batched(self, log_density: LogDensity, x: np.ndarray) -> np.ndarray:
        blocks = [x[i : i + _LARGEST_BATCH] for i in range(0, len(x), _LARGEST_BATCH)]
        with jax.enable_x64(True):
            parts = [np.asarray(_log_densities(log_density, _padded(b), self._device_data))[: len(b)] for b in blocks]
        return np.concatenate(parts) if parts else np.zeros(0)


def checked_log_density(log_density: LogDensity, x: Array, data: Any) -> Array:
    """``log_density(x, data)`` inside a trace, refused while tracing unless it is one real number.

    Raises
    ------
    LikelihoodTypeError : an array, complex, None, ...
    """
    value = log_density(x, data)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    real = dtype is not None and (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer))
    if not (isinstance(value, float | int) or (shape == () and real)):
        raise LikelihoodTypeError(not_a_scalar_message(type(value).__name__, shape, dtype))
    return jnp.asarray(value, dtype=float)


def _on_device(log_density: LogDensity, data: Any, x: np.ndarray) -> float:
    with jax.enable_x64(True):  # at every call: a thread does not inherit it
        return _log_density(log_density, x, data).item()


def _on_host(log_density: LogDensity, data: Any, x: np.ndarray) -> Any:
    with jax.enable_x64(True):  # for a density that uses jax.numpy though it cannot be traced
        return log_density(x, data)


@partial(jax.jit, static_argnums=0)
def _log_density(log_density: LogDensity, x: Array, data: Any) -> Array:
    return checked_log_density(log_density, x, data)


@partial(jax.jit, static_argnums=0)
def _log_densities(log_density: LogDensity, x: Array, data: Any) -> Array:
    return jax.vmap(lambda row: checked_log_density(log_density, row, data))(x)


def _padded(x: np.ndarray) -> np.ndarray:
    """``x`` (n, P) with its last row repeated up to a power of two, so that few shapes are compiled."""
    size = max(_SMALLEST_BATCH, 1 << (len(x) - 1).bit_length())
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)])
