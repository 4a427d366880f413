"""`Calibration`: what simulated truths say about a posterior, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from factorgraph.calibration.bounds import Bounds
from factorgraph.calibration.quantity import LEVELS, Check, Quantity
from factorgraph.errors import FactorGraphError, name_hint

_MOST_NAMES = 5


class UnknownQuantity(FactorGraphError, KeyError):
    """A quantity that was not tested."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """Ranks of simulated truths among posterior draws, and every check of them.

    ``calibration["parent.sigma"]`` is the `Quantity` of that name.

    Attributes
    ----------
    quantities
        The shared variables, the parameters of one dataset, and the log likelihood.
    num_simulations
        Asked for; those that `failed` are in no quantity.
    num_draws
        Posterior draws that each truth was ranked among.
    false_alarm
        Probability that one check fails although the posterior is calibrated.
    failed
        Simulation number to what went wrong. Where any is missing the others are a selection, so that nothing passes.
    unconverged
        Numbers of the simulations whose solver had not settled; their answers count like the others'.
    concerns
        Simulation number to the warnings of its solution.
    left_out
        Name of a quantity that could not be tested to the reason.
    seconds
        (num_simulations,) wall-clock time of each.
    seed
        Simulation k of a seed is the same whatever their number.
    """

    quantities: tuple[Quantity, ...]
    num_simulations: int
    num_draws: int
    false_alarm: float
    failed: Mapping[int, str]
    unconverged: tuple[int, ...]
    concerns: Mapping[int, str]
    left_out: Mapping[str, str]
    seconds: np.ndarray
    seed: int

    def __getitem__(self, name: str) -> Quantity:
        names = [quantity.name for quantity in self.quantities]
        if name not in names:
            raise UnknownQuantity(f"Calibration has no quantity {name!r}.{name_hint(name, names)}")
        return self.quantities[names.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """Of `quantities`."""
        return tuple(quantity.name for quantity in self.quantities)

    @property
    def bounds(self) -> Bounds:
        """What as many calibrated simulations may show."""
        return Bounds(self.num_simulations - len(self.failed), self.false_alarm)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Every statistic of every quantity with its bounds, and that no simulation failed."""
        num = float(len(self.failed))
        failed = Check(quantity="simulations", name="number that failed", value=num, lower=0.0, upper=0.0)
        return (failed, *(check for quantity in self.quantities for check in quantity.checks(self.bounds)))

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that are not passed: which quantity, which statistic, its value and bounds."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether every check is."""
        return not self.failures

    def judged(self, false_alarm: float) -> Calibration:
        """The same simulations at another rate of false alarms; one over the number of checks is strict for many."""
        return replace(self, false_alarm=false_alarm)

    @property
    def info(self) -> str:
        """Verdict, one row a quantity with what failed marked by a star, the bounds, and what else is to be known."""
        parts = [self._header(), self._table(), self._remarks()]
        return "\n\n".join(part for part in parts if part)

    def plot(self, path: str | Path) -> Path:
        """Write the ECDF of each quantity's ranks less the uniform one, in its simultaneous band; ``.pdf``, ``.svg`` or
        ``.png``."""
        from factorgraph.calibration.picture import draw_ecdf

        return draw_ecdf(self, path)

    def _header(self) -> str:
        num, asked = len(self.failures), len(self.checks)
        verdict = "passed" if self.passed else f"FAILED {num} of {asked} checks"
        expected = f"{self.false_alarm * asked:.2g} false alarms are expected among {asked} checks"
        return (
            f"calibration: {verdict}\n"
            f"{self.num_simulations} simulations, {self.num_draws} draws each, "
            f"{np.median(self.seconds):.2g} s a simulation (median)\n{expected}"
        )

    def _table(self) -> str:
        columns = list(dict.fromkeys(check.name for check in self.checks[1:]))
        rows = [["", *columns]]
        for quantity in self.quantities:
            found = {check.name: check for check in self.checks[1:] if check.quantity == quantity.name}
            rows.append([quantity.name, *(_cell(found[name]) if name in found else "-" for name in columns)])
        bounds = {check.name: check for check in self.checks[1:]}
        rows.append(["allowed", *(_allowed(bounds[name]) for name in columns)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))])
            for row in rows
        )

    def _remarks(self) -> str:
        lines = []
        if self.failed:
            lines.append(f"{len(self.failed)} simulation(s) FAILED: {_listed(self.failed)}")
            lines.append(f"    the first: {next(iter(self.failed.values()))}")
        if self.unconverged:
            lines.append(f"{len(self.unconverged)} simulation(s) had not converged: {_listed(self.unconverged)}")
        if self.concerns:
            lines.append(f"{len(self.concerns)} simulation(s) came with a warning: {_listed(self.concerns)}")
            lines.append(f"    the first: {next(iter(self.concerns.values()))}")
        lines += [f"left out: {name}, {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else f"failed: {'; '.join(map(str, self.failures[:3]))}"
        return f"Calibration({self.num_simulations} simulations, {verdict})"


def _cell(check: Check) -> str:
    star = "" if check.passed else "*"
    if check.name == "ECDF band":
        return f"{check.value:.0f} outside{star}" if check.value else "inside"
    if check.name in _PERCENT:
        return f"{100 * check.value:.1f}{star}"
    return f"{check.value:.3g}{star}"


def _allowed(check: Check) -> str:
    if check.name == "ECDF band":
        return ""
    if check.name in _PERCENT:
        return f"{100 * check.lower:.1f}-{100 * check.upper:.1f}"
    if check.name.startswith("mean"):
        return f"+-{check.upper:.3f}"
    if check.name.startswith("sd"):
        return f"1+-{check.upper - 1.0:.3f}" if check.name == "sd z" else "by kurtosis"
    return f"<{check.upper:.3g}"


_PERCENT = tuple(f"{100 * level:.4g} % interval" for level in LEVELS)


def _listed(numbers: Mapping[int, str] | tuple[int, ...]) -> str:
    numbers = tuple(numbers)
    return ", ".join(map(str, numbers[:_MOST_NAMES])) + ", ..." * (len(numbers) > _MOST_NAMES)
