"""Solve a graph by expectation propagation: explore, start, sweep, refine, correct, report.

Each step is a function of its own; `solve` is the beginner's door, built from these alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from factorgraph.compilation import timed_compilation
from factorgraph.errors import GraphError, name_hint
from factorgraph.graph.message_families import EXPONENTIAL
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.graph.terms import Terms
from factorgraph.model.family import Flat
from factorgraph.propagation.contracted import ContractedPlate, Lane
from factorgraph.propagation.correction import Correction, correct, is_doubtful, is_gaussian, tempered
from factorgraph.propagation.earlier import Earlier, TakenOver, go_on, kept_of, known_corrections
from factorgraph.propagation.expanded import expanded
from factorgraph.propagation.factorised import blocks_of, check_blocks
from factorgraph.propagation.gaussian import Gaussian
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.integral_errors import Known, error_of_sum, inner_errors, log_factors_corrected
from factorgraph.propagation.linked import linked
from factorgraph.propagation.precision import in_single, precision_error
from factorgraph.propagation.preparation import prepare, prior_draws, spread_of
from factorgraph.propagation.product_solution import ProductSolution, solve_product
from factorgraph.propagation.report import NUM_DRAWS, are_enough, few_draws, moments_of, posterior_draws, values
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.scalar_message import check_scalars, scalar_variables
from factorgraph.propagation.schedule import SCHEDULES, TURNS, run
from factorgraph.propagation.solution import Corrected, Solution
from factorgraph.propagation.start import Start
from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.sweep import SweepInfo, initial_state, leave_one_out
from factorgraph.propagation.tempering import Wide
from searches.importance import TRUSTED_K_HAT

Draws = Callable[[int], np.ndarray]

_FEW_DATASETS = 16  # whose log factors cost nothing at many draws
_TOLERATED_INNER_ERROR = 0.04  # posterior sds
_REFINING_ROUNDS = 8
_TOLERATED_LOCAL_ERROR = 0.1  # of a private mean, in its own standard deviation
_LOCAL_ROUNDS = 4
_MAX_REFINEMENTS = 2
_WIDER = 4.0  # than EP's posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How `solve` works.

    Attributes
    ----------
    max_steps, min_steps
        Of sweeps; ``min_steps`` goes on after convergence.
    tolerance
        A run has settled when no mean moves by this many standard deviations, and no log standard deviation by as much.
    damping
        Fraction of a step to take, in (0, 1]; lowered by itself where the sweeps do not settle.
    power
        Fraction of a factor that a site exchanges, in (0, 1]: one is expectation propagation; with less (power EP,
        Minka 2004) sites of negative precision are rarer and the answer leans towards the variational one. What is
        corrected does not depend on it.
    correct
        Whether to check and correct the posterior by importance sampling.
    schedule
        Which sites are updated when: all at once (``"parallel"``), one after the other (``"serial"``), those farthest
        from settled (``"residual"``), at random (``"stochastic"``), or by Newton steps on a convex bound (``"double
        loop"``), on which all others fall back where they do not settle. All have the same fixed points.
    blocks
        Between which shared variables EP keeps correlations: all of them (None); none (``"mean field"``); or those
        within groups of variables, ``[(a, b), (c, d)]``, any other being by itself. Those with gamma, inverse gamma or
        beta messages always are. What is corrected does not depend on it.
    batch
        How many datasets a serial or stochastic schedule updates at a time; by default as many as make 64, or 8, steps
        of a sweep.
    single_precision
        Whether likelihoods that JAX can trace are computed in single precision; what that does to them is measured, see
        `precision.PrecisionError`.
    delay
        How many updates late the posterior is that each of these updates sees, as where many machines work at once.
    """

    seed: int = 0
    max_steps: int = 100
    min_steps: int = 0
    tolerance: float = 1e-8
    damping: float = 1.0
    power: float = 1.0
    correct: bool = True
    schedule: str = "parallel"
    blocks: Any = None
    batch: int | None = None
    delay: int = 0
    single_precision: bool = False

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise GraphError(
                f"optimise: there is no schedule {self.schedule!r}.{name_hint(str(self.schedule), SCHEDULES)}"
            )
        if self.schedule not in TURNS and (self.batch is not None or self.delay):
            raise GraphError(
                f"optimise: batch and delay are of the schedules {' and '.join(TURNS)}; got schedule={self.schedule!r}."
            )
        if self.batch is not None and self.batch < 1:
            raise GraphError(f"optimise: batch = {self.batch!r}; at least one dataset is updated at a time.")
        if self.delay < 0:
            raise GraphError(f"optimise: delay = {self.delay!r}; it is a number of updates, zero or more.")
        for name in ("damping", "power"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise GraphError(f"optimise: {name} = {value!r}; it must be in (0, 1].")


def solve(
    terms: Terms,
    shared: tuple[SharedVariable, ...],
    plates: Sequence[Plate],
    lanes: Sequence[Lane],
    settings: Settings,
    optimiser: Any = None,
    resources: Resources = DEFAULT_RESOURCES,
    earlier: Earlier | None = None,
) -> Solution:
    """Solve the contracted graph. Deterministic: the same graph and settings give the same answer bitwise, also where a
    journal of the ``resources`` has a part of it already. What an ``earlier`` solution knows of datasets is not found
    again."""
    began = time.perf_counter()
    check_blocks(shared, settings.blocks)
    with jax.enable_x64(True), timed_compilation() as compilation:
        if settings.single_precision:
            plates = [in_single(p) if lane.name == "jax" else p for p, lane in zip(plates, lanes, strict=True)]
        found = linked(terms, shared, plates, lanes)
        if found is not None and settings.single_precision:
            raise GraphError(
                "optimise: single_precision is for graphs whose shared variables are not linked to each other."
            )
        if found is None:
            check_scalars(terms.families, shared, plates, blocks_of(shared, settings.blocks))
            solution, _ = _solved(terms, shared, plates, lanes, settings, optimiser, resources, began, earlier)
        else:
            check_scalars(terms.families, found.shared, found.plates, blocks_of(found.shared, settings.blocks))
            _warn_of_fields(len(shared) - len(found.shared), settings)
            over_hubs, draws = _solved(
                terms, found.shared, found.plates, found.lanes, settings, optimiser, resources, began
            )
            solution = replace(expanded(over_hubs, draws, found, shared, began), kept=None, taken_over=())
    return replace(solution, compile_seconds=compilation.seconds)


def _warn_of_fields(num: int, settings: Settings) -> None:
    """Say that what changes EP's answer does not reach variables that are linked to each other."""
    ignored = [name for name, default in (("power", 1.0), ("blocks", None)) if getattr(settings, name) != default]
    if ignored:
        warnings.warn(
            f"optimise: {' and '.join(ignored)} act on variables that many factors touch; the other {num}, which "
            "are linked to each other, are solved given these with power = 1 and all their correlations.",
            stacklevel=4,
        )


def _solved(
    terms: Terms,
    shared: tuple[SharedVariable, ...],
    plates: Sequence[Plate],
    lanes: Sequence[Lane],
    settings: Settings,
    optimiser: Any,
    resources: Resources,
    began: float,
    earlier: Earlier | None = None,
) -> tuple[Solution, Draws]:
    """The solution, and how to draw from its answer: ``draws(num)`` has its mean and covariance exactly.

    What workers lose while it is explored says nothing to the answer. What they lose later has said something already:
    then all is done again without these datasets.
    """
    while True:
        solution, draws = _attempted(terms, shared, plates, lanes, settings, optimiser, resources, began, earlier)
        late = {name: reason for plate in solution.plates for name, reason in plate.lost_late.items()}
        if not late:
            return solution, draws
        resources = replace(resources, lost={**resources.lost, **late})


def _attempted(
    terms: Terms,
    shared: tuple[SharedVariable, ...],
    plates: Sequence[Plate],
    lanes: Sequence[Lane],
    settings: Settings,
    optimiser: Any,
    resources: Resources,
    began: float,
    earlier: Earlier | None,
) -> tuple[Solution, Draws]:
    going_on = None if earlier is None else go_on(shared, plates, lanes, settings.seed, optimiser, resources, earlier)
    if going_on is not None:
        graph, start, taken = going_on
    else:
        graph, start = prepare(shared, plates, lanes, settings.seed, optimiser, resources)
        taken = ()
    graph = replace(graph, blocks=blocks_of(shared, settings.blocks))
    first = initial_state(graph, start)
    state, history, converged = _run(graph, first, settings)
    graph, state, history, converged = _refined(graph, state, history, converged, settings)
    normals = (state, first) if converged else (first, state)
    product = _product(terms, shared, graph, normals, history, settings)
    if product is not None:
        history, converged = product.history, product.converged
    elif any(name in EXPONENTIAL for name in terms.families.values()):
        converged = False
    is_exact = product is not None and product.is_exact
    correction = None if is_exact else _correction(shared, graph, state, start, settings)
    known = known_corrections(graph, state, taken, earlier, shared) if taken and earlier is not None else None
    solution = _solution(
        terms, shared, graph, state, start, product, history, converged, correction, settings, began, taken, known
    )
    return solution, _drawing(state, product, correction if solution.is_corrected else None)


def _product(
    terms: Terms,
    shared: tuple[SharedVariable, ...],
    graph: ContractedGraph,
    normals: tuple[EPState, ...],
    history: list[SweepInfo],
    settings: Settings,
) -> ProductSolution | None:
    """EP's answer where a variable has messages of an exponential family of its own, started from one of the
    ``normals``."""
    scalars = scalar_variables(shared, terms.families)
    if not scalars:
        return None
    return solve_product(
        graph,
        scalars,
        normals,
        history,
        max_steps=settings.max_steps,
        min_steps=settings.min_steps,
        tolerance=settings.tolerance,
        damping=settings.damping,
        power=settings.power,
    )


def _drawing(state: EPState, product: ProductSolution | None, correction: Correction | None) -> Draws:
    """How to draw from the answer: that of ``correction``, or EP's."""
    if correction is not None or product is None:
        return partial(few_draws, state, correction)
    return product.draws


# --- sweep and refine ---


def _run(graph: ContractedGraph, state: EPState, settings: Settings) -> tuple[EPState, list[SweepInfo], bool]:
    return run(
        graph,
        state,
        max_steps=settings.max_steps,
        min_steps=settings.min_steps,
        tolerance=settings.tolerance,
        damping=settings.damping,
        power=settings.power,
        schedule=settings.schedule,
        batch=settings.batch,
        delay=settings.delay,
        seed=settings.seed,
    )


def _refined(
    graph: ContractedGraph, state: EPState, history: list[SweepInfo], converged: bool, settings: Settings
) -> tuple[ContractedGraph, EPState, list[SweepInfo], bool]:
    """Spend more points on the datasets whose integrals dominate the error of the shared variables' means."""
    for attempt in range(_MAX_REFINEMENTS):
        contributions, _ = inner_errors(graph, state)
        total = np.sqrt(sum((np.sum(c, axis=0) for c in contributions), np.zeros(graph.dimension)))
        if graph.dimension == 0 or np.max(total) < _TOLERATED_INNER_ERROR:
            break
        around = Gaussian(*state.phi_moments())
        refinable = [(p, c) for p, c in zip(graph.plates, contributions, strict=True) if p.is_refinable]
        if not refinable:
            break
        is_finer = False
        for plate, contribution in refinable:
            rounds = _REFINING_ROUNDS ** (attempt + 1)
            worst = _dominant(contribution / np.maximum(total, 1e-300) ** 2)
            worst = worst[plate.num_rounds[worst] < rounds]
            if len(worst):
                is_finer = True
                plate.explore(around, proper=True, rounds=rounds, chosen=worst)
                plate.sharpen(around)
        if not is_finer:  # an earlier run has done what can be done
            continue
        state, more, converged = _run(graph, state, settings)
        history = history + more
    return graph, state, history, converged


def _dominant(share: np.ndarray) -> np.ndarray:
    """Rows that make up 90 % of the squared error, at most a quarter of the plate (or sixteen)."""
    weight = np.max(share, axis=1) if share.shape[1] else np.zeros(len(share))
    order = np.argsort(-weight)
    needed = int(np.searchsorted(np.cumsum(weight[order]), 0.9 * np.sum(weight))) + 1
    chosen = order[: min(needed, max(16, len(share) // 4))]
    return np.sort(chosen[weight[chosen] > 0])


# --- correct and report ---


def _correction(
    shared: Sequence[SharedVariable], graph: ContractedGraph, state: EPState, start: Start, settings: Settings
) -> Correction | None:
    if not settings.correct or graph.dimension == 0:
        return None
    if state.all_exact and not start.others and is_gaussian(graph, state, seed=settings.seed):
        return None
    size = max((plate.plate.size for plate in graph.plates), default=0)
    num = 2048 if size <= 200 else 512 if size <= 500 else 128
    if size <= _FEW_DATASETS and all(p.is_free or not p.plate.signature.analyses for p in graph.plates):
        num = 8192
    if any(
        plate.method == "joint" and plate.surrogate is None for plate in graph.plates
    ):  # draws cost likelihood calls
        cheap = all(plate.is_cheap for plate in graph.plates)
        num = min(num, 2048 if cheap else 512 if size <= 50 else 256 if size <= 200 else 128)
    if any(plate.method == "field" and plate.surrogate is None for plate in graph.plates):
        num = 512
    others = [(other.mean, np.linalg.cholesky(other.covariance)) for other in start.others]
    in_units = partial(values, shared)
    correction = correct(graph, state, others, num_draws=num, seed=settings.seed, values=in_units)
    if is_doubtful(correction) and all(plate.is_exact_everywhere for plate in graph.plates):
        wide = _wide(shared, state, graph.whitened)
        most = 4 * max(num, 2048)
        return tempered(graph, state, correction, wide, num_draws=most, seed=settings.seed, values=in_units)
    return correction


def _wide(shared: Sequence[SharedVariable], state: EPState, whitened: np.ndarray) -> Wide:
    """As wide as the priors, or where a variable has none of its own, four times as wide as EP's posterior."""
    phi, _ = prior_draws(shared)
    has_prior = np.array([not isinstance(getattr(s.variable, "family", None), Flat | None) for s in shared], dtype=bool)
    mean, covariance = state.phi_moments()
    return Wide(
        whitened,
        np.where(has_prior, np.median(phi, axis=0), mean),
        np.where(has_prior, spread_of(phi), _WIDER * np.sqrt(np.diag(covariance))),
    )


def _solution(
    terms: Terms,
    shared: tuple[SharedVariable, ...],
    graph: ContractedGraph,
    state: EPState,
    start: Start,
    product: ProductSolution | None,
    history: list[SweepInfo],
    converged: bool,
    correction: Correction | None,
    settings: Settings,
    began: float,
    taken: tuple[TakenOver, ...],
    known: list[Known] | None,
) -> Solution:
    corrected = correction is not None and correction.k_hat < TRUSTED_K_HAT
    note = _evidence_note(terms, shared, graph)
    ep = moments_of(shared, state, None) if product is None else product.moments(shared)
    checked = None if correction is None else moments_of(shared, state, correction)
    ep_phi = posterior_draws(state, None, seed=settings.seed) if product is None else product.draws(NUM_DRAWS)
    phi = posterior_draws(state, correction, seed=settings.seed) if corrected else ep_phi
    status = state.status if product is None else product.status
    status = tuple(plate.reported(found) for plate, found in zip(graph.plates, status, strict=True))
    densities = leave_one_out(graph, state) if product is None else product.leave_one_out
    contributions, variances = inner_errors(graph, state)
    added, variances = log_factors_corrected(graph, state, variances, known)
    kept = kept_of(shared, graph, state, start, settings.seed, added, variances)
    more = np.nan if note else sum(map(np.sum, added))
    ep = replace(ep, log_evidence=ep.log_evidence + more)
    integrals, found = error_of_sum(variances), None
    if checked is not None and correction is not None:
        checked = replace(checked, log_evidence=checked.log_evidence + more)
        found = Corrected(
            moments=checked,
            draws=values(shared, posterior_draws(state, correction, seed=settings.seed)),
            log_evidence_error=float(np.hypot(integrals, correction.log_evidence_error)),
            effective_sample_size=float(correction.effective_sample_size),
            weighted=(values(shared, correction.phi), correction.weights) if are_enough(correction) else None,
        )
    trusted = found if corrected else None
    drawing = _drawing(state, product, correction if corrected else None)
    spread = np.zeros(graph.dimension)
    if corrected and correction is not None:
        spread = np.min(correction.spread_errors(values(shared, correction.phi)), axis=0)
    error = np.sqrt(sum((np.sum(c, axis=0) for c in contributions), np.zeros(graph.dimension)))
    local = tuple(_local(plate, state, drawing) for plate in graph.plates)
    rounding = precision_error(graph.plates, local, values(shared, phi)) if settings.single_precision else None
    return Solution(
        terms=terms,
        shared=shared,
        plates=graph.plates,
        status=status,
        history=tuple(history),
        converged=converged,
        ep=ep,
        ep_draws=values(shared, ep_phi),
        corrected=found,
        answer=ep if trusted is None else trusted.moments,
        k_hat=np.nan if correction is None else correction.k_hat,
        is_tempered=correction is not None and correction.is_tempered,
        is_corrected=corrected,
        is_exact=correction is None and (state.all_exact if product is None else product.is_exact),
        phi=phi,
        draws=values(shared, phi),
        log_joint=_log_joint(graph, correction, phi) if corrected else None,
        local=local,
        precision_error=rounding,
        leave_one_out=tuple(density + more for density, more in zip(densities, added, strict=True)),
        inner_error=error,
        spread_error=spread,
        factor_errors=tuple(np.sqrt(variance) for variance in variances),
        factor_shifts=tuple(np.sqrt(np.max(c, axis=1, initial=0.0)) for c in contributions),
        log_evidence_error=integrals if trusted is None else trusted.log_evidence_error,
        log_evidence_note=note,
        seed=settings.seed,
        seconds=time.perf_counter() - began,
        kept=kept,
        taken_over=taken,
    )


def _log_joint(graph: ContractedGraph, correction: Correction | None, phi: np.ndarray) -> np.ndarray | None:
    """Log density (M,) of data and ``phi`` (M, D), where all are the correction's own points."""
    known = {} if correction is None else {point.tobytes(): row for row, point in enumerate(correction.phi)}
    rows = [known.get(point.tobytes(), -1) for point in phi]
    if correction is None or -1 in rows:
        return None
    return graph.log_joint(phi, [values[:, rows] for values in correction.log_factors])


def _evidence_note(terms: Terms, shared: tuple[SharedVariable, ...], graph: ContractedGraph) -> str:
    """Why there is no evidence; empty where there is."""
    if not all(_is_proper(s.variable) or s.variable in terms.draws for s in shared):
        return "a shared variable has an improper flat prior, so the evidence is not defined"
    plates = [part for plate in graph.plates for part in getattr(plate, "inner", (plate,))]
    private = (variable for plate in plates for row in plate.plate.local for variable in row)
    if not all(_is_proper(variable) or variable in terms.draws for variable in private):
        return "a private variable has an improper flat prior, so the evidence is not defined"
    return ""


def _is_proper(variable: Any) -> bool:
    if not isinstance(getattr(variable, "family", None), Flat):
        return True
    return bool(np.all(np.isfinite([float(v) for v in variable.parameters])))


def _local(plate: ContractedPlate, state: EPState, drawing: Draws) -> LocalPosterior | None:
    num_local = plate.plate.signature.num_local
    if num_local == 0:
        return None
    num = 256 if plate.plate.size <= 200 else 64
    phi = drawing(num)
    chance = plate.chances(len(phi))
    found = plate.local_posterior(phi, chance)
    is_uncertain = np.any(found.error > _TOLERATED_LOCAL_ERROR * found.standard_deviation, axis=1)
    uncertain = np.flatnonzero(is_uncertain & (plate.num_rounds < _LOCAL_ROUNDS))
    if plate.is_refinable and len(uncertain):
        around = Gaussian(*state.phi_moments())
        plate.explore(around, proper=True, rounds=_LOCAL_ROUNDS, chosen=uncertain)
        for whole, part in zip(found, plate.local_posterior(phi, chance, uncertain), strict=True):
            whole[uncertain] = part
    return found
