"""Who takes part, and one method at one size as a row: every cost beside its error against the exact answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LIKELIHOOD = 0.43  # gradient equivalents: 0.18 of 0.42 microseconds a dataset, float64, one thread
ENOUGH = 1_000  # effective draws


@dataclass(frozen=True, kw_only=True)
class Method:
    """``module`` of this folder; ``sizes`` that it can finish, every size where there are none; ``limit`` in CPU
    seconds; ``is_foreign``: run by an interpreter of its own."""

    title: str
    module: str
    sizes: tuple[int, ...] = ()
    limit: float = 3600.0
    is_foreign: bool = False

    def suits(self, n: int) -> bool:
        return not self.sizes or n in self.sizes


METHODS = {
    "ep": Method(title="factorgraph EP", module="stages"),
    "numpyro": Method(title="NumPyro NUTS", module="numpyro_nuts", sizes=(10, 100, 1_000)),
    "blackjax": Method(title="BlackJAX NUTS", module="blackjax_nuts", sizes=(100, 1_000)),
    "dynesty": Method(title="dynesty, all unknowns", module="dynesty_direct", sizes=(3, 10), limit=200.0),
    "autofit": Method(title="PyAutoFit EP", module="autofit_ep", sizes=(3, 10), limit=600.0, is_foreign=True),
}


def row(found: dict[str, Any], exact: dict[str, Any]) -> dict[str, Any]:
    """What one process printed, in the form that all methods share.

    ``seconds`` are without compilation. Of a chain they are those of 1,000 effective draws of both hyper-parameters:
    its warm-up once, its sampling times 1,000 / the smaller effective number. ``raw_seconds`` are what was run.
    """
    costs = _of_ep(found) if isinstance(found.get("steady"), dict) else _of_peer(found)
    shift = {k: (found["mean"][k] - exact["mean"][k]) / exact["scale"][k] for k in exact["mean"]}
    spread = {k: found["scale"][k] / exact["scale"][k] for k in exact["scale"]}
    log_evidence = found.get("log_evidence")
    return costs | {
        "peak_memory": found["peak_memory"],
        "shift": shift,
        "spread": spread,
        "log_evidence_error": None if log_evidence is None else log_evidence - exact["log_evidence"],
        "effective": found.get("effective"),
    }


def _of_ep(found: dict[str, Any]) -> dict[str, Any]:
    steady = found["steady"]
    seconds = steady["build"] + steady["solve"]
    return {
        "seconds": seconds,
        "raw_seconds": seconds,
        "compile_seconds": found["compile"],
        "likelihoods": found["first"]["evaluations"],
        "gradient_equivalents": LIKELIHOOD * found["first"]["evaluations"],
    }


def _of_peer(found: dict[str, Any]) -> dict[str, Any]:
    if "effective" not in found:
        return {
            "seconds": found["seconds"],
            "raw_seconds": found["seconds"],
            "compile_seconds": 0.0,
            "likelihoods": found["evaluations"],
            "gradient_equivalents": LIKELIHOOD * found["evaluations"],
        }
    longer = ENOUGH / min(found["effective"].values())
    seconds, gradients = found["seconds"], found["gradients"]
    return {
        "seconds": seconds["warmup"] + longer * seconds["sampling"],
        "raw_seconds": seconds["warmup"] + seconds["sampling"],
        "compile_seconds": found["compile"],
        "likelihoods": None,
        "gradient_equivalents": gradients["warmup"] + longer * gradients["sampling"],
    }
