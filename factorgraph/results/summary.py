"""The text by which a result shows itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.graph.message_families import EXPONENTIAL
from factorgraph.model.variable import Variable
from factorgraph.propagation.resampling import weighted_quantile
from factorgraph.propagation.solution import Solution
from factorgraph.results.plate_axis import PlateAxis
from searches.importance import TRUSTED_K_HAT

_MOST_ROWS = 60
_MOST_NAMES = 5
_INTERVAL = (0.16, 0.84)


def significant(value: float, error: float = np.nan) -> str:
    """``value`` to three significant digits of itself or of ``error``, whichever are more: 0.00115 is never 0.00."""
    if not np.isfinite(value):
        return str(float(value))
    sizes = [abs(x) for x in (value, error) if np.isfinite(x) and x != 0]
    if not sizes:
        return f"{value:g}"
    known = np.isfinite(error) and error != 0
    decimals = (
        max(2 - int(np.floor(np.log10(size))) for size in sizes) if known else 5 - int(np.floor(np.log10(sizes[0])))
    )
    if decimals > 7 or max(sizes) >= 1e7:
        digits = int(np.floor(np.log10(abs(value)))) + decimals if value else 1
        return f"{value:.{min(max(digits, 1), 15)}e}"
    return f"{value:.{max(decimals, 0)}f}"


def summary_of(
    solution: Solution, names: Mapping[Variable, str], axes: Sequence[PlateAxis], quarantined: Mapping[str, str]
) -> str:
    """Header, table of the shared variables, and one paragraph for each kind of dataset."""
    table = [_table(solution, names)] if solution.shared else []
    return "\n\n".join([_header(solution), *table, *(_datasets(solution, axis, quarantined) for axis in axes)])


def _header(solution: Solution) -> str:
    sweeps = len(solution.history)
    settled = "converged" if solution.converged else "NOT CONVERGED"
    compiled = f" ({solution.compile_seconds:.3g} s of it compilation)" if solution.compile_seconds >= 0.1 else ""
    lines = [
        f"expectation propagation: {settled}, {sweeps} sweep{'s' * (sweeps != 1)}, {solution.seconds:.3g} s{compiled}",
        _kind(solution),
    ]
    taken = sum(int(np.sum(one.known)) for one in solution.taken_over)
    if solution.taken_over:
        total = sum(plate.plate.size for plate in solution.plates if plate.explored)
        lines.append(f"explored earlier: {taken:,} of {total:,} datasets that have to be")
    if solution.log_evidence_note:
        lines.append(f"log evidence: nan ({solution.log_evidence_note})")
    elif solution.is_corrected:
        error = significant(solution.log_evidence_error, np.nan if solution.log_evidence_error == 0 else 0.1)
        values = f"{solution.answer.log_evidence:.3f} +- {error} corrected, {solution.ep.log_evidence:.3f} by EP"
        lines.append(f"log evidence (nats): {values}")
    else:
        lines.append(f"log evidence (nats): {solution.ep.log_evidence:.3f}")
    if solution.precision_error is not None:
        deforms, moves = solution.precision_error
        lines.append(
            f"likelihoods in single precision: off by {deforms:.1g} nats at most, log evidence by {moves:.1g} nats"
        )
    return "\n".join(lines)


def _kind(solution: Solution) -> str:
    if not solution.shared:
        return "answer: nothing is shared, every dataset by itself"
    if solution.is_exact and set(EXPONENTIAL) & set(solution.terms.families.values()):
        return "answer: exact, every factor is conjugate to the chosen families of messages"
    if solution.is_exact:
        return "answer: exact, every factor is Gaussian in the shared variables"
    if np.isnan(solution.k_hat):
        return "answer: EP, not checked"
    k_hat = f"k-hat {solution.k_hat:.2f}"
    if solution.is_corrected and solution.is_tempered:
        return f"answer: EP, corrected by tempering from the priors, {k_hat}"
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


def _interval(solution: Solution, index: int) -> Any:
    """68 % of a shared variable."""
    if solution.corrected is None or solution.corrected.weighted is None or not solution.is_corrected:
        return np.quantile(solution.draws[:, index], _INTERVAL)
    values, weights = solution.corrected.weighted
    return weighted_quantile(values[:, index], weights, _INTERVAL)


def _row(solution: Solution, names: Mapping[Variable, str], index: int) -> list[str]:
    answer, ep = (
        (float(m.mean[index]), float(np.sqrt(m.covariance[index, index]))) for m in (solution.answer, solution.ep)
    )
    low, high = _interval(solution, index)
    width = 0.5 * (high - low)
    scale = answer[1] if np.isfinite(answer[1]) else width
    cells = [names[solution.shared[index].variable], significant(answer[0], scale), significant(answer[1], answer[1])]
    cells.append(f"{significant(low, width)} .. {significant(high, width)}")
    if solution.is_corrected:
        cells += [significant(ep[0], ep[1]), significant(ep[1], ep[1])]
    return [*cells, significant(float(solution.inner_error[index]), float(solution.inner_error[index]))]


def _datasets(solution: Solution, axis: PlateAxis, quarantined: Mapping[str, str]) -> str:
    plates = [solution.plates[k] for k in axis.plates]
    classes = dict.fromkeys(cls.__name__ for p in plates for cls in p.plate.signature.analyses)
    methods = dict.fromkeys(p.method for p in plates)
    several = f" in {len(plates)} plates" if len(plates) > 1 else ""
    lines = [
        f"{axis.size:,} dataset{'s' * (axis.size != 1)} of {', '.join(classes)}{several}",
        f"    private variables: {', '.join(axis.variables) or 'none'}; method: {', '.join(methods)}",
    ]
    num_escalated = sum(int(np.sum(p.is_escalated)) for p in plates)
    if num_escalated:
        lines.append(
            f"    explored by sequential Monte Carlo, importance sampling not having reached: {num_escalated:,}"
        )
    lost = [name for name in axis.labels if name in quarantined]
    if lost:
        lines.append(f"    QUARANTINED: {_listed(lost)}")
    failures = [f"{p.plate.names[row]} ({reason})" for p in plates for row, reason in sorted(p.search_failures.items())]
    if failures:
        lines.append(f"    THE OPTIMISER FAILED, importance sampling took its place: {_listed(failures)}")
    if axis.variables:
        lines += [_private_error(solution, axis), *_poor_weights(solution, axis)]
    num_calls = axis.gather([p.num_calls for p in plates])
    if np.any(num_calls):
        most = int(np.argmax(num_calls))
        lines.append(
            f"    likelihood evaluations of a dataset: median {np.median(num_calls):,.0f}, "
            f"most {num_calls[most]:,} ({axis.labels[most]})"
        )
    density = axis.gather([solution.leave_one_out[k] for k in axis.plates])
    order = np.argsort(np.where(np.isfinite(density), density, np.inf))[:_MOST_NAMES]
    worst = [f"{axis.labels[i]} {significant(density[i], 1.0)}" for i in order if np.isfinite(density[i])]
    if worst:
        lines.append(f"    lowest log density of a dataset given all others: {', '.join(worst)}")
    return "\n".join(lines)


def _poor_weights(solution: Solution, axis: PlateAxis) -> list[str]:
    """Datasets of which few points carry the posterior, if any."""
    k_hat = axis.gather([m.k_hat for m in (solution.local[k] for k in axis.plates) if m is not None])
    rows = np.flatnonzero(k_hat > TRUSTED_K_HAT)
    if not len(rows):
        return []
    worst = [f"{axis.labels[i]} {k_hat[i]:.2f}" for i in rows[np.argsort(-k_hat[rows])]]
    return [f"    k-hat of the integral above {TRUSTED_K_HAT}: {_listed(worst)}"]


def _private_error(solution: Solution, axis: PlateAxis) -> str:
    moments = [solution.local[k] for k in axis.plates]
    relative = [np.max(m.error / np.maximum(m.standard_deviation, 1e-300), axis=1) for m in moments if m is not None]
    error = axis.gather(relative)
    worst = int(np.argmax(error))
    text = f"    standard error of the private means, in their sds: median {significant(float(np.median(error)), 0.1)}"
    return f"{text}, largest {significant(float(error[worst]), 0.1)} ({axis.labels[worst]})"


def _listed(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else ""
    return ", ".join(texts[:_MOST_NAMES]) + more
