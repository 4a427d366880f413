"""What the check of EP's answer found: importance sampling around it, or tempering from the priors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from factorgraph.model.variable import Variable
from factorgraph.propagation.solution import Corrected, Solution
from factorgraph.results.mean_field import MeanField


class CorrectedResult:
    """The corrected answer over the shared variables. It is what `Result` reports where `is_trusted`; elsewhere it is
    here to be looked at, and `Result` reports EP's."""

    def __init__(self, solution: Solution, corrected: Corrected, names: Mapping[Variable, str]) -> None:
        self._solution = solution
        self._corrected = corrected
        self._names = names

    @cached_property
    def mean_field(self) -> MeanField:
        """Moments of the shared variables; private ones are in `Result.mean_field`."""
        found = self._corrected
        variables = [shared.variable for shared in self._solution.shared]
        mean, covariance = found.moments.mean, found.moments.covariance
        return MeanField(self._names, variables, mean, covariance, found.draws, weighted=found.weighted)

    @property
    def draws(self) -> np.ndarray:
        """Equal-weight draws (M, D), in the order of `Result.variables`."""
        return self._corrected.draws

    @property
    def log_evidence(self) -> float:
        """Nats."""
        return float(self._corrected.moments.log_evidence)

    @property
    def log_evidence_error(self) -> float:
        """Standard error from the draws and from the integrals over private variables, nats."""
        return self._corrected.log_evidence_error

    @property
    def k_hat(self) -> float:
        """Pareto k-hat of the weights, or of the stages of tempering."""
        return float(self._solution.k_hat)

    @property
    def effective_sample_size(self) -> float:
        """How many independent draws the weighted ones are worth."""
        return self._corrected.effective_sample_size

    @property
    def is_trusted(self) -> bool:
        return self._solution.is_corrected

    @property
    def is_tempered(self) -> bool:
        """By particles tempered from the priors, not by importance sampling."""
        return self._solution.is_tempered

    def __repr__(self) -> str:
        how = "tempering" if self.is_tempered else "importance sampling"
        trust = f"k-hat {self.k_hat:.2f}, {'trusted' if self.is_trusted else 'NOT TRUSTED'}"
        size = f"{self.effective_sample_size:.0f} effective draws"
        return f"CorrectedResult({how}, {size}, {trust}, log_evidence={self.log_evidence:.6g})"
