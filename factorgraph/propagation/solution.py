"""What solving a graph found, in arrays: the bridge from propagation to results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.graph.plates import SharedVariable
from factorgraph.graph.terms import Terms
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.correction import Correction
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.state import EPState
from factorgraph.propagation.sweep import SweepInfo


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Moments:
    """Of the D shared variables in the user's coordinates: mean (D,), covariance (D, D); log evidence in nats."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Solution:
    """A solved graph.

    Attributes
    ----------
    terms, shared, plates
        The contracted graph; ``plates[k].plate`` has the names, terms and local variables of plate k.
    state, history, converged
        Expectation propagation: its last state, one `SweepInfo` a sweep, and whether it settled.
    ep
        Moments of EP itself.
    answer
        The moments to report: the corrected ones where ``is_corrected``, otherwise those of EP.
    correction
        The importance check; None where EP is exact or nothing is shared.
    is_exact
        Every factor was Gaussian, so EP is the exact answer.
    phi
        (M, D) equal-weight draws of the answer, in coordinates; ``draws`` are the same in the user's coordinates.
    local
        Per plate, the posterior of its local variables; None where a plate has none.
    leave_one_out
        Per plate (N,): log p(data of j | all other data) under EP, nats; nan for terms without data.
    inner_error
        (D,) estimated standard error of each shared variable's mean from the integrals over locals, in posterior sds.
    factor_errors, factor_shifts
        Per plate (N,): estimated standard error of each dataset's log factor from its integral, nats; and by how much
        that may move a shared variable's mean, the largest in posterior sds.
    log_evidence_error
        Estimated standard error of the log evidence from those integrals and from the correction's draws, nats. Where
        the answer is EP's own, it does not cover the error of EP.
    log_evidence_note
        Why ``log_evidence`` is nan, or empty.
    """

    terms: Terms
    shared: tuple[SharedVariable, ...]
    plates: tuple[ContractedPlate, ...]
    state: EPState
    history: tuple[SweepInfo, ...]
    converged: bool
    ep: Moments
    answer: Moments
    correction: Correction | None
    is_corrected: bool
    is_exact: bool
    phi: np.ndarray
    draws: np.ndarray
    local: tuple[LocalPosterior | None, ...]
    leave_one_out: tuple[np.ndarray, ...]
    inner_error: np.ndarray
    factor_errors: tuple[np.ndarray, ...]
    factor_shifts: tuple[np.ndarray, ...]
    log_evidence_error: float
    log_evidence_note: str
    seed: int
    seconds: float
