"""One test quantity: where its truth lay among the posterior draws of each simulation, and what that says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from factorgraph.calibration.bounds import NUM_BINS, Bounds

LEVELS = (0.6827, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statistic beside its bounds, both inclusive."""

    quantity: str
    name: str
    value: float
    lower: float
    upper: float

    @property
    def passed(self) -> bool:
        return bool(self.lower <= self.value <= self.upper)

    def __str__(self) -> str:
        return f"{self.quantity}: {self.name} is {self.value:.4g}, allowed {self.lower:.4g} to {self.upper:.4g}"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Quantity:
    """A parameter, or the log likelihood, in S simulations.

    Attributes
    ----------
    name
        As in results; the parameters of one dataset have its name in front.
    truths
        (S,).
    ranks
        (S,) number of thinned posterior draws below the truth, 0 ... ``num_draws``; equal ones are drawn lots for.
    uniform
        (S,) the same in (0, 1): ``(rank + lot) / (num_draws + 1)`` with a lot in [0, 1), so that it is continuous.
    positions
        (S,) as ``uniform``, among all draws.
    pulls
        (S,) (truth - mean) / sd with the moments that the result reports; nan where one does not exist.
    num_draws
        Of thinned draws.
    """

    name: str
    truths: np.ndarray
    ranks: np.ndarray
    uniform: np.ndarray
    positions: np.ndarray
    pulls: np.ndarray
    num_draws: int

    @property
    def z(self) -> np.ndarray:
        """(S,) normal scores of `positions`: N(0, 1) if calibrated, whatever the posterior's shape."""
        return stats.norm.ppf(self.positions)

    @property
    def mean_z(self) -> float:
        """Above 0, truths are larger than the posteriors say."""
        return float(np.mean(self.z))

    @property
    def sd_z(self) -> float:
        """Above 1, posteriors are too narrow."""
        return float(np.std(self.z))

    def coverage(self, level: float) -> float:
        """Fraction of central posterior intervals of probability ``level`` that hold the truth."""
        return float(np.mean(np.abs(self.positions - 0.5) < 0.5 * level))

    @property
    def kolmogorov_smirnov(self) -> float:
        """Distance of the ranks' distribution from a uniform one."""
        return float(stats.kstest(self.uniform, "uniform").statistic)

    @property
    def chi_squared(self) -> float:
        """Of the ranks in 20 bins of equal probability."""
        counts = np.histogram(self.uniform, NUM_BINS, (0.0, 1.0))[0]
        return float(stats.chisquare(counts).statistic)

    @property
    def ecdf_counts(self) -> np.ndarray:
        """(num_draws,) number of simulations whose rank is below 1, ..., num_draws."""
        return np.cumsum(np.bincount(self.ranks, minlength=self.num_draws + 1))[:-1]

    def num_outside(self, bounds: Bounds) -> int:
        """Number of points where the ECDF of the ranks leaves its simultaneous band."""
        lower, upper = bounds.band(self.num_draws + 1)
        return int(np.sum((self.ecdf_counts < lower) | (self.ecdf_counts > upper)))

    def checks(self, bounds: Bounds) -> Iterator[Check]:
        """Every statistic of the quantity with its bounds."""

        def check(name: str, value: float, lower: float, upper: float) -> Check:
            return Check(quantity=self.name, name=name, value=value, lower=lower, upper=upper)

        for level in LEVELS:
            yield check(f"{100 * level:.4g} % interval", self.coverage(level), *bounds.coverage(level))
        yield check("mean z", self.mean_z, -bounds.mean_z, bounds.mean_z)
        yield check("sd z", self.sd_z, *bounds.sd_z())
        yield check("KS", self.kolmogorov_smirnov, 0.0, bounds.kolmogorov_smirnov)
        if bounds.has_bins:
            yield check("chi2", self.chi_squared, 0.0, bounds.chi_squared)
        yield check("ECDF band", self.num_outside(bounds), 0, 0)
        if np.all(np.isfinite(self.pulls)):
            yield check("mean pull", float(np.mean(self.pulls)), -bounds.mean_z, bounds.mean_z)
            yield check("sd pull", float(np.std(self.pulls)), *bounds.sd_z(max(3.0, _kurtosis(self.pulls))))


def _kurtosis(values: np.ndarray) -> float:
    """Of skewed posteriors it is above 3, and their standard deviation varies the more."""
    return float(stats.kurtosis(values, fisher=False)) if np.ptp(values) > 0 else 3.0


def positions_of(truth: float, draws: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
    """Rank of ``truth`` among ``draws`` (M,), 0 ... M, and its position (rank + lot) / (M + 1) in (0, 1).

    Draws that equal the truth are below it or above it by lot, so that a discrete quantity is ranked uniformly too.
    """
    ties = int(np.sum(draws == truth))
    rank = int(np.sum(draws < truth)) + int(rng.integers(0, ties + 1))
    lot = float(np.clip(rng.random(), 1e-12, 1.0 - 1e-12))
    return rank, (rank + lot) / (len(draws) + 1)
