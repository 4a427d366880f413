"""How far each statistic of N calibrated simulations may stray, for a given rate of false alarms.

Pure statistics: nothing here knows a graph. Under calibration the position of the truth among the posterior's draws
is uniform on (0, 1), independently from one simulation to the next, and everything below follows from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

NUM_BINS = 20
FEWEST_IN_BIN = 5  # on average; with fewer the statistic of the bins is no chi-squared


@dataclass(frozen=True, slots=True)
class Bounds:
    """What N independent simulations may show.

    Attributes
    ----------
    num_simulations
        N.
    false_alarm
        Probability that one check of a calibrated posterior fails, two-sided where the check is.
    """

    num_simulations: int
    false_alarm: float

    def coverage(self, level: float) -> tuple[float, float]:
        """Least and largest fraction of central intervals of probability ``level`` that hold the truth: binomial."""
        n, tail = self.num_simulations, 0.5 * self.false_alarm
        return float(stats.binom.ppf(tail, n, level)) / n, float(stats.binom.isf(tail, n, level)) / n

    @property
    def mean_z(self) -> float:
        """Largest absolute mean of N standard normal scores."""
        return self._two_sided / float(np.sqrt(self.num_simulations))

    def sd_z(self, kurtosis: float = 3.0) -> tuple[float, float]:
        """Least and largest standard deviation of N scores of unit variance, which for normal ones varies by
        1 / sqrt(2 N)."""
        reach = self._two_sided * float(np.sqrt((kurtosis - 1.0) / (4.0 * self.num_simulations)))
        return 1.0 - reach, 1.0 + reach

    @property
    def kolmogorov_smirnov(self) -> float:
        """Largest distance of the empirical distribution function of N uniform numbers from the diagonal."""
        return float(stats.kstwo.isf(self.false_alarm, self.num_simulations))

    @property
    def chi_squared(self) -> float:
        """Largest chi-squared of the counts in `NUM_BINS` bins of equal probability."""
        return float(stats.chi2.isf(self.false_alarm, NUM_BINS - 1))

    @property
    def has_bins(self) -> bool:
        """Whether N is large enough for the chi-squared of the bins."""
        return self.num_simulations >= FEWEST_IN_BIN * NUM_BINS

    def band(self, num_ranks: int) -> tuple[np.ndarray, np.ndarray]:
        """`simultaneous_band` of these simulations."""
        return simultaneous_band(self.num_simulations, num_ranks, self.false_alarm)

    @property
    def _two_sided(self) -> float:
        return float(stats.norm.isf(0.5 * self.false_alarm))


@lru_cache(maxsize=64)
def simultaneous_band(num_simulations: int, num_ranks: int, false_alarm: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits that the whole ECDF of uniform ranks keeps with probability of at least ``1 - false_alarm``.

    Säilynoja, Bürkner & Vehtari (2022), section 2: at every point the limits are quantiles of the binomial count, all
    of one pointwise level, which is chosen such that the whole path stays inside.

    Returns
    -------
    lower, upper : array (num_ranks - 1,)
        Least and largest number of simulations whose rank is below k, for k = 1 ... num_ranks - 1 of the ranks
        0 ... num_ranks - 1.
    """
    points = np.arange(1, num_ranks) / num_ranks

    def limits(level: float) -> tuple[np.ndarray, np.ndarray]:
        lower = stats.binom.ppf(0.5 * level, num_simulations, points)
        return lower, stats.binom.isf(0.5 * level, num_simulations, points)

    least, largest = np.log(false_alarm / num_ranks), np.log(false_alarm)
    for _ in range(40):  # the union bound keeps the least level on the safe side
        middle = 0.5 * (least + largest)
        safe = probability_inside(*limits(np.exp(middle)), num_simulations) >= 1.0 - false_alarm
        least, largest = (middle, largest) if safe else (least, middle)
    return limits(float(np.exp(least)))


def probability_inside(lower: np.ndarray, upper: np.ndarray, num_simulations: int) -> float:
    """Probability that the counts of ``num_simulations`` uniform ranks below 1, 2, ... keep the limits (K,); exact.

    The counts of single ranks are independent Poisson variables on condition of their sum, so the counts below 1, 2,
    ... are a random walk, followed here step by step within the limits.
    """
    steps = stats.poisson.pmf(np.arange(num_simulations + 1), num_simulations / (len(lower) + 1))
    inside = np.zeros(num_simulations + 1)
    inside[0] = 1.0
    for low, high in zip(lower.astype(int), upper.astype(int), strict=True):
        support = np.flatnonzero(inside)
        first, last = (int(support[0]), int(support[-1])) if len(support) else (0, 0)
        moved = np.convolve(inside[first : last + 1], steps[: max(high - first + 1, 1)])
        inside = np.zeros(num_simulations + 1)
        begin, end = max(low, first), min(high, first + len(moved) - 1)
        inside[begin : end + 1] = moved[begin - first : end - first + 1]
    last_step = steps[::-1]  # whatever is missing to N has the last rank
    return float(inside @ last_step / stats.poisson.pmf(num_simulations, num_simulations))
