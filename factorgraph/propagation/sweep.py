"""One sweep of expectation propagation: cavity, tilted moments, update, by regression on points of the posterior.

For each term the values R = log f - site at points of the posterior give weights softmax(R); the weights less
uniform, regressed on the sufficient statistics, are the change of the site (So & Turner 2024, EP-eta, with shared
fixed points). Where R is exactly linear in the statistics the factor is Gaussian and its site is
set by least squares, exact in one step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.factorised import joins_blocks, log_mean, masked, matching, regressed, together
from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.regression import (
    design,
    effective_fraction,
    factor_values,
    least_squares,
    site_from_z,
    site_in_z,
    softmax,
    updated_sites,
)
from factorgraph.propagation.start import Start
from factorgraph.propagation.state import (
    ContractedGraph,
    EPState,
    Posterior,
    Sites,
    log_evidence_of,
    posterior_of,
    quarantined,
)
from factorgraph.propagation.tilted import matched_sites
from messages.multivariate_normal import log_partition, natural_from_moments, num_natural, unpack
from searches.status import Status

Chosen = tuple[np.ndarray, ...]  # ascending row numbers, one array a plate

_GAUSSIAN = 0.1  # of the points, at the start; an edge leaves less
_MAX_HALVINGS = 30


@dataclass(frozen=True, eq=False, slots=True)
class SweepInfo:
    """What a sweep did: for the history, not for the next sweep.

    Attributes
    ----------
    change
        Largest change of a mean in standard deviations, or of a log standard deviation.
    residual
        Root sum of squares of the proposed changes of the sites that are not exact, in the posterior's own units.
    damping
        Fraction of the step that was taken.
    """

    step: int
    log_evidence: float
    change: float
    residual: float
    damping: float
    num_rejected: int
    num_negative: int


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """A plate's proposed sites; ``change`` (N, p) is how far they are from the old ones, in the posterior's own units,
    and zero where the site is exact."""

    site: np.ndarray
    log_normalizers: np.ndarray
    exact: np.ndarray
    status: np.ndarray
    matched: np.ndarray
    change: np.ndarray


def initial_state(graph: ContractedGraph, start: Start) -> EPState:
    """Sites regressed at the start, and the frame of its size."""
    scale = np.sqrt(np.diag(start.covariance)) if graph.dimension else np.zeros(0)
    covariance = start.covariance / np.outer(scale, scale)
    if graph.blocks is not None:
        covariance = np.where(graph.blocks[:, None] == graph.blocks, covariance, 0.0)
    empty = tuple(np.zeros((p.plate.size, num_natural(p.plate.signature.num_shared))) for p in graph.plates)
    state = EPState(
        origin=start.mean,
        scale=scale,
        sites=empty,
        log_normalizers=tuple(np.zeros(p.plate.size) for p in graph.plates),
        exact=tuple(np.zeros(p.plate.size, dtype=bool) for p in graph.plates),
        status=tuple(np.full(p.plate.size, Status.ok) for p in graph.plates),
        matched=tuple(np.zeros(p.plate.size, dtype=bool) for p in graph.plates),
        mean=np.zeros(graph.dimension),
        covariance=covariance,
        log_evidence=np.nan,
        num_steps=0,
    )
    started = [_started(plate, state) for plate in graph.plates]
    within = [together(graph.blocks, plate.plate.shared_index) for plate in graph.plates]
    sites = tuple(site if w is None else masked(site, w) for (site, _), w in zip(started, within, strict=True))
    matched = tuple(found for _, found in started)
    state = replace(state, matched=matched)
    posterior = posterior_of(graph, state.origin, state.scale, sites)
    if posterior.proper:
        return replace(state, sites=sites, mean=posterior.mean, covariance=posterior.covariance)
    return state  # no sites yet: the posterior is the start's own Gaussian


def propose(
    graph: ContractedGraph, state: EPState, power: float = 1.0, chosen: Chosen | None = None
) -> tuple[Proposal, ...]:
    """Per plate, the sites that would match the tilted moments at ``state``; of the ``power`` of factors and sites.

    Of those that are not among the ``chosen`` rows of their plate, the sites that are there.
    """
    everyone = chosen or (None,) * len(graph.plates)
    return tuple(
        _propose(plate, state, i, power, rows, together(graph.blocks, plate.plate.shared_index))
        for i, (plate, rows) in enumerate(zip(graph.plates, everyone, strict=True))
    )


def residual_of(proposals: tuple[Proposal, ...]) -> np.ndarray:
    """The proposed changes in one vector; EP is at its fixed point where it is zero."""
    return np.concatenate([np.zeros(0), *(p.change.ravel() for p in proposals)])


def sites_of(state: Sites) -> np.ndarray:
    """All sites in one vector."""
    return np.concatenate([np.zeros(0), *(site.ravel() for site in state.sites)])


def proposed_changes(state: Sites, proposals: tuple[Proposal, ...]) -> np.ndarray:
    """What is proposed less what is there, in one vector; zero where exact, since that step is always whole."""
    parts = (
        np.where(p.exact[:, None], 0.0, p.site - old).ravel() for p, old in zip(proposals, state.sites, strict=True)
    )
    return np.concatenate([np.zeros(0), *parts])


def redirected(state: Sites, proposals: tuple[Proposal, ...], changes: np.ndarray) -> tuple[Proposal, ...]:
    """The proposals with these changes in place of their own, but for exact sites."""
    found, start = [], 0
    for p, old in zip(proposals, state.sites, strict=True):
        change = changes[start : start + old.size].reshape(old.shape)
        found.append(replace(p, site=np.where(p.exact[:, None], p.site, old + change)))
        start += old.size
    return tuple(found)


def take_step(
    graph: ContractedGraph, state: EPState, proposals: tuple[Proposal, ...], damping: float
) -> tuple[EPState, SweepInfo]:
    """Move every site towards its proposal, exact ones all the way; the step is halved while the posterior, or a
    cavity that was proper, would be improper."""
    step, previous = damping, posterior_of(graph, state.origin, state.scale, state.sites)
    tolerated = _num_improper(graph, state.sites, previous)
    for _ in range(_MAX_HALVINGS):
        sites = tuple(
            old + np.where(p.exact, 1.0, step)[:, None] * (p.site - old)
            for old, p in zip(state.sites, proposals, strict=True)
        )
        posterior = posterior_of(graph, state.origin, state.scale, sites)
        if posterior.proper and _num_improper(graph, sites, posterior) <= tolerated:
            break
        step *= 0.5
    residual = float(np.linalg.norm(residual_of(proposals)))
    if not posterior.proper:
        rejected = tuple(np.where(s == Status.ok, Status.site_rejected, s) for s in state.status)
        info = SweepInfo(state.num_steps + 1, state.log_evidence, np.inf, residual, 0.0, sum(map(len, rejected)), 0)
        return replace(state, status=rejected, num_steps=state.num_steps + 1), info
    log_evidence = log_evidence_of(
        graph,
        state.origin,
        state.scale,
        previous if previous.proper else posterior,
        tuple(p.log_normalizers for p in proposals),
    )
    status = tuple(
        np.where(_improper(plate, site, posterior) & (p.status == Status.ok), Status.cavity_improper, p.status)
        for plate, site, p in zip(graph.plates, sites, proposals, strict=True)
    )
    new = EPState(
        origin=state.origin,
        scale=state.scale,
        sites=sites,
        log_normalizers=tuple(p.log_normalizers for p in proposals),
        exact=tuple(p.exact for p in proposals),
        status=status,
        matched=tuple(p.matched for p in proposals),
        mean=posterior.mean,
        covariance=posterior.covariance,
        log_evidence=log_evidence,
        num_steps=state.num_steps + 1,
    )
    info = SweepInfo(
        new.num_steps,
        log_evidence,
        change_between(state, new),
        residual,
        step,
        int(sum(np.sum(s != Status.ok) for s in status)),
        int(sum(np.sum(_negative(site, plate)) for site, plate in zip(sites, graph.plates, strict=True))),
    )
    return new, info


def change_between(old: EPState, new: EPState) -> float:
    """Largest change of a mean in standard deviations, or of a log standard deviation."""
    if len(old.mean) == 0:
        return 0.0
    before, after = np.sqrt(np.diag(old.covariance)), np.sqrt(np.diag(new.covariance))
    return float(max(np.max(np.abs(new.mean - old.mean) / after), np.max(np.abs(np.log(after / before)))))


def _negative(site: np.ndarray, plate: ContractedPlate) -> np.ndarray:
    """(N,) sites whose precision has a negative eigenvalue: legitimate, counted."""
    if site.shape[1] == 0:
        return np.zeros(len(site), dtype=bool)
    return np.linalg.eigvalsh(unpack(site, plate.plate.signature.num_shared)[1])[:, 0] < 0


def _num_improper(graph: ContractedGraph, sites: tuple[np.ndarray, ...], posterior: Posterior) -> int:
    if not posterior.proper:
        return 0
    pairs = zip(graph.plates, sites, strict=True)
    return int(sum(np.sum(_improper(plate, site, posterior)) for plate, site in pairs))


def _improper(plate: ContractedPlate, site: np.ndarray, posterior: Posterior) -> np.ndarray:
    """(N,) terms without which the posterior would be no distribution."""
    if site.shape[1] == 0:
        return np.zeros(len(site), dtype=bool)
    _, factor = marginals(posterior.mean, posterior.covariance, plate.plate.shared_index)
    whitened = np.swapaxes(factor, 1, 2) @ unpack(site, factor.shape[1])[1] @ factor
    return np.linalg.eigvalsh(whitened)[:, -1] > 1.0 + 1e-9


def _started(plate: ContractedPlate, state: EPState) -> tuple[np.ndarray, np.ndarray]:
    """The sites of one plate regressed about the start, and those (N,) whose moments can be matched. One of them that
    has nothing to do with a Gaussian there, such as an edge, starts from nothing."""
    mean, factor = marginals(state.mean, state.covariance, plate.plate.shared_index)
    points = design(mean.shape[1])
    values, _ = factor_values(plate, state.origin, state.scale, mean, factor, points.z)
    lost = quarantined(values, plate)
    values = np.where(lost[:, None], 0.0, values)
    coefficients, exact = least_squares(values, values, points)
    site = site_from_z(coefficients, mean, factor)
    if not plate.is_free:
        return np.where(lost[:, None], 0.0, site), np.zeros(plate.plate.size, dtype=bool)
    weights, _ = softmax(values - (points.statistics @ coefficients.T).T)
    effective = effective_fraction(weights)
    matched = ~exact & ~lost
    return np.where((lost | matched & (effective < _GAUSSIAN))[:, None], 0.0, site), matched


def _propose(
    plate: ContractedPlate,
    state: EPState,
    index: int,
    power: float,
    chosen: np.ndarray | None,
    within: np.ndarray | None,
) -> Proposal:
    """The sites of one plate that would match the tilted moments; by least squares where exact."""
    there = Proposal(
        state.sites[index],
        state.log_normalizers[index],
        state.exact[index],
        state.status[index],
        state.matched[index],
        np.zeros_like(state.sites[index]),
    )
    if chosen is None:
        return _updated(plate, state, there, power, None, within)
    if len(chosen) == 0:
        return there
    part = Proposal(*(getattr(there, field.name)[chosen] for field in fields(there)))
    part = _updated(plate, state, part, power, chosen, None if within is None else within[chosen])
    for field in fields(there):
        whole = getattr(there, field.name).copy()
        whole[chosen] = getattr(part, field.name)
        there = replace(there, **{field.name: whole})
    return there


def _updated(
    plate: ContractedPlate,
    state: EPState,
    there: Proposal,
    power: float,
    chosen: np.ndarray | None,
    within: np.ndarray | None,
) -> Proposal:
    """What is proposed in place of what is ``there``, for all terms of the plate or for those ``chosen``; ``within``
    (N, d, d) are the correlations that sites may have.

    An update that fails, log f being finite nowhere, leaves a site that was found before.
    """
    old, index = there.site, plate.plate.shared_index
    mean, factor = marginals(state.mean, state.covariance, index if chosen is None else index[chosen])
    points = design(mean.shape[1])
    values, _ = factor_values(plate, state.origin, state.scale, mean, factor, points.z, chosen)
    lost = quarantined(values, plate)
    # beyond an edge everything is flat, and not exact
    update = updated_sites(values, old, mean, factor, points, lost, power=power, never_exact=there.matched)
    log_normalizers, status, delta, exact = update.log_normalizers, update.status, update.delta, update.exact
    matched = (there.matched | ~exact) & ~lost & plate.is_free
    whole = exact | (status == Status.poor_proposal)  # changes that match all moments, not only nearly
    if np.any(matched):
        tilted_sites = matched_sites(plate, state.origin, state.scale, old, mean, factor, power, chosen)
        found = matched & tilted_sites.found
        log_normalizers = np.where(found, tilted_sites.log_normalizers, log_normalizers)
        status = np.where(found, Status.ok, status)
        delta = np.where(found[:, None], site_in_z(tilted_sites.site - old, mean, factor)[1], delta)
        whole |= found
    if within is not None:
        full, joined = delta, joins_blocks(delta + site_in_z(old, mean, factor)[1], within)
        log_normalizers = log_normalizers + np.where(exact & joined, log_mean(full, mean.shape[1], power), 0.0)
        delta = np.where(whole[:, None], matching(full, within, power), regressed(full, within, points))
        delta = np.where((exact & ~joined)[:, None], full, delta)
        exact = exact & ~joined
    site = np.where(lost[:, None], 0.0, old + site_from_z(delta, mean, factor))
    change = np.where((lost | exact)[:, None], 0.0, delta)
    held = lost & np.any(old != 0.0, axis=1)
    return Proposal(
        np.where(held[:, None], old, site),
        np.where(held, there.log_normalizers, log_normalizers),
        np.where(held, there.exact, exact),
        np.where(held, Status.site_rejected, status),
        np.where(held, there.matched, matched),
        change,
    )


def leave_one_out(graph: ContractedGraph, state: EPState) -> tuple[np.ndarray, ...]:
    """Per plate (N,): log p(data of j | the other data) under EP, nats; nan for terms without data."""
    found = []
    for plate, site, normalizer in zip(graph.plates, state.sites, state.log_normalizers, strict=True):
        if not plate.plate.signature.analyses:
            found.append(np.full(plate.plate.size, np.nan))
            continue
        dimension = plate.plate.signature.num_shared
        if dimension == 0:
            found.append(normalizer)
            continue
        mean, factor = marginals(state.mean, state.covariance, plate.plate.shared_index)
        natural = natural_from_moments(mean, factor @ np.swapaxes(factor, 1, 2))
        with np.errstate(invalid="ignore"):
            found.append(normalizer + log_partition(natural, dimension) - log_partition(natural - site, dimension))
    return tuple(found)
