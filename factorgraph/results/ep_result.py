"""What expectation propagation itself found, before any correction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from factorgraph.model.variable import Variable
from factorgraph.propagation.solution import Solution
from factorgraph.propagation.sweep import SweepInfo
from factorgraph.results.mean_field import MeanField


class EPResult:
    """EP's own answer over the shared variables, and how it got there."""

    def __init__(self, solution: Solution, names: Mapping[Variable, str]) -> None:
        self._solution = solution
        self._names = names

    @cached_property
    def mean_field(self) -> MeanField:
        """Moments of the shared variables; private ones are in `Result.mean_field`."""
        found = self._solution
        variables = [shared.variable for shared in found.shared]
        return MeanField(self._names, variables, found.ep.mean, found.ep.covariance, found.ep_draws)

    @property
    def log_evidence(self) -> float:
        """Nats."""
        return float(self._solution.ep.log_evidence)

    @property
    def converged(self) -> bool:
        return self._solution.converged

    @property
    def history(self) -> list[SweepInfo]:
        """One entry a sweep."""
        return list(self._solution.history)

    @property
    def num_steps(self) -> int:
        """Number of sweeps."""
        return len(self._solution.history)

    def __repr__(self) -> str:
        settled = "converged" if self.converged else "not converged"
        return f"EPResult({settled}, {self.num_steps} sweeps, log_evidence={self.log_evidence:.6g})"
