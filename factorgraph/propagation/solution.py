"""What solving a graph found, in arrays: the bridge from propagation to results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.graph.plates import SharedVariable
from factorgraph.graph.terms import Terms
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.earlier import Earlier, TakenOver
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.precision import PrecisionError
from factorgraph.propagation.sweep import SweepInfo


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Moments:
    """Of the D shared variables in the user's coordinates: mean (D,), covariance (D, D); log evidence in nats.

    The covariance is an array or, of very many variables, something that answers ``[i, j]`` and ``[np.ix_(i, j)]``.
    """

    mean: np.ndarray
    covariance: Any
    log_evidence: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Corrected:
    """What the check found, trusted or not: moments and equal-weight draws (M, D) in the user's coordinates; error of
    the log evidence, nats; how many independent draws the weighted ones are worth; and these, (K, D) and weights (K,),
    where there are enough of them."""

    moments: Moments
    draws: np.ndarray
    log_evidence_error: float
    effective_sample_size: float
    weighted: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Solution:
    """A solved graph.

    Attributes
    ----------
    terms, shared, plates
        The contracted graph; ``plates[k].plate`` has the names, terms and local variables of plate k.
    status, history, converged
        Expectation propagation: `Status` codes (N,) of the last updates, by plate; one `SweepInfo` a sweep; whether it
        settled.
    ep, ep_draws
        Moments and draws (M, D) of EP itself, in the user's coordinates.
    corrected
        What the check of EP's answer found; None where none was done.
    answer
        The moments to report: the corrected ones where ``is_corrected``, otherwise those of EP.
    k_hat
        Of the importance check; nan where EP is exact or nothing is shared.
    is_tempered
        Whether the answer is that of particles tempered from the priors.
    is_exact
        Every factor was Gaussian, or conjugate to the families chosen, so EP is the exact answer.
    phi
        (M, D) equal-weight draws of the answer, in coordinates; ``draws`` are the same in the user's coordinates.
    log_joint
        (M,) log density of data and ``phi``, where that is known.
    local
        Per plate, the posterior of its local variables; None where a plate has none.
    leave_one_out
        Per plate (N,): log p(data of j | all other data) under EP, nats; nan for terms without data.
    inner_error
        (D,) estimated standard error of each shared variable's mean from the integrals over locals, in posterior sds.
    spread_error
        (D,) estimated relative standard error of each shared variable's standard deviation from the correction's draws;
        zero where the answer is EP's own.
    factor_errors, factor_shifts
        Per plate (N,): estimated standard error of each dataset's log factor from its integral, nats; and by how much
        that may move a shared variable's mean, the largest in posterior sds.
    log_evidence_error
        Estimated standard error of the log evidence from those integrals and from the correction's draws, nats. Where
        the answer is EP's own, it does not cover the error of EP.
    log_evidence_note
        Why ``log_evidence`` is nan, or empty.
    kept
        From what another run with datasets of this one may go on; None where there is nothing of the kind.
    taken_over
        Per plate, what was known from an earlier run; empty where this one began from nothing.
    """

    terms: Terms
    shared: tuple[SharedVariable, ...]
    plates: tuple[ContractedPlate, ...]
    status: tuple[np.ndarray, ...]
    history: tuple[SweepInfo, ...]
    converged: bool
    ep: Moments
    ep_draws: np.ndarray
    corrected: Corrected | None
    answer: Moments
    k_hat: float
    is_tempered: bool
    is_corrected: bool
    is_exact: bool
    phi: np.ndarray
    draws: np.ndarray
    log_joint: np.ndarray | None
    local: tuple[LocalPosterior | None, ...]
    leave_one_out: tuple[np.ndarray, ...]
    inner_error: np.ndarray
    spread_error: np.ndarray
    factor_errors: tuple[np.ndarray, ...]
    factor_shifts: tuple[np.ndarray, ...]
    log_evidence_error: float
    log_evidence_note: str
    seed: int
    seconds: float
    compile_seconds: float = 0.0
    precision_error: PrecisionError | None = None
    kept: Earlier | None = None
    taken_over: tuple[TakenOver, ...] = ()
