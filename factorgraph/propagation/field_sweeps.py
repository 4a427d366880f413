"""Solve a field at many points of its hubs side by side: climb to the modes, then sweep as in `sweep`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from factorgraph.propagation.band import factorised, inverse_in_band
from factorgraph.propagation.field import Field, FieldPosterior, FieldState
from factorgraph.propagation.regression import Update, design, floored, quadratic_design, site_from_z, updated_sites
from messages.multivariate_normal import num_natural, pack, sufficient_statistics, unpack
from searches.status import Status

_MAX_FAILURES = 5
_SHORTEST = 1.0 / 16.0
_RIDGES = (1e-8, 1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4)  # in units of the precision before
_LEAST_RIDGE, _SETTLED = 1.0 / 16.0, 0.1
_RADIUS = 3.0  # of what one term asks for in a step, in standard deviations
_TOLERATED_LOSS, _ROUNDING = 1.0, 1e-9  # nats, and of a log density


class Effort(NamedTuple):
    """Of no mean in sds, and of no log sd, is more than ``tolerance`` left; sweeps from a start that is given and from
    the modes, and steps to these."""

    tolerance: float
    few_sweeps: int
    most_sweeps: int
    climb: int


THOROUGH, ROUGH = Effort(1e-5, 12, 60, 100), Effort(1e-2, 6, 20, 25)


def solve(field: Field, hubs: np.ndarray, start: FieldState | None = None, effort: Effort = THOROUGH) -> FieldPosterior:
    """The field at ``hubs`` (C, R, number of a component's hubs).

    From where it is at another point of the hubs, ``start``, or from the modes where that is not known or does not lead
    to a solution.
    """
    if start is None:
        return _from_modes(field, hubs, effort).found()
    run = _swept(field, hubs, start, effort.few_sweeps, effort.tolerance)
    left = np.flatnonzero(~run.settled)
    if len(left):
        run.replace(left, _from_modes(field, hubs[:, left], effort))
    return run.found()


def _from_modes(field: Field, hubs: np.ndarray, effort: Effort) -> _Run:
    return _swept(field, hubs, climb(field, hubs, effort.climb), effort.most_sweeps, effort.tolerance)


def _swept(field: Field, hubs: np.ndarray, start: FieldState, num_sweeps: int, tolerance: float) -> _Run:
    """Sites that are exact come first: how stiff a chain is depends on the hubs."""
    run = _Run(field, hubs, start, tolerance)
    stiff = np.array([bool(np.all(exact)) for exact in start.exact])
    if np.any(stiff):
        run.sweep(stiff)
    for _ in range(num_sweeps):
        if not run.sweep():
            break
    return run


class _Run:
    """Sweeps of a field at R points of the hubs; those that have settled are left alone."""

    def __init__(self, field: Field, hubs: np.ndarray, start: FieldState, tolerance: float) -> None:
        self.field, self.hubs, self.tolerance, num = field, hubs, tolerance, hubs.shape[1]
        times = num // len(start.mean)
        self.sites = [np.repeat(site, times, axis=1) for site in start.sites]
        self.mean, self.inverse = np.repeat(start.mean, times, axis=0), np.repeat(start.inverse, times, axis=0)
        self.factors = np.zeros_like(self.inverse)
        self.factors[:, 0] = 1.0
        self.ridged = np.ones(num, dtype=bool)
        self.normalizers = [np.zeros((t.plate.plate.size, num)) for t in field.terms]
        self.status = [np.full((t.plate.plate.size, num), Status.ok) for t in field.terms]
        self.exact = [np.zeros((t.plate.plate.size, num), dtype=bool) for t in field.terms]
        self.left = np.full(num, _MAX_FAILURES)
        self.settled, self.step, self.change = np.zeros(num, dtype=bool), np.ones(num), np.full(num, np.inf)

    def sweep(self, chosen: np.ndarray | None = None) -> bool:
        """One sweep of what has not settled, of all plates or those ``chosen``; whether anything is left."""
        field, rows = self.field, np.flatnonzero(~self.settled & (self.left > 0))
        if not len(rows):
            return False
        hubs, mean = self.hubs[:, rows], self.mean[rows]
        inverse = self.inverse[rows]
        new_sites, all_exact = [], np.ones(len(rows), dtype=bool)
        for index, t in enumerate(field.terms):
            if chosen is not None and not chosen[index]:
                new_sites.append(self.sites[index][:, rows])
                all_exact[:] = False
                continue
            points = design(t.dimension)
            centre, factor = field.marginals(mean, inverse, index)
            shape = centre.shape[:2]
            x = centre[:, :, None] + np.einsum("nrij,kj->nrki", factor, points.z)
            values = field.log_factors(index, hubs, x).reshape(-1, len(points.z))
            nowhere = ~np.any(np.isfinite(values.reshape(shape[0], -1)), axis=1)
            lost = np.repeat(nowhere if field.lost is None else field.lost[index], shape[1])
            old = self.sites[index][:, rows].reshape(len(values), -1)
            flat = centre.reshape(len(values), -1), factor.reshape(len(values), t.dimension, t.dimension)
            update = updated_sites(values, old, *flat, points, lost)
            site = _steadied(update, values, *flat)
            exact = update.exact.reshape(shape) | lost.reshape(shape)
            step = np.where(update.exact, 1.0, np.tile(self.step[rows], shape[0]))[:, None]
            new_sites.append((old + step * (site - old)).reshape(*shape, -1))
            self.normalizers[index][:, rows] = update.log_normalizers.reshape(shape)
            self.status[index][:, rows] = update.status.reshape(shape)
            self.exact[index][:, rows] = exact
            all_exact &= np.all(exact, axis=0)
        self._take(rows, new_sites, inverse[:, 0], all_exact)
        if chosen is not None:  # the others have no normalizers yet
            self.settled[rows] = False
        return True

    def _take(self, rows: np.ndarray, new_sites: list[np.ndarray], variance: np.ndarray, all_exact: np.ndarray) -> None:
        """Put the new sites in place; where prior and sites are no distribution, a ridge about the old mean helps."""
        field, old_mean = self.field, self.mean[rows]
        h, band = field.natural(new_sites)
        factors, proper = factorised(band)
        ridge = np.zeros(len(rows))
        for size in _RIDGES:
            improper = np.flatnonzero(~proper)
            if not len(improper):
                break
            ridge[improper] = size
            ridged = band[improper]
            ridged[:, 0] += size / variance[improper]
            factors[improper], proper[improper] = factorised(ridged)
        mean = field.mean_of(factors, h + ridge[:, None] * old_mean / variance)
        inverse = inverse_in_band(factors)
        new_variance = inverse[:, 0]
        with np.errstate(all="ignore"):
            moved = np.max(np.abs(mean - old_mean) / np.sqrt(new_variance), axis=1, initial=0.0)
            change = np.maximum(moved, np.max(0.5 * np.abs(np.log(new_variance / variance)), axis=1, initial=0.0))
        good = np.isfinite(change) & proper
        taken = rows[good]
        for index, sites in enumerate(new_sites):
            self.sites[index][:, taken] = sites[:, good]
        self.mean[taken], self.inverse[taken], self.factors[taken] = mean[good], inverse[good], factors[good]
        self.ridged[rows] = (ridge > 0.0) | ~good
        self.settled[rows] = (ridge == 0.0) & good & (all_exact | (change < self.tolerance * self.step[rows]))
        slower = ~good | (change > self.change[rows])
        self.left[rows] -= ~good
        self.step[rows] = np.where(
            slower, np.maximum(0.5 * self.step[rows], _SHORTEST), np.minimum(1.0, 1.3 * self.step[rows])
        )
        self.change[rows] = np.where(good, change, self.change[rows])

    def replace(self, rows: np.ndarray, other: _Run) -> None:
        """Take the rows of another run in place of one's own."""
        for name in ("sites", "normalizers", "status", "exact"):
            for mine, theirs in zip(getattr(self, name), getattr(other, name), strict=True):
                mine[:, rows] = theirs
        for name in ("mean", "inverse", "factors", "ridged", "settled"):
            getattr(self, name)[rows] = getattr(other, name)

    def found(self) -> FieldPosterior:
        field = self.field
        h, _ = field.natural(self.sites)
        log_evidence = field.log_evidence(self.mean, self.factors, h, self.normalizers)
        return FieldPosterior(
            tuple(self.sites),
            self.mean,
            self.inverse,
            tuple(self.exact),
            self.factors,
            np.where(self.ridged[:, None], -np.inf, log_evidence),
            tuple(self.normalizers),
            tuple(self.status),
            self.settled,
        )


class _Climb:
    """The modes of the components at R points of the hubs: Newton steps from N(0, 1) in the frame, as in `start`.

    Each variable has a ridge, in units of its precision before, that grows where a step left one of its terms worse
    off; a component takes a step unless that leads down.
    """

    def __init__(self, field: Field, hubs: np.ndarray) -> None:
        self.field, self.hubs, num = field, hubs, hubs.shape[1]
        self.mean, self.inverse = np.zeros((num, field.size)), np.zeros((num, field.width + 1, field.size))
        self.inverse[:, 0] = 1.0
        self.kept = (self.mean, self.inverse)
        self.ridge = np.zeros((num, field.size))
        self.best = np.full((num, field.num_components), -np.inf)
        self.known = [np.full((t.plate.plate.size, num), -np.inf) for t in field.terms]
        self.sites = [np.zeros((t.plate.plate.size, num, num_natural(t.dimension))) for t in field.terms]
        self.settled = np.zeros(num, dtype=bool)

    def step(self) -> bool:
        """One step where one is left; whether one was."""
        rows = np.flatnonzero(~self.settled)
        if not len(rows):
            return False
        field, component = self.field, self.field.component
        total, values, sites = self._regressed(rows)
        best = self.best[rows]
        taken = total > best - _TOLERATED_LOSS - _ROUNDING * np.abs(np.where(np.isfinite(best), best, 0.0))
        by_variable = taken[:, component]
        kept_mean, kept_inverse = self.kept[0].copy(), self.kept[1].copy()
        kept_mean[rows] = np.where(by_variable, self.mean[rows], kept_mean[rows])
        kept_inverse[rows] = np.where(by_variable[:, None], self.inverse[rows], kept_inverse[rows])
        self.kept = (kept_mean, kept_inverse)
        self.ridge[rows] = np.where(by_variable, 0.1 * self.ridge[rows], self._held_back(rows, values, by_variable))
        for index, t in enumerate(field.terms):
            by_term = taken[:, t.component].T
            self.known[index][:, rows] = np.where(by_term, values[index], self.known[index][:, rows])
            self.sites[index][:, rows] = np.where(by_term[..., None], sites[index], self.sites[index][:, rows])
        self.best[rows] = np.maximum(total, best)
        self._move(rows)
        return True

    def _move(self, rows: np.ndarray) -> None:
        field, mean, variance = self.field, self.kept[0][rows], self.kept[1][rows, 0]
        h, band = field.natural([site[:, rows] for site in self.sites])
        extra = np.maximum(self.ridge[rows], _LEAST_RIDGE) / variance  # no variance grows more than sixteenfold
        band[:, 0] += extra
        factors, proper = factorised(band)
        new = field.mean_of(factors, h + extra * mean)
        moved = np.max(np.abs(new - mean) / np.sqrt(variance), axis=1, initial=0.0)
        self.mean[rows] = np.where(proper[:, None], new, mean)
        self.inverse[rows] = np.where(proper[:, None, None], inverse_in_band(factors), self.kept[1][rows])
        self.ridge[rows] = np.where(proper[:, None], self.ridge[rows], np.maximum(10.0 * self.ridge[rows], 1.0))
        self.settled[rows] = proper & (moved < _SETTLED) & np.all(self.ridge[rows] <= _LEAST_RIDGE, axis=1)

    def _regressed(self, rows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Log density (R, C) at the means, that of each term (N, R), and the least-squares sites (N, R, p) there."""
        field, hubs, mean, inverse = self.field, self.hubs[:, rows], self.mean[rows], self.inverse[rows]
        phi = field.origin + field.scale * mean
        total = (field.of_component @ np.where(field.whitened, -0.5 * phi**2, 0.0).T).T
        at_mean, sites = [], []
        for index, t in enumerate(field.terms):
            z, solve = quadratic_design(t.dimension)
            centre, factor = field.marginals(mean, inverse, index)
            x = centre[:, :, None] + np.einsum("nrij,kj->nrki", factor, z)
            values = field.log_factors(index, hubs, x).reshape(-1, len(z))
            lost = ~np.any(np.isfinite(values), axis=1)
            values = np.where(lost[:, None], 0.0, values)
            flat = centre.reshape(len(values), -1), factor.reshape(len(values), t.dimension, t.dimension)
            sites.append(site_from_z(_bounded(values, z, solve), *flat).reshape(*centre.shape[:2], -1))
            at_mean.append(np.nan_to_num(values[:, 0], nan=-np.inf).reshape(centre.shape[:2]))
            total = total + (field.terms_of_component[index] @ at_mean[-1]).T
        return total, at_mean, sites

    def _held_back(self, rows: np.ndarray, values: list[np.ndarray], taken: np.ndarray) -> np.ndarray:
        """The ridges, more on the variables of terms that a step left worse off, where it is not taken."""
        worse = np.zeros(taken.shape, dtype=bool)
        for t, old, new in zip(self.field.terms, self.known, values, strict=True):
            term, row = np.nonzero(~(new > old[:, rows] - _TOLERATED_LOSS))
            for place in t.place[term].T:
                worse[row, place] = True
        blamed = (self.field.of_component @ worse.astype(float).T).T > 0  # (R, C)
        worse |= ~blamed[:, self.field.component]
        return np.where(worse, np.maximum(10.0 * self.ridge[rows], 1.0), self.ridge[rows])


def climb(field: Field, hubs: np.ndarray, max_steps: int) -> FieldState:
    """The modes of the components at ``hubs`` (C, R, ...), and the sites regressed there."""
    search = _Climb(field, hubs)
    for _ in range(max_steps):
        if not search.step():
            break
    exact = tuple(np.zeros(site.shape[:2], dtype=bool) for site in search.sites)
    return FieldState(tuple(search.sites), search.mean, search.inverse, exact)


def _bounded(values: np.ndarray, z: np.ndarray, solve: np.ndarray) -> np.ndarray:
    """Coefficients (N, p) of the least-squares quadratics through ``values`` (N, k) at ``z``; of what is not quadratic
    the curvature is made positive, and the slope leads no farther than a few standard deviations."""
    sound = floored(values)
    coefficients = sound @ solve.T
    dimension = z.shape[1]
    if dimension == 0:
        return coefficients
    residual = sound - coefficients @ sufficient_statistics(z).T
    is_quadratic = np.ptp(residual, axis=1) < _ROUNDING * np.maximum(1.0, np.max(np.abs(values), axis=1))
    slope, curvature = unpack(coefficients, dimension)
    eigenvalues, vectors = np.linalg.eigh(curvature)
    eigenvalues = np.abs(eigenvalues)
    along = np.einsum("nji,nj->ni", vectors, slope)
    most = _RADIUS * np.maximum(eigenvalues, 1.0)
    slope = np.einsum("nij,nj->ni", vectors, np.clip(along, -most, most))
    curvature = np.einsum("nij,nj,nkj->nik", vectors, eigenvalues, vectors)
    return np.where(is_quadratic[:, None], coefficients, pack(slope, curvature))


def _steadied(update: Update, values: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The sites (N, p) of an update; those too far from their factors for moments take a step of `climb`."""
    poor = np.flatnonzero(update.status == Status.poor_proposal)
    if not len(poor):
        return update.site
    z = design(mean.shape[1]).z
    solve = np.linalg.pinv(np.concatenate([np.ones((len(z), 1)), sufficient_statistics(z)], axis=1))[1:]
    site = update.site.copy()
    site[poor] = site_from_z(_bounded(values[poor], z, solve), mean[poor], factor[poor])
    return site
