"""One sweep of expectation propagation over a product of exponential families (`product`).

As in `sweep`, each term is seen at points of the posterior, here quantiles of every family at standard normal scores z.
Where log f - site is exactly linear in the statistics the factor is conjugate, and its site is set by least squares:
exact in one step. Where log f costs nothing the tilted distribution is integrated on a grid of z, whose error falls
exponentially, and its E[T] is matched (Minka 2001, section 3.2; Seeger 2005, Expectation propagation for exponential
families). Elsewhere the weights are regressed on the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.product import Group, Product, ProductGraph, log_evidence_of, product_of
from factorgraph.propagation.regression import (
    design,
    floored,
    is_exact_fit,
    is_poor,
    site_from_z,
    site_values,
    softmax,
)
from factorgraph.propagation.scalar_message import NUM_STATISTICS
from factorgraph.propagation.state import quarantined
from factorgraph.propagation.sweep import Proposal, SweepInfo, residual_of
from messages.multivariate_normal import natural_from_moments, num_natural, pack, sufficient_statistics, unpack
from searches.status import Status

_GRIDS = {1: (1024, 9.0), 2: (64, 8.0), 3: (16, 6.0)}  # nodes of each variable, and the largest score
_COARSE, _FEW_DATASETS = {**_GRIDS, 2: (32, 7.0)}, 16  # a site is the weaker the more there are
_MAX_HALVINGS = 30


@dataclass(frozen=True, eq=False, slots=True)
class ProductState:
    """What the next sweep needs; one entry a `Group` in each tuple, as in `EPState`."""

    sites: tuple[np.ndarray, ...]
    log_normalizers: tuple[np.ndarray, ...]
    exact: tuple[np.ndarray, ...]
    status: tuple[np.ndarray, ...]
    matched: tuple[np.ndarray, ...]
    product: Product
    log_evidence: float
    num_steps: int


class Cloud(NamedTuple):
    """Points of the posterior over the variables of each term of a group.

    ``z`` (n, g + c) are normal scores, of the normal variables first; ``mean`` (N, g) and ``factor`` (N, g, g) make x
    of them. Terms that touch the same scalar variables are of one of U kinds, ``kind`` (N,): ``t`` and ``jacobian``
    (U, n, c) are the coordinates of those and log |dy/dt|, ``statistics`` (U, n, 2 c) their T.
    """

    z: np.ndarray
    mean: np.ndarray
    factor: np.ndarray
    kind: np.ndarray
    t: np.ndarray
    jacobian: np.ndarray
    statistics: np.ndarray


class Fit(NamedTuple):
    """Of the K kept statistics at the points of a cloud: (U, n, K) less their mean; the matrix (U, K, n) from values,
    less their mean, to coefficients by least squares; and a root (U, K, K) of the statistics' covariance."""

    statistics: np.ndarray
    operator: np.ndarray
    root: np.ndarray

    def coefficients(self, kind: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(N, K) of ``values`` (N, n). What they have in common is left out, since rounding would make much of it."""
        return along(self.operator, kind, values - values.mean(axis=1, keepdims=True))


def along(table: np.ndarray, kind: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Rows (N, m) of ``table[kind]`` (N, m, k) times ``numbers`` (N, k)."""
    if len(table) == 1:
        return numbers @ table[0].T
    return np.matmul(table[kind], numbers[:, :, None])[:, :, 0]


def cloud_of(graph: ProductGraph, group: Group, product: Product, z: np.ndarray) -> Cloud:
    """The points of a group at normal scores ``z`` (n, g + c)."""
    mean, factor = marginals(product.normal.mean, product.normal.covariance, group.normal)
    kinds, kind = np.unique(group.scalar, axis=0, return_inverse=True)
    shape = (len(kinds), len(z), len(group.scalar_at))
    t, jacobian, statistics = np.zeros(shape), np.zeros(shape), np.zeros((*shape, NUM_STATISTICS))
    for place in range(shape[2]):
        score = z[:, group.num_normal + place]
        for number in np.unique(kinds[:, place]):
            scalar, alike = graph.scalars[number], kinds[:, place] == number
            y = scalar.y_of(product.natural[number], score)
            t[alike, :, place], statistics[alike, :, place] = scalar.coordinate(y), scalar.statistics(y)
            jacobian[alike, :, place] = scalar.log_jacobian(t[alike, :, place][0])
    return Cloud(z, mean, factor, kind.ravel(), t, jacobian, statistics.reshape(*shape[:2], -1))


def log_factors(graph: ProductGraph, group: Group, cloud: Cloud) -> np.ndarray:
    """log f (N, n) of every term of a group at its points, as a function of the y of its scalar variables."""
    place = np.zeros(group.plate.plate.size, dtype=int)
    place[group.rows] = np.arange(group.size)
    score = cloud.z[:, : group.num_normal]

    def points(rows: np.ndarray) -> np.ndarray:
        at = place[rows]
        phi = np.zeros((len(rows), len(score), group.num_normal + len(group.scalar_at)))
        x = cloud.mean[at, None, :] + np.einsum("bij,nj->bni", cloud.factor[at], score)
        normal = group.normal[at]
        phi[:, :, group.normal_at] = graph.origin[normal][:, None, :] + graph.scale[normal][:, None, :] * x
        phi[:, :, group.scalar_at] = cloud.t[cloud.kind[at]]
        return phi

    values, _ = group.plate.log_factors(points, group.rows)
    for column in np.flatnonzero(group.owned):
        values = values - cloud.jacobian[cloud.kind, :, column]
    return values


def site_at(group: Group, site: np.ndarray, cloud: Cloud) -> np.ndarray:
    """lambda . T (N, n) at the points."""
    normal = site_values(group.of_normal(site), cloud.mean, cloud.factor, cloud.z[:, : group.num_normal])
    return normal + along(cloud.statistics, cloud.kind, site[:, num_natural(group.num_normal) :])


def fit_of(group: Group, cloud: Cloud) -> Fit:
    """Least squares on the statistics that the posterior has, at the points of a cloud."""
    num, score = len(cloud.z), cloud.z[:, : group.num_normal]
    normal = sufficient_statistics(score)[:, group.kept] if group.num_normal else np.zeros((num, 0))
    shape = (*cloud.statistics.shape[:2], normal.shape[1])
    statistics = np.concatenate([np.broadcast_to(normal, shape), cloud.statistics], axis=2)
    statistics -= statistics.mean(axis=1, keepdims=True)
    size = np.maximum(statistics.std(axis=1), np.finfo(float).tiny)
    standard = statistics / size[:, None]
    operator = np.linalg.pinv(standard) / size[:, :, None]
    root = np.linalg.qr(standard, mode="r") / np.sqrt(num) * size[:, None]
    return Fit(statistics, operator, root)


def with_all(group: Group, change: np.ndarray, cloud: Cloud) -> np.ndarray:
    """A change (N, p) of sites in x and y, from that of the kept statistics (N, K) in z and y."""
    num_kept = int(np.sum(group.kept))
    normal = np.zeros((len(change), num_natural(group.num_normal)))
    normal[:, group.kept] = change[:, :num_kept]
    return np.concatenate([site_from_z(normal, cloud.mean, cloud.factor), change[:, num_kept:]], axis=1)


def propose(graph: ProductGraph, state: ProductState, power: float = 1.0) -> tuple[Proposal, ...]:
    """Per group, the sites that would match the tilted moments at ``state``; of the ``power`` of factors and sites."""
    there = standing(graph, state)
    return tuple(updated(graph, group, state.product, t, power) for group, t in zip(graph.groups, there, strict=True))


def standing(graph: ProductGraph, state: ProductState) -> tuple[Proposal, ...]:
    """What is there, per group, as what would be proposed where nothing changes."""
    parts = zip(state.sites, state.log_normalizers, state.exact, state.status, state.matched, strict=True)
    return tuple(
        Proposal(*part, np.zeros((group.size, int(np.sum(group.kept)) + NUM_STATISTICS * len(group.scalar_at))))
        for group, part in zip(graph.groups, parts, strict=True)
    )


def updated(graph: ProductGraph, group: Group, product: Product, there: Proposal, power: float) -> Proposal:
    """What is proposed for the terms of a group in place of what is ``there``."""
    old, dimension = there.site, group.num_normal + len(group.scalar_at)
    cloud = cloud_of(graph, group, product, design(dimension).z)
    values, fit = log_factors(graph, group, cloud), fit_of(group, cloud)
    lost = quarantined(values, group.plate)
    values = np.where(lost[:, None], 0.0, values)
    relative = values - np.where(lost[:, None], 0.0, site_at(group, old, cloud))
    weights, log_normalizers = softmax(power * relative)
    sound = np.where(np.isfinite(values), values, 0.0)
    found = fit.coefficients(cloud.kind, sound)
    fitted = sound.mean(axis=1, keepdims=True) + along(fit.statistics, cloud.kind, found)
    exact = is_exact_fit(values, fitted, values) & ~there.matched
    steady = exact & is_exact_fit(relative, relative.mean(axis=1, keepdims=True), values)
    poor = is_poor(weights) & ~exact & ~lost
    follow = fit.coefficients(cloud.kind, floored(relative))
    tilted = fit.coefficients(cloud.kind, weights.shape[1] * weights) / power
    change, log_normalizers = np.where(poor[:, None], follow, tilted), log_normalizers / power
    status = np.where(lost, Status.quarantined, np.where(poor, Status.poor_proposal, Status.ok))
    matched = (there.matched | ~exact) & ~lost & group.plate.is_free
    if np.any(matched):
        better, normalizers, sound = _matched(graph, group, product, old, power)
        sound &= matched
        change = np.where(sound[:, None], better, change)
        log_normalizers = np.where(sound, normalizers, log_normalizers)
        status = np.where(sound, Status.ok, status)
    site = np.where(exact[:, None], with_all(group, found, cloud), old + with_all(group, change, cloud))
    site = np.where(lost[:, None], 0.0, np.where(steady[:, None], old, site))
    residual = np.where((lost | exact)[:, None], 0.0, along(fit.root, cloud.kind, change))
    held = lost & np.any(old != 0.0, axis=1)
    return Proposal(
        np.where(held[:, None], old, site),
        np.where(held, there.log_normalizers, np.where(lost, 0.0, log_normalizers)),
        np.where(held, there.exact, exact),
        np.where(held, Status.site_rejected, status),
        np.where(held, there.matched, matched),
        residual,
    )


@lru_cache(maxsize=8)
def _grid(dimension: int, num: int, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n, d) of the trapezoidal rule and log weights (n,) under N(0, I)."""
    nodes = np.linspace(-largest, largest, num)
    z = np.stack(np.meshgrid(*[nodes] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    log_weights = -0.5 * np.sum(z**2, axis=1)
    return z, log_weights - logsumexp(log_weights)


def _matched(
    graph: ProductGraph, group: Group, product: Product, old: np.ndarray, power: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Changes (N, K) of the kept statistics that match the tilted E[T], the log mean (N,) of f / site under the
    posterior, and where both could be had (N,).

    E[T] is that of the posterior, which is known, plus the difference on the grid.
    """
    g, dimension = group.num_normal, group.num_normal + len(group.scalar_at)
    grids = _GRIDS if group.plate.plate.size <= _FEW_DATASETS else _COARSE
    z, log_weights = _grid(dimension, *grids[dimension])
    cloud = cloud_of(graph, group, product, z)
    values = log_factors(graph, group, cloud)
    log_tilted = power * (np.where(np.isfinite(values), values, -np.inf) - site_at(group, old, cloud)) + log_weights
    total = logsumexp(log_tilted, axis=1)
    found = np.isfinite(total)
    total = np.where(found, total, 0.0)
    excess = np.exp(log_tilted - total[:, None]) - np.exp(log_weights)
    excess = np.where(found[:, None], excess, 0.0)
    normal, proper = _normal_change(group, excess, z[:, :g])
    found &= proper
    parts = [normal[:, group.kept]]
    moved = along(np.swapaxes(cloud.statistics, 1, 2), cloud.kind, excess)
    for place in range(len(group.scalar_at)):
        family = graph.scalars[group.scalar[0, place]]
        now = product.natural[group.scalar[:, place]]
        shift = moved[:, NUM_STATISTICS * place : NUM_STATISTICS * (place + 1)]
        message = family.message(now)
        with np.errstate(all="ignore"):
            new = message.natural_from_expectation(message.expectation_parameters + shift)
        found &= np.all(np.isfinite(new), axis=1)
        parts.append(np.where(np.isfinite(new), new, now) - now)
    return np.concatenate(parts, axis=1) / power, total / power, found


def _normal_change(group: Group, excess: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Natural parameters (N, p) in z of the normal distribution with the tilted moments within the blocks, less those
    of N(0, I); ``excess`` (N, n) are its weights at ``z`` (n, g) less those of N(0, I). And whether there is one."""
    if group.num_normal == 0:
        return np.zeros((len(excess), 0)), np.ones(len(excess), dtype=bool)
    unit = np.eye(group.num_normal)
    kept = unpack(group.kept[None].astype(float), group.num_normal)[1][0] > 0
    shift = excess @ z
    second = np.einsum("nk,ki,kj->nij", excess, z, z)
    covariance = np.where(kept, unit + second - shift[:, :, None] * shift[:, None, :], 0.0)
    proper = np.all(np.linalg.eigvalsh(covariance) > 1e-12, axis=1)
    covariance = np.where(proper[:, None, None], covariance, unit)
    return natural_from_moments(shift, covariance) - pack(np.zeros(group.num_normal), unit), proper


def initial_state(graph: ProductGraph, start: Product) -> ProductState | None:
    """Sites regressed at the points of ``start``; None where they have no proper product."""
    sites = []
    for group in graph.groups:
        cloud = cloud_of(graph, group, start, design(group.num_normal + len(group.scalar_at)).z)
        values = log_factors(graph, group, cloud)
        change = fit_of(group, cloud).coefficients(cloud.kind, floored(values))
        sites.append(with_all(group, change, cloud))
    product = product_of(graph, sites)
    if not product.proper:
        return None
    return ProductState(
        sites=tuple(sites),
        log_normalizers=tuple(np.zeros(group.size) for group in graph.groups),
        exact=tuple(np.zeros(group.size, dtype=bool) for group in graph.groups),
        status=tuple(np.full(group.size, Status.ok) for group in graph.groups),
        matched=tuple(np.zeros(group.size, dtype=bool) for group in graph.groups),
        product=product,
        log_evidence=np.nan,
        num_steps=0,
    )


def take_step(
    graph: ProductGraph, state: ProductState, proposals: tuple[Proposal, ...], damping: float
) -> tuple[ProductState, SweepInfo]:
    """Move every site towards its proposal, exact ones all the way; the step is halved while the posterior, or a
    cavity that was proper, would be improper."""
    step, tolerated = damping, _num_improper(graph, state.sites, state.product)
    for _ in range(_MAX_HALVINGS):
        sites = tuple(
            old + np.where(p.exact, 1.0, step)[:, None] * (p.site - old)
            for old, p in zip(state.sites, proposals, strict=True)
        )
        product = product_of(graph, sites)
        if product.proper and _num_improper(graph, sites, product) <= tolerated:
            break
        step *= 0.5
    residual, number = float(np.linalg.norm(residual_of(proposals))), state.num_steps + 1
    if not product.proper:
        rejected = tuple(np.where(s == Status.ok, Status.site_rejected, s) for s in state.status)
        info = SweepInfo(number, state.log_evidence, np.inf, residual, 0.0, sum(map(len, rejected)), 0)
        return replace(state, status=rejected, num_steps=number), info
    log_normalizers = tuple(p.log_normalizers for p in proposals)
    status = tuple(
        np.where(_improper(graph, group, site, product) & (p.status == Status.ok), Status.cavity_improper, p.status)
        for group, site, p in zip(graph.groups, sites, proposals, strict=True)
    )
    new = ProductState(
        sites=sites,
        log_normalizers=log_normalizers,
        exact=tuple(p.exact for p in proposals),
        status=status,
        matched=tuple(p.matched for p in proposals),
        product=product,
        log_evidence=log_evidence_of(graph, state.product, log_normalizers),
        num_steps=number,
    )
    change = change_between(graph, state.product, product)
    num_rejected = int(sum(np.sum(s != Status.ok) for s in status))
    return new, SweepInfo(number, new.log_evidence, change, residual, step, num_rejected, _num_negative(graph, sites))


def change_between(graph: ProductGraph, old: Product, new: Product) -> float:
    """Largest change of a mean in standard deviations, or of a log standard deviation."""
    before, after = (np.sqrt(np.diag(p.normal.covariance)) for p in (old, new))
    shift = np.abs(new.normal.mean - old.normal.mean) / after
    found = [np.max(shift, initial=0.0), np.max(np.abs(np.log(after / before)), initial=0.0)]
    for scalar, first, second in zip(graph.scalars, old.natural, new.natural, strict=True):
        (mean, sd), (later, later_sd) = scalar.scales(first), scalar.scales(second)
        found += [abs(later - mean) / later_sd, abs(np.log(later_sd / sd))]
    return float(max(found))


def _num_improper(graph: ProductGraph, sites: tuple[np.ndarray, ...], product: Product) -> int:
    pairs = zip(graph.groups, sites, strict=True)
    return int(sum(np.sum(_improper(graph, group, site, product)) for group, site in pairs))


def _improper(graph: ProductGraph, group: Group, site: np.ndarray, product: Product) -> np.ndarray:
    """(N,) terms without which the posterior would be no distribution."""
    found = np.zeros(group.size, dtype=bool)
    if group.num_normal:
        _, factor = marginals(product.normal.mean, product.normal.covariance, group.normal)
        _, precision = unpack(group.of_normal(site), group.num_normal)
        found |= np.linalg.eigvalsh(np.swapaxes(factor, 1, 2) @ precision @ factor)[:, -1] > 1.0 + 1e-9
    for place in range(len(group.scalar_at)):
        scalar = graph.scalars[group.scalar[0, place]]
        cavity = product.natural[group.scalar[:, place]] - group.of_scalar(site, place)
        found |= ~scalar.message(cavity).is_proper
    return found


def _num_negative(graph: ProductGraph, sites: tuple[np.ndarray, ...]) -> int:
    """Sites whose precision of the normal variables has a negative eigenvalue: legitimate, counted."""
    found = 0
    for group, site in zip(graph.groups, sites, strict=True):
        if group.num_normal:
            _, precision = unpack(group.of_normal(site), group.num_normal)
            found += int(np.sum(np.linalg.eigvalsh(precision)[:, 0] < 0))
    return found
