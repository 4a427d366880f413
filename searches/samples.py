"""What every search returns: weighted points, their densities, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import logsumexp, ndtr


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Weighted draws of a posterior over P parameters.

    Parameters
    ----------
    x : (n, P), the target's own (whitened) coordinates.
    parameters : (n, P), the user's coordinates; moments and quantiles are of these.
    log_likelihood, log_prior : (n,), nats, at ``x``.
    log_weight : (n,), any normalisation; `weights` sums to one.
    names : the P parameters' names.
    log_evidence, log_evidence_error : nats, nan if unknown.
    num_calls : likelihood evaluations, bad ones included.
    diagnostics : what the search has to say about itself; ``status`` is a `searches.status.Status`.
    """

    x: np.ndarray
    parameters: np.ndarray
    log_likelihood: np.ndarray
    log_prior: np.ndarray
    log_weight: np.ndarray
    names: tuple[str, ...]
    log_evidence: float = float("nan")
    log_evidence_error: float = float("nan")
    num_calls: int = 0
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.log_weight)

    @cached_property
    def weights(self) -> np.ndarray:
        """(n,), non-negative, sum 1."""
        return np.exp(self.log_weight - logsumexp(self.log_weight))

    @property
    def effective_sample_size(self) -> float:
        """Kish's 1 / sum(w^2); correlation between draws is not in it."""
        return float(1.0 / np.sum(self.weights**2))

    @cached_property
    def mean(self) -> np.ndarray:
        """(P,) posterior mean of the parameters."""
        return self.weights @ self.parameters

    @cached_property
    def covariance(self) -> np.ndarray:
        """(P, P) posterior covariance of the parameters."""
        centred = self.parameters - self.mean
        return (self.weights[:, None] * centred).T @ centred

    @property
    def standard_deviation(self) -> np.ndarray:
        """(P,) posterior standard deviation of the parameters."""
        return np.sqrt(np.diag(self.covariance))

    def quantile(self, q: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """Weighted quantiles of each parameter, ``q`` (...) -> (..., P); between the points linear in mid-weights."""
        positive = self.weights > 0
        order = np.argsort(self.parameters[positive], axis=0)
        weights = self.weights[positive][order]
        values = np.take_along_axis(self.parameters[positive], order, axis=0)
        mid = np.cumsum(weights, axis=0) - 0.5 * weights
        columns = [np.interp(q, mid[:, i], values[:, i]) for i in range(values.shape[1])]
        return np.stack(columns, axis=-1)

    def resample(self, seed: int, num_draws: int | None = None) -> Samples:
        """Equally weighted draws by systematic resampling, in random order; as many as there are points if not said."""
        rng = np.random.default_rng(seed)
        n = len(self) if num_draws is None else num_draws
        cumulative = np.cumsum(self.weights)
        index = np.searchsorted(cumulative / cumulative[-1], (np.arange(n) + rng.random()) / n, side="right")
        return self.take(rng.permutation(index), np.full(n, -np.log(n)))

    def take(self, index: np.ndarray, log_weight: np.ndarray | None = None) -> Samples:
        """The points at ``index`` (m,), with their own weights or ``log_weight`` (m,)."""
        return replace(
            self,
            x=self.x[index],
            parameters=self.parameters[index],
            log_likelihood=self.log_likelihood[index],
            log_prior=self.log_prior[index],
            log_weight=self.log_weight[index] if log_weight is None else log_weight,
        )

    # names that users know from PyAutoFit: lists, one entry a sample or a parameter.

    @property
    def parameter_lists(self) -> list[list[float]]:
        return self.parameters.tolist()

    @property
    def log_likelihood_list(self) -> list[float]:
        return self.log_likelihood.tolist()

    @property
    def log_prior_list(self) -> list[float]:
        return self.log_prior.tolist()

    @property
    def log_posterior_list(self) -> list[float]:
        return (self.log_likelihood + self.log_prior).tolist()

    @property
    def weight_list(self) -> list[float]:
        return self.weights.tolist()

    @property
    def max_log_likelihood_index(self) -> int:
        return int(np.argmax(self.log_likelihood))

    @property
    def median_pdf_vector(self) -> list[float]:
        """The median of each parameter."""
        return self.quantile(0.5).tolist()

    def vector_at_upper_sigma(self, sigma: float) -> list[float]:
        """Each parameter's quantile Phi(sigma): 3 is the 99.87th percentile."""
        return self.quantile(ndtr(sigma)).tolist()

    def vector_at_lower_sigma(self, sigma: float) -> list[float]:
        """Each parameter's quantile Phi(-sigma)."""
        return self.quantile(ndtr(-sigma)).tolist()

    def values_at_sigma(self, sigma: float) -> list[tuple[float, float]]:
        """(lower, upper) of each parameter."""
        return list(zip(self.vector_at_lower_sigma(sigma), self.vector_at_upper_sigma(sigma)))

    def errors_at_sigma(self, sigma: float) -> list[tuple[float, float]]:
        """(median - lower, upper - median) of each parameter, both positive."""
        pairs = zip(self.median_pdf_vector, self.values_at_sigma(sigma))
        return [(median - lower, upper - median) for median, (lower, upper) in pairs]
