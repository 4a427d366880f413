"""The components of a field as terms over the hubs: log f is the log evidence of a component given its hubs.

That of expectation propagation is exact where the terms are Gaussian given the hubs. Where they are not, draws of the
field are weighted: of a component for which the weights are good, log f is corrected by them, and so are the moments
of its variables; that of others is EP's, whose error the weights then bound only roughly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from factorgraph.errors import GraphError
from factorgraph.graph.coordinate import coordinate_from_value
from factorgraph.graph.plates import SharedVariable
from factorgraph.model.family import Flat
from factorgraph.propagation.band import backward, forward
from factorgraph.propagation.contracted import ContractedPlate, Frozen, Points
from factorgraph.propagation.field import Field, FieldPosterior, FieldTerms
from factorgraph.propagation.field_sweeps import ROUGH, THOROUGH, solve
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.linked import FieldComponents
from factorgraph.propagation.regression import design
from factorgraph.propagation.surrogate import Surrogate
from searches.importance import TRUSTED_K_HAT
from searches.pareto import pareto_k
from searches.quasi import normal_points
from searches.status import Status

_CHECKING_DRAWS, _MOST_CHECKING_VALUES = 512, 2**23
_CORRECTING_DRAWS = 64
_FEWEST_EFFECTIVE = 0.25  # of the draws, of a component that they correct
_REFERENCE_DRAWS = 128
_DEGREES_OF_FREEDOM, _SMALL = 5.0, 8  # of the draws of components of so many variables
_FEWEST_FOR_SURROGATE = 200  # variables
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(11)
_NODE_WEIGHTS = _NODE_WEIGHTS / np.sum(_NODE_WEIGHTS)
_MAX_ROUNDS = 3


@dataclass(frozen=True, eq=False, slots=True)
class FieldReport:
    """The variables of a field given draws of the hubs.

    Attributes
    ----------
    mean, variance
        (n,) in the user's coordinates.
    draws
        (M, n) in coordinates; row m belongs to hub draw m // (M / R).
    means
        (R, n) given the draws of the hubs, in coordinates.
    leave_one_out
        (N,) by part, nats.
    """

    mean: np.ndarray
    variance: np.ndarray
    means: np.ndarray
    draws: np.ndarray
    leave_one_out: tuple[np.ndarray, ...]


class Coordinates:
    """Values of many shared variables at once, those of one kind together."""

    def __init__(self, variables: Sequence[SharedVariable]) -> None:
        groups: dict[object, list[int]] = {}
        for column, s in enumerate(variables):
            groups.setdefault((s.role.family, s.role.kind), []).append(column)
        self._groups = [
            (np.array(columns), variables[columns[0]].role, np.stack([variables[c].parameters for c in columns]))
            for columns in groups.values()
        ]

    def values(self, phi: np.ndarray) -> np.ndarray:
        """In the user's coordinates, (..., n) from coordinates (..., n)."""
        found = np.empty_like(phi)
        for columns, role, parameters in self._groups:
            found[..., columns] = role.value(phi[..., columns], parameters)
        return found


class FieldPlate(ContractedPlate):
    """See `ContractedPlate`; ``inner`` are the plates that touch the field, ``shared`` the hubs."""

    def __init__(
        self,
        plate: FieldComponents,
        inner: Sequence[ContractedPlate],
        shared: Sequence[SharedVariable],
        seed: int,
    ) -> None:
        super().__init__(plate, shared, seed)
        self.method = "field"
        self.components = plate
        self.inner = tuple(inner)
        self.variables = tuple(plate.everything[i] for i in plate.variables)
        parts = zip(plate.parts, self.inner, strict=True)
        terms = [FieldTerms(p, part.place, part.is_field, part.hub, part.component) for part, p in parts]
        whitened = np.array([s.whitened for s in self.variables], dtype=bool)
        self.field = Field(terms, plate.order.width, plate.order.component, whitened, plate.size)
        self.field.origin, self.field.scale = _guess(self.variables)
        self.coordinates = Coordinates(self.variables)
        self.corrected = np.zeros(plate.size, dtype=bool)
        self.k_hat = np.full(plate.size, np.nan)
        self._sizes = np.bincount(plate.order.component, minlength=plate.size).astype(float)
        self._is_rough = True  # until the mode of the hubs is known
        self._is_small = self._sizes <= _SMALL
        self.is_settled = True
        self.is_gaussian = False
        self.status: tuple[np.ndarray, ...] = ()
        self._hub_draws = np.zeros((_REFERENCE_DRAWS, len(shared)))

    @property
    def lost_late(self) -> dict[str, str]:
        return {name: reason for plate in self.inner for name, reason in plate.lost_late.items()}

    @property
    def explored(self) -> bool:
        return True

    @property
    def is_refinable(self) -> bool:
        return False

    @property
    def is_cheap(self) -> bool:
        return False

    @property
    def is_free(self) -> bool:
        return False

    @property
    def takes_many(self) -> bool:
        return False

    # --- exploration ---

    def set_reference(self, phi: np.ndarray) -> bool:
        """Where the hubs are, ``phi`` (n, H); the field is then to be explored again."""
        self._hub_draws = phi
        return True

    _posterior: FieldPosterior  # at the mean of the hubs
    _hubs: np.ndarray  # (C, 1, d), there

    def explore(self, around: Around, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None) -> None:
        """Solve the field at the mean of the hubs; the datasets of its parts are explored about the solution."""
        centre, spread = around.marginals(self.plate.shared_index)
        hubs = centre[:, None]
        self.surrogate = None
        for number in range(_MAX_ROUNDS):
            here = _Here(self, around)
            moved = False
            for plate in self.inner:
                changed = plate.set_reference(here.draws(self._hub_draws)) if proper or number else False
                if plate.explored and (number == 0 or changed or plate.method == "joint"):
                    plate.explore(here, proper=proper or number > 0)
                    moved = True
            self.field.lost = None
            found = solve(self.field, hubs)
            settled = self._reframe(found)
            if settled and not moved and number:
                break
        self._refer(hubs)

    def _refer(self, hubs: np.ndarray) -> None:
        """Solve the field at ``hubs`` (C, 1, d), where all else starts from."""
        self.field.lost = None
        found = solve(self.field, hubs)
        self.field.lost = [np.all(status == Status.quarantined, axis=1) for status in found.status]
        self._posterior, self._hubs = found, hubs
        self.status = tuple(status[:, 0] for status in found.status)
        self.is_gaussian = found.is_exact and not any(plate.explored for plate in self.inner)
        self.is_settled = bool(np.all(found.settled))
        self._check(found, hubs)

    def _reframe(self, found: FieldPosterior) -> bool:
        """Move the frame to where the solution is; whether it was there."""
        field = self.field
        sd = np.sqrt(found.inverse[0, 0])
        mean = found.mean[0]
        there = bool(np.all((np.abs(mean) < 0.5) & (sd > 0.5) & (sd < 2.0)))
        if np.all(np.isfinite(mean)) and np.all(np.isfinite(sd)) and np.all(sd > 0.0):
            field.origin, field.scale = field.origin + field.scale * mean, field.scale * sd
        return there

    def _check(self, found: FieldPosterior, hubs: np.ndarray) -> None:
        """Which components the weights of draws can correct."""
        self.corrected = np.zeros(self.plate.size, dtype=bool)
        if found.is_exact:
            self.k_hat = np.full(self.plate.size, -np.inf)
            return
        largest = max(t.plate.plate.size for t in self.field.terms)
        num = int(np.clip(_MOST_CHECKING_VALUES // largest, _CORRECTING_DRAWS, _CHECKING_DRAWS))
        z, log_gaussian = self._standard(1, num, self.seed, self._is_small)
        _, log_weights = self.field.log_weights(found, hubs, z)
        raw = _finite(log_weights + log_gaussian)[0]
        effective = np.exp(2.0 * logsumexp(raw, axis=1) - logsumexp(2.0 * raw, axis=1)) / num
        self.k_hat = np.where(np.isfinite(effective), np.asarray(pareto_k(raw), dtype=float), np.inf)
        self.corrected = (self.k_hat < TRUSTED_K_HAT) & (effective > _FEWEST_EFFECTIVE)

    def _standard(
        self, num: int, num_draws: int, seed: int | list[int], heavy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws (R, M, n) in pairs z, -z, standard normal or, of ``heavy`` components (C,), t-distributed; and the log
        (R, C, M) of the normal density over that which they have."""
        rng, component, half = np.random.default_rng(seed), self.field.component, -(-num_draws // 2)
        z = rng.standard_normal((num, half, self.field.size))
        stretch = np.sqrt(_DEGREES_OF_FREEDOM / rng.chisquare(_DEGREES_OF_FREEDOM, (num, half, self.plate.size)))
        z *= np.where(heavy, stretch, 1.0)[..., component]
        square = (self.field.of_component @ (z**2).reshape(-1, self.field.size).T).T.reshape(num, half, -1)
        size, df = self._sizes, _DEGREES_OF_FREEDOM
        log_t = gammaln(0.5 * (df + size)) - gammaln(0.5 * df) - 0.5 * size * np.log(0.5 * df)
        log_ratio = -0.5 * square - log_t + 0.5 * (df + size) * np.log1p(square / df)
        log_gaussian = np.moveaxis(np.where(heavy, log_ratio, 0.0), 1, 2)
        pairs = np.stack([z, -z], axis=2).reshape(num, -1, self.field.size)[:, :num_draws]
        return pairs, np.repeat(log_gaussian, 2, axis=2)[..., :num_draws]

    def sharpen(self, around: Around, known: tuple[np.ndarray, Surrogate] | None = None) -> None:
        self._is_rough = False
        here = _Here(self, around)
        for plate in self.inner:
            plate.sharpen(here)
            if plate.explored and plate.surrogate is None:  # it is asked at very many points
                plate.fit_surrogate(here)
        if any(plate.explored for plate in self.inner):
            self._refer(around.marginals(self.plate.shared_index)[0][:, None])
        if self.field.size >= _FEWEST_FOR_SURROGATE or any(plate.explored for plate in self.inner):
            self.fit_surrogate(around)

    # --- evaluation ---

    def integrate(self, points: Points, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hubs = points(np.arange(self.plate.size))
        if hubs.shape[2] == 0:
            value, error = self._integrate(hubs[:, :1])
            return np.repeat(value[chosen], hubs.shape[1], axis=1), np.repeat(error[chosen], hubs.shape[1], axis=1)
        step = self.field.most_points()
        parts = [self._integrate(hubs[:, i : i + step]) for i in range(0, hubs.shape[1], step)]
        values, errors = zip(*parts, strict=True)
        return np.concatenate(values, axis=1)[chosen], np.concatenate(errors, axis=1)[chosen]

    def _integrate(self, hubs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = solve(self.field, hubs, self._posterior, ROUGH if self._is_rough else THOROUGH)
        value, error = found.log_evidence.T.copy(), np.zeros(found.log_evidence.T.shape)
        if np.any(self.corrected) and not self._is_rough:
            z, log_gaussian = self._standard(1, _CORRECTING_DRAWS, self.seed, self.corrected & self._is_small)
            _, log_weights = self.field.log_weights(found, hubs, np.repeat(z, hubs.shape[1], axis=0))
            first = slice(0, _CORRECTING_DRAWS // 2)
            with np.errstate(invalid="ignore"):
                whole = _log_mean(log_weights, log_gaussian).T
                difference = _log_mean(log_weights[..., first], log_gaussian[..., first]).T - whole
            chosen = self.corrected[:, None] & np.isfinite(whole)
            value = np.where(chosen, whole, value)
            error = np.where(chosen & np.isfinite(difference), difference, error)
        return value, error

    def errors_within(self, points: Points) -> tuple[np.ndarray, np.ndarray] | None:
        """Averaged over the field given the hubs at ``points``; part by part."""
        if not any(plate.explored for plate in self.inner):
            return None
        hubs = points(np.arange(self.plate.size))
        step, errors = self.field.most_points(), []
        for start in range(0, hubs.shape[1], step):
            part = hubs[:, start : start + step]
            found = self._solved(part)
            errors.append([self._errors_of(i, part, found).mean(axis=2) for i in range(len(self.inner))])
        by_part = [np.concatenate(parts, axis=1) for parts in zip(*errors, strict=True)]
        return np.concatenate(by_part), np.concatenate([t.component for t in self.field.terms])

    def _errors_of(self, index: int, hubs: np.ndarray, found: FieldPosterior) -> np.ndarray:
        """(N, R, k) of the log factors of a part's datasets, at the points of a sweep."""
        z = design(self.field.terms[index].dimension).z
        centre, factor = self.field.marginals(found.mean, found.inverse, index)
        if not self.inner[index].explored:
            return np.zeros((*centre.shape[:2], len(z)))
        x = centre[:, :, None] + np.einsum("nrij,kj->nrki", factor, z)
        errors = self.field.inner_errors(index, hubs, x)
        return np.where((found.status[index] == Status.quarantined)[..., None], 0.0, errors)

    def inner_errors(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """What the integrals over private variables leave open of the field's means, at the mean of the hubs: (n,) in
        posterior sds; and by part (N,) the largest shift by each dataset. Of the variables that a dataset touches: what
        it does to others is less."""
        found, total, shifts = self._posterior, np.zeros(self.field.size), []
        sd = np.sqrt(found.inverse[0, 0])
        for index, t in enumerate(self.field.terms):
            errors = self._errors_of(index, self._hubs, found)[:, 0]
            z = design(t.dimension).z
            slope = (errors - errors.mean(axis=1, keepdims=True)) @ z / len(z)
            factor = self.field.marginals(found.mean, found.inverse, index)[1][:, 0]
            shift = np.abs(np.einsum("nij,nj->ni", factor, slope)) / sd[t.place]
            np.add.at(total, t.place, shift**2)
            shifts.append(np.max(shift, axis=1, initial=0.0))
        return np.sqrt(total), shifts

    def local_posterior(
        self, phi: np.ndarray | Points, chance: np.ndarray, chosen: np.ndarray | None = None
    ) -> LocalPosterior:
        raise GraphError("a field has no private variables of its own; see FieldPlate.report")

    def frozen(self, rows: np.ndarray) -> Frozen:
        raise GraphError("a field has no frozen form; the contracted target is that of all shared variables")

    @property
    def is_explored(self) -> np.ndarray:
        return np.full(self.plate.size, self.is_settled)

    # --- report ---

    def report(self, phi: np.ndarray, num_draws: int, seed: int) -> FieldReport:
        """The variables given equal-weight draws ``phi`` (R, H) of the hubs, with ``num_draws`` of the field each."""
        hubs = np.moveaxis(phi[:, self.plate.shared_index], 0, 1)  # (C, R, d)
        num, step = len(phi), self.field.most_points()
        centre = self.coordinates.values(self.field.origin)
        first, second = np.zeros(self.field.size), np.zeros(self.field.size)
        draws, densities, means = [], [], []
        for start in range(0, num, step):
            part = hubs[:, start : start + step]
            found = self._solved(part)
            x, log_weights = self._weighted(found, part, num_draws, seed + start)
            moments = self._moments(found, x, log_weights, centre)
            first, second = first + moments[0], second + moments[1]
            draws.append(self._chosen(x, log_weights, num_draws))
            means.append(self.field.origin + self.field.scale * found.mean)
            densities.append([self.field.leave_one_out(found, index) for index in range(len(self.inner))])
        left_out = [
            np.log(num) - logsumexp(-np.concatenate(parts, axis=1), axis=1) for parts in zip(*densities, strict=True)
        ]
        mean = first / num
        phi_draws = self.field.origin + self.field.scale * np.concatenate(draws).reshape(-1, self.field.size)
        return FieldReport(centre + mean, second / num - mean**2, np.concatenate(means), phi_draws, tuple(left_out))

    def points(self, phi: np.ndarray, num_draws: int) -> list[np.ndarray]:
        """For each part the points (N, R num_draws, d) of what its terms touch, with the mean and covariance that they
        have given draws ``phi`` (R, H) of the hubs."""
        hubs = np.moveaxis(phi[:, self.plate.shared_index], 0, 1)
        found = self._solved(hubs)
        return [self._points_of(index, hubs, found, num_draws) for index in range(len(self.inner))]

    def _points_of(self, index: int, hubs: np.ndarray, found: FieldPosterior, num_draws: int) -> np.ndarray:
        t = self.field.terms[index]
        centre, factor = self.field.marginals(found.mean, found.inverse, index)
        z = normal_points(max(num_draws, 2 * t.dimension), t.dimension, seed=6, whiten=True)
        x = centre[:, :, None] + np.einsum("nrij,kj->nrki", factor, z)
        phi = self.field.touched(index, hubs, x)
        return phi.reshape(len(phi), -1, phi.shape[3])

    def variances(self) -> np.ndarray:
        """(n,) of the variables at the mean of the hubs, in coordinates."""
        return self.field.scale**2 * self._posterior.inverse[0, 0]

    def covariances(self, column: int) -> np.ndarray:
        """(n,) of all variables with one of them, at the mean of the hubs, in coordinates."""
        factors, one = self._posterior.factors, np.zeros((1, 1, self.field.size))
        one[..., column] = 1.0
        return self.field.scale[column] * self.field.scale * backward(factors, forward(factors, one))[0, 0]

    def _solved(self, hubs: np.ndarray) -> FieldPosterior:
        if hubs.shape[2] > 0:
            return solve(self.field, hubs, self._posterior)
        return self._posterior.repeated(hubs.shape[1])

    def _weighted(
        self, found: FieldPosterior, hubs: np.ndarray, num_draws: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Draws x (R, M, n) and their log weights (2, R, C, M): for the target, and for EP's normal distribution, which
        is also the target of what is not corrected."""
        num = max(num_draws, _CORRECTING_DRAWS) if np.any(self.corrected) else num_draws
        z, log_gaussian = self._standard(hubs.shape[1], num, [self.seed, seed], self.corrected & self._is_small)
        if not np.any(self.corrected):
            return found.mean[:, None] + backward(found.factors, z), None
        x, log_weights = self.field.log_weights(found, hubs, z)
        log_weights = _finite(log_weights + log_gaussian)
        good = self.corrected[:, None] & np.any(np.isfinite(log_weights), axis=2, keepdims=True)
        return x, np.stack([np.where(good, log_weights, log_gaussian), log_gaussian])

    def _moments(
        self,
        found: FieldPosterior,
        x: np.ndarray,
        log_weights: np.ndarray | None,
        centre: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums (n,) over the hub draws of the mean of value - centre, and of its square."""
        field = self.field
        sd = np.sqrt(found.inverse[:, 0])
        first, second = np.zeros(field.size), np.zeros(field.size)
        for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
            deviation = self.coordinates.values(field.origin + field.scale * (found.mean + node * sd)) - centre
            first += weight * np.sum(deviation, axis=0)
            second += weight * np.sum(deviation**2, axis=0)
        if log_weights is None:
            return first, second
        target, gaussian = np.exp(log_weights - logsumexp(log_weights, axis=3, keepdims=True))
        weights = target - gaussian
        of_variable = weights[:, field.component]  # (R, n, M)
        deviation = self.coordinates.values(field.origin + field.scale * x) - centre
        first += np.einsum("rnm,rmn->n", of_variable, deviation)
        second += np.einsum("rnm,rmn->n", of_variable, deviation**2)
        return first, second

    def _chosen(self, x: np.ndarray, log_weights: np.ndarray | None, num_draws: int) -> np.ndarray:
        """Equal-weight draws (R, num_draws, n), component by component."""
        if log_weights is None:
            return x
        top = np.max(log_weights[0], axis=2, keepdims=True)
        cumulative = np.cumsum(np.exp(log_weights[0] - top), axis=2)
        positions = (np.arange(num_draws) + 0.5) / num_draws * cumulative[..., -1:]
        rows = np.sum(cumulative[..., None, :] < positions[..., :, None], axis=3)  # (R, C, num_draws)
        rows = np.minimum(rows, x.shape[1] - 1)
        rows = np.random.default_rng(self.seed).permuted(rows, axis=2)  # draws of two components are independent
        return np.take_along_axis(x, np.swapaxes(rows[:, self.field.component], 1, 2), axis=1)


class _Here:
    """Hubs and field as a distribution over all shared variables, independent of each other; see `Around`."""

    def __init__(self, plate: FieldPlate, around: Around) -> None:
        components, field = plate.components, plate.field
        num = len(components.everything)
        self._place, self._hub = np.full(num, -1), np.full(num, -1)
        self._place[components.variables] = np.arange(field.size)
        self._hub[components.hubs] = np.arange(len(components.hubs))
        self._origin, self._scale = field.origin, field.scale
        self._plate = plate
        hubs = np.arange(len(components.hubs))[None]
        mean, factor = around.marginals(hubs)
        self._hub_mean, self._hub_covariance = mean[0], factor[0] @ factor[0].T

    def draws(self, hub_draws: np.ndarray) -> np.ndarray:
        """(n, D) of all shared variables; what is neither a hub nor of this field is zero."""
        rng = np.random.default_rng(self._plate.seed)
        components = self._plate.components
        phi = np.zeros((len(hub_draws), len(components.everything)))
        phi[:, components.hubs] = hub_draws
        z = rng.standard_normal((len(hub_draws), len(self._origin)))
        phi[:, components.variables] = self._origin + self._scale * z
        return phi

    def marginals(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """In the frame the field is N(0, 1) by and large; its correlations are left out."""
        place, hub = self._place[index], self._hub[index]
        in_field, in_hubs = place >= 0, hub >= 0
        mean, covariance = np.zeros(index.shape), np.zeros((*index.shape, index.shape[1]))
        mean[in_field] = self._origin[place[in_field]]
        mean[in_hubs] = self._hub_mean[hub[in_hubs]]
        both = in_hubs[:, :, None] & in_hubs[:, None, :]
        if len(self._hub_mean):
            covariance = np.where(both, self._hub_covariance[hub[:, :, None], hub[:, None, :]], 0.0)
        rows, columns = np.nonzero(~in_hubs)
        covariance[rows, columns, columns] = 1.0
        rows, columns = np.nonzero(in_field)
        covariance[rows, columns, columns] = self._scale[place[rows, columns]] ** 2
        return mean, np.linalg.cholesky(covariance)


def _guess(variables: Sequence[SharedVariable]) -> tuple[np.ndarray, np.ndarray]:
    """A frame (n,), (n,) from the priors that the variables were made with."""
    origin, scale = np.zeros(len(variables)), np.ones(len(variables))
    for i, s in enumerate(variables):
        family = getattr(s.variable, "family", None)
        if s.whitened or family is None or isinstance(family, Flat):
            continue
        quantiles = family.from_normal(np.array([-1.0, 0.0, 1.0]), *s.variable.parameters)  # type: ignore[attr-defined]
        with np.errstate(all="ignore"):
            low, middle, high = coordinate_from_value(s.role.kind or "real", quantiles, s.parameters)
        if np.isfinite(low) and np.isfinite(middle) and high > low:
            origin[i], scale[i] = middle, 0.5 * (high - low)
    return origin, scale


def _finite(log_weights: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(log_weights) | (log_weights == np.inf), -np.inf, log_weights)


def _log_mean(log_weights: np.ndarray, log_gaussian: np.ndarray) -> np.ndarray:
    """log of the mean weight (R, C) under the normal distribution, from draws (R, C, M) of another."""
    return logsumexp(_finite(log_weights + log_gaussian), axis=2) - logsumexp(log_gaussian, axis=2)
