"""Expectation propagation by a double loop that descends, for graphs on which sweeps do not settle.

The fixed points of EP are stationary points of an energy that a double loop decreases (Heskes & Zoeter 2002; Opper &
Winther 2005). With the posterior theta that the cavities belong to held fixed,

    L(lambda) = A(eta_0 + sum_j lambda_j) + sum_j [A_j(theta - lambda_j) - A(theta)]

is convex in all sites lambda together, A_j being the log partition function of the tilted distribution; where its
gradient vanishes every site has the tilted moments of the product of all. That minimum is the inner loop; the outer one
sets theta to the product found. Under fixed theta the values of log f at its points do not change, so that an inner
minimum costs no likelihood call: it is found by Newton's method, whose Hessian is one matrix a site plus one that all
share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp

from factorgraph.propagation.contracted import MANY_POINTS, ContractedPlate
from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.regression import design, factor_values, site_from_z, site_in_z
from factorgraph.propagation.state import ContractedGraph, EPState, Posterior, posterior_of
from factorgraph.propagation.sweep import Proposal, propose, take_step
from messages.multivariate_normal import (
    expectation_from_moments,
    log_partition,
    moments_from_natural,
    num_natural,
    pack,
    sufficient_statistics,
    unpack,
)
from searches.quasi import normal_points
from searches.status import Status

_MOST_NATURAL, _MOST_NUMBERS, _MOST_PRODUCTS = 1000, 3e7, 5e8  # of the posterior, of the largest array, of a Hessian
_MAX_NEWTON, _MAX_HALVINGS, _ARMIJO = 50, 40, 1e-4
_SOLVED = 1e-20  # squared Newton decrement, nats
_RIDGE = 1e-9
_WIDER, _SEED = 1.25, 9
_FARTHEST, _WIDEST = 2.0, np.log(2.0)  # that theta may move at once, in sds, and a log sd by


def is_possible(graph: ContractedGraph) -> bool:
    """Whether the Hessian of this graph can be had in a second or less, and one block holds all variables."""
    size, numbers, products = num_natural(graph.dimension), 0, 0
    for plate in graph.plates:
        dimension = plate.plate.signature.num_shared
        own, num = num_natural(dimension), len(_many_points(dimension) if plate.is_free else design(dimension).z)
        numbers = max(numbers, plate.plate.size * own * size)
        products += plate.plate.size * num * own**2
    small = size <= _MOST_NATURAL and numbers <= _MOST_NUMBERS and products <= _MOST_PRODUCTS
    return graph.blocks is None and graph.dimension > 0 and small


def propose_minimum(graph: ContractedGraph, state: EPState, power: float = 1.0) -> tuple[Proposal, ...]:
    """Per plate, the sites that minimise L with theta where ``state`` is, or that lead there as far as theta may move
    at once; `sweep.propose` in place of which this may stand."""
    proposals = propose(graph, state, power)
    if not posterior_of(graph, state.origin, state.scale, state.sites).proper:
        return proposals
    state = take_step(graph, state, proposals, 0.0)[0]  # what is exact is set, and what is matched is known
    parts = []
    for index, plate in enumerate(graph.plates):
        sought = ~state.exact[index] & ~np.isin(proposals[index].status, (Status.quarantined, Status.site_rejected))
        for matched in (False, True):
            rows = np.flatnonzero(sought & (state.matched[index] == matched))
            if len(rows) and plate.plate.signature.num_shared:
                parts.append(_part_of(plate, state, index, rows, matched, power))
    changes = _minimised(parts, graph.dimension, power)
    if changes is not None:
        changes = _shortened(graph, state, parts, changes)
    if changes is None:
        return proposals
    sites, moves = [site.copy() for site in state.sites], [np.zeros_like(site) for site in state.sites]
    for part, change in zip(parts, changes, strict=True):
        sites[part.index][part.rows] = site_from_z(part.site + change, part.centre, part.factor)
        moves[part.index][part.rows] = change
    return tuple(replace(p, site=site, change=move) for p, site, move in zip(proposals, sites, moves, strict=True))


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """The sites of one plate that are to be found, in the frame z of theta, where each marginal of theta is N(0, I).

    ``rows`` (N,); ``site`` (N, p) as they are; ``log_base`` (n,) log weights of theta at the points; ``values``
    (N, n); ``statistics`` (n, p) less their mean under theta; ``spread`` (N, P, p) from a site to the natural
    parameters of the whole.
    """

    index: int
    rows: np.ndarray
    centre: np.ndarray
    factor: np.ndarray
    site: np.ndarray
    log_base: np.ndarray
    values: np.ndarray
    statistics: np.ndarray
    spread: np.ndarray


def _shortened(
    graph: ContractedGraph, state: EPState, parts: list[_Part], changes: list[np.ndarray]
) -> list[np.ndarray] | None:
    """The changes, or a fraction of them with which theta moves no farther than it may; None where there is none."""
    for _ in range(_MAX_HALVINGS):
        sites = [site.copy() for site in state.sites]
        for part, change in zip(parts, changes, strict=True):
            sites[part.index][part.rows] = site_from_z(part.site + change, part.centre, part.factor)
        posterior = posterior_of(graph, state.origin, state.scale, tuple(sites))
        if posterior.proper and np.all(np.abs(_moves(state, posterior)) <= 1.0):
            return changes
        changes = [0.5 * change for change in changes]
    return None


def _moves(old: EPState, new: Posterior) -> np.ndarray:
    """By how much theta moved, in what it may."""
    before, after = np.sqrt(np.diag(old.covariance)), np.sqrt(np.diag(new.covariance))
    return np.concatenate([(new.mean - old.mean) / (_FARTHEST * before), np.log(after / before) / _WIDEST])


def _part_of(
    plate: ContractedPlate, state: EPState, index: int, rows: np.ndarray, matched: bool, power: float
) -> _Part:
    dimension = plate.plate.signature.num_shared
    shared = plate.plate.shared_index[rows]
    centre, factor = marginals(state.mean, state.covariance, shared)
    _, site = site_in_z(state.sites[index][rows], centre, factor)
    z = _many_points(dimension) if matched else design(dimension).z
    values, _ = factor_values(plate, state.origin, state.scale, centre, factor, z, rows)
    log_base = -0.5 * np.sum(z**2, axis=1) * (1.0 - _WIDER**-2) if matched else np.zeros(len(z))
    log_base = log_base - logsumexp(log_base)
    statistics = sufficient_statistics(z)
    statistics = statistics - np.exp(log_base) @ statistics
    root = np.linalg.cholesky(state.covariance)  # of theta: x = mean + root u
    to_z = np.linalg.solve(factor, root[shared])  # (N, d, D)
    return _Part(
        index,
        rows,
        centre,
        factor,
        site,
        log_base,
        np.where(np.isfinite(values), values, -np.inf),
        statistics,
        _spread(to_z),
    )


@lru_cache(maxsize=8)
def _many_points(dimension: int) -> np.ndarray:
    """Points (n, d) somewhat wider than N(0, I), for sites with edges."""
    return _WIDER * normal_points(MANY_POINTS, dimension, _SEED, whiten=True)


def _spread(to_z: np.ndarray) -> np.ndarray:
    """(N, P, p): natural parameters in u of sites in z = ``to_z`` u, ``to_z`` (N, d, D)."""
    dimension = to_z.shape[1]
    h, precision = unpack(np.eye(num_natural(dimension)), dimension)
    return np.swapaxes(
        pack(np.einsum("nda,pd->npa", to_z, h), np.einsum("nda,pde,neb->npab", to_z, precision, to_z)), 1, 2
    )


def _minimised(parts: list[_Part], dimension: int, power: float) -> list[np.ndarray] | None:
    """The changes (N, p) of the sites, by part, that minimise L; None where rounding does not let it fall at all."""
    changes = [np.zeros_like(part.site) for part in parts]
    start = value = _value(parts, changes, dimension, power)
    for _ in range(_MAX_NEWTON):
        steps, decrement = _newton_step(parts, changes, dimension, power)
        if abs(decrement) <= _SOLVED:
            return changes
        if not decrement > 0.0:
            break
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            trial = [change + length * step for change, step in zip(changes, steps, strict=True)]
            there = _value(parts, trial, dimension, power)
            if there <= value - _ARMIJO * length * decrement:
                break
            length *= 0.5
        else:
            break
        changes, value = trial, there
    return changes if value < start else None


def _natural(parts: list[_Part], changes: list[np.ndarray], dimension: int) -> np.ndarray:
    """Natural parameters (P,) in u of the product of all sites; theta's own where nothing is changed."""
    whole = pack(np.zeros(dimension), np.eye(dimension))
    for part, change in zip(parts, changes, strict=True):
        whole = whole + np.einsum("nqp,np->q", part.spread, change)
    return whole


def _log_tilted(part: _Part, change: np.ndarray, power: float) -> np.ndarray:
    """Log weights (N, n) of the tilted distributions at the points, not normalised."""
    log_site = np.einsum("kp,np->nk", part.statistics, part.site + change)
    return part.log_base + power * (part.values - log_site)


def _value(parts: list[_Part], changes: list[np.ndarray], dimension: int, power: float) -> float:
    """L less a constant, infinite where the product of all sites is no distribution."""
    with np.errstate(invalid="ignore"):
        total = float(log_partition(_natural(parts, changes, dimension), dimension))
    if not np.isfinite(total):
        return np.inf
    for part, change in zip(parts, changes, strict=True):
        total += float(np.sum(logsumexp(_log_tilted(part, change, power), axis=1))) / power
        total -= float(np.sum(change @ _standard(part.site.shape[1], part.centre.shape[1])))
    return total


def _standard(size: int, dimension: int) -> np.ndarray:
    """E[T] (p,) of N(0, I)."""
    found = expectation_from_moments(np.zeros(dimension), np.eye(dimension))
    assert found.shape == (size,)
    return found


def _newton_step(
    parts: list[_Part], changes: list[np.ndarray], dimension: int, power: float
) -> tuple[list[np.ndarray], float]:
    """Newton's step by part, and its decrement: with H a site's own Hessian, F the whole's and S its ``spread``, the
    step is -H^-1 (g + S' F v), (1 + M F) v = -sum S H^-1 g, M = sum S H^-1 S'."""
    mean, covariance = moments_from_natural(_natural(parts, changes, dimension), dimension)
    expected, information = expectation_from_moments(mean, covariance), _information(mean, covariance)
    gradients, inverses = [], []
    together, pull = np.zeros_like(information), np.zeros(len(expected))
    for part, change in zip(parts, changes, strict=True):
        log_tilted = _log_tilted(part, change, power)
        weights = np.exp(log_tilted - logsumexp(log_tilted, axis=1, keepdims=True))
        tilted = weights @ part.statistics
        own = np.einsum("nk,kp,kq->npq", weights, part.statistics, part.statistics, optimize=True)
        own = power * (own - tilted[:, :, None] * tilted[:, None, :])
        gradient = np.einsum("nqp,q->np", part.spread, expected) - _standard(*_shape(part)) - tilted
        inverse = _inverse(own)
        gradients.append(gradient)
        inverses.append(inverse)
        together += np.einsum("nap,npq,nbq->ab", part.spread, inverse, part.spread, optimize=True)
        pull += np.einsum("nap,npq,nq->a", part.spread, inverse, gradient)
    v = np.linalg.solve(np.eye(len(pull)) + together @ information, -pull)
    steps = [
        -np.einsum("npq,nq->np", inverse, gradient + np.einsum("nap,a->np", part.spread, information @ v))
        for part, gradient, inverse in zip(parts, gradients, inverses, strict=True)
    ]
    decrement = -sum(float(np.sum(g * s)) for g, s in zip(gradients, steps, strict=True))
    return steps, decrement


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of covariance matrices (N, p, p) that may be singular: a little is added to what they are when scaled."""
    size = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2) + _RIDGE)
    size = size[:, :, None] * size[:, None, :]
    return np.linalg.inv(matrix / size + _RIDGE * np.eye(matrix.shape[1])) / size


def _shape(part: _Part) -> tuple[int, int]:
    return part.site.shape[1], part.centre.shape[1]


def _information(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Cov[T] (P, P) of a normal distribution (Isserlis 1918)."""
    rows, columns = np.tril_indices(len(mean))
    factor = np.where(rows == columns, -0.5, -1.0)
    mixed = covariance[:, rows] * mean[columns] + covariance[:, columns] * mean[rows]
    second = covariance + np.outer(mean, mean)

    def pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return covariance[np.ix_(a, b)]

    def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.outer(mean[a], mean[b])

    fourth = (
        pairs(rows, rows) * second[np.ix_(columns, columns)]
        + pairs(rows, columns) * second[np.ix_(columns, rows)]
        + products(rows, rows) * pairs(columns, columns)
        + products(rows, columns) * pairs(columns, rows)
    )
    upper = np.concatenate([covariance, mixed * factor], axis=1)
    lower = np.concatenate([(mixed * factor).T, fourth * np.outer(factor, factor)], axis=1)
    return np.concatenate([upper, lower])
