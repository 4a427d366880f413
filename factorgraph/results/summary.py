"""The text by which a result shows itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from factorgraph.model.variable import Variable
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.solution import Solution

_MOST_ROWS = 60
_MOST_NAMES = 5


def significant(value: float, error: float = np.nan) -> str:
    """``value`` to two significant digits of itself or of ``error``, whichever are more: 0.00115 is never 0.00."""
    if not np.isfinite(value):
        return str(float(value))
    sizes = [abs(x) for x in (value, error) if np.isfinite(x) and x != 0]
    if not sizes:
        return f"{value:g}"
    known = np.isfinite(error) and error != 0
    decimals = (
        max(1 - int(np.floor(np.log10(size))) for size in sizes) if known else 5 - int(np.floor(np.log10(sizes[0])))
    )
    if decimals > 7 or max(sizes) >= 1e7:
        digits = int(np.floor(np.log10(abs(value)))) + decimals if value else 1
        return f"{value:.{min(max(digits, 1), 15)}e}"
    return f"{value:.{max(decimals, 0)}f}"


def summary_of(solution: Solution, names: Mapping[Variable, str], quarantined: Mapping[str, str]) -> str:
    """Header, table of the shared variables, and one paragraph a plate."""
    parts = [_header(solution)]
    if solution.shared:
        parts.append(_table(solution, names))
    parts += [
        _plate(contracted, solution.leave_one_out[k], names, quarantined)
        for k, contracted in enumerate(solution.plates)
        if contracted.plate.signature.analyses
    ]
    return "\n\n".join(parts)


def _header(solution: Solution) -> str:
    sweeps = len(solution.history)
    settled = "converged" if solution.converged else "NOT CONVERGED"
    lines = [
        f"expectation propagation: {settled}, {sweeps} sweep{'s' * (sweeps != 1)}, {solution.seconds:.3g} s",
        _kind(solution),
    ]
    if solution.log_evidence_note:
        lines.append(f"log evidence: nan ({solution.log_evidence_note})")
    elif solution.is_corrected:
        values = f"{solution.answer.log_evidence:.3f} corrected, {solution.ep.log_evidence:.3f} by EP"
        lines.append(f"log evidence (nats): {values}")
    else:
        lines.append(f"log evidence (nats): {solution.ep.log_evidence:.3f}")
    return "\n".join(lines)


def _kind(solution: Solution) -> str:
    if solution.is_exact:
        return "answer: exact, every factor is Gaussian in the shared variables"
    if not solution.shared:
        return "answer: nothing is shared, every dataset by itself"
    if solution.correction is None:
        return "answer: EP, not checked"
    k_hat = f"k-hat {solution.correction.k_hat:.2f}"
    if solution.is_corrected:
        return f"answer: EP corrected by importance sampling, {k_hat}"
    return f"answer: EP, UNCORRECTED: the importance check cannot be trusted, {k_hat}"


def _table(solution: Solution, names: Mapping[Variable, str]) -> str:
    header = ["", "mean", "sd", "68 % interval"] + ["EP mean", "EP sd"] * solution.is_corrected + ["inner error"]
    rows = [header, *(_row(solution, names, i) for i in range(min(len(solution.shared), _MOST_ROWS)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:]))]) for row in rows
    ]
    if len(solution.shared) > _MOST_ROWS:
        lines.append(f"... and {len(solution.shared) - _MOST_ROWS} more shared variables")
    lines.append("inner error: standard error of the mean from the integrals over private variables, in posterior sds")
    return "\n".join(lines)


def _row(solution: Solution, names: Mapping[Variable, str], index: int) -> list[str]:
    answer, ep = (
        (float(m.mean[index]), float(np.sqrt(m.covariance[index, index]))) for m in (solution.answer, solution.ep)
    )
    low, high = np.quantile(solution.draws[:, index], [0.16, 0.84])
    width = 0.5 * (high - low)
    scale = answer[1] if np.isfinite(answer[1]) else width
    cells = [names[solution.shared[index].variable], significant(answer[0], scale), significant(answer[1], answer[1])]
    cells.append(f"{significant(low, width)} .. {significant(high, width)}")
    if solution.is_corrected:
        cells += [significant(ep[0], ep[1]), significant(ep[1], ep[1])]
    return [*cells, significant(float(solution.inner_error[index]), float(solution.inner_error[index]))]


def _plate(
    contracted: ContractedPlate,
    leave_one_out: np.ndarray,
    names: Mapping[Variable, str],
    quarantined: Mapping[str, str],
) -> str:
    plate = contracted.plate
    classes = ", ".join(cls.__name__ for cls in plate.signature.analyses)
    private = ", ".join(names[variable] for variable in plate.local[0]) or "none"
    lines = [
        f"{plate.size:,} dataset{'s' * (plate.size != 1)} of {classes}",
        f"    private variables: {private}; method: {contracted.method}",
    ]
    lost = [name for name in plate.names if name in quarantined]
    if lost:
        lines.append(f"    QUARANTINED: {_listed(lost)}")
    order = np.argsort(np.where(np.isfinite(leave_one_out), leave_one_out, np.inf))[:_MOST_NAMES]
    worst = [f"{plate.names[i]} {significant(leave_one_out[i], 0.1)}" for i in order if np.isfinite(leave_one_out[i])]
    if worst:
        lines.append(f"    lowest log density of a dataset given all others: {', '.join(worst)}")
    return "\n".join(lines)


def _listed(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else ""
    return ", ".join(texts[:_MOST_NAMES]) + more
