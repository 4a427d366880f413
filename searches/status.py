"""Numerical outcomes as values: traced code returns a code, the host reads its message."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Outcome of a search, or of one factor's update. ``Status(code).message`` says it in words."""

    ok = 0
    max_steps_reached = 1
    search_failed = 2
    moments_nonfinite = 3
    cavity_improper = 4
    site_rejected = 5
    poor_proposal = 6
    quarantined = 7

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Status.ok: "finished",
    Status.max_steps_reached: "stopped at the largest number of steps before it converged",
    Status.search_failed: "no point of finite log density was found, or the search broke off",
    Status.moments_nonfinite: "the moments are not finite",
    Status.cavity_improper: "the posterior without this site is not a proper distribution",
    Status.site_rejected: "the update was not usable, the earlier site was kept",
    Status.poor_proposal: "the draws do not cover the target (Pareto k-hat above 0.7)",
    Status.quarantined: "left out of the fit after repeated failure",
}
