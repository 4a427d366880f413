"""A plate with its local variables integrated out: from points in the shared variables to log f of every dataset.

The contract of a `ContractedPlate`. Two classes keep it: `traced.TracedPlate` for likelihoods that JAX can trace, and
`host.HostPlate` for all others. Everything above (start, sweep, correction) sees only ``log_factors``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from factorgraph.graph.coordinate import coordinate_from_value
from factorgraph.graph.density import DatasetArrays, parameters_of
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.model.family import Family, Flat
from factorgraph.propagation.afresh import Afresh
from factorgraph.propagation.blocks import LANES
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.population import is_compressed
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.surrogate import Surrogate, design_points, fit_surrogate, is_accurate, joined, supported
from searches.quasi import normal_points
from searches.status import Status

Points = Callable[[np.ndarray], np.ndarray]

_WIDER = 1.2
_TINY = 1e-250
_FEW_DATASETS = 200
_FREE_DATASETS, _FREE_VARIABLES = 64, 3
_FREE_WORK, _MOST_WORK_TEMPERED = 2**14, 2**20  # of a dataset, of all
_MOST_BYTES = 2**26
_ROWS_AT_ONCE = 512  # of a surrogate
_WIDEST = 4.0  # scale of the reference, in units of the predictive density; more where that has tails
_TAIL, _NORMAL_TAIL = 0.98, 2.33  # a quantile of distances from the median, and that of a normal distribution
_TOLERATED_TAIL = 2.0  # how much farther a predictive density may reach before the reference is wider
MAX_STAGES = 48  # of exploring a dataset; each may narrow the points by half, most datasets need four
_FEWEST_EFFECTIVE = 0.02  # of the points a dataset was explored with
_LARGEST_LOSS = 1.0  # nats
MANY_POINTS = 1024  # of a dataset, that are worth a kernel of their own where nothing is integrated by points
UNKNOWN_SCALES = np.array([0.03, 1.0, 30.0, 1000.0])  # where an improper prior says nothing of the size


@dataclass(frozen=True, slots=True)
class Lane:
    """``name`` is "jax", "host" or, where there are draws in place of a likelihood, "draws", or
    "field" (see `linked`); ``reason`` says why a
    likelihood could not be traced."""

    name: str
    reason: str = ""


class Reach(NamedTuple):
    """How well datasets were explored, (N,) each; see `searches.adaptive_importance.Adaptation`."""

    temperature: np.ndarray
    ess_fraction: np.ndarray
    log_loss: np.ndarray

    @property
    def is_sound(self) -> np.ndarray:
        """(N,) whether the points reached the likelihood itself, enough of them count, and none of it was lost."""
        enough = (self.temperature >= 1.0) & (self.ess_fraction >= _FEWEST_EFFECTIVE)
        return enough & (self.log_loss < _LARGEST_LOSS)


class Frozen(NamedTuple):
    """What log f of some datasets is evaluated from: leading axis n; ``uniform`` are the points of ``joint``."""

    arrays: DatasetArrays
    rule: Any
    uniform: np.ndarray


class ContractedPlate(abc.ABC):
    """A plate, its inner method, and the rule of every dataset.

    Attributes
    ----------
    method
        ``"direct" | "analytic" | "population" | "joint"``; see `inner`.
    local_parameters
        (N, local, 4) coordinates of the local variables.
    shift
        (N, 1 + shared + local) uniform numbers that depend on each dataset's content and the run's seed alone.
    is_escalated
        (N,) datasets explored by the costlier way.
    search_failures
        How the user's search of a dataset failed, by row: such a dataset was explored as if none had been asked for.
    num_rounds
        (N,) how many times the usual number of points each dataset was explored with, last time.
    num_calls
        (N,) points at which each dataset's likelihood was evaluated; one with its derivatives counts once, and Newton's
        steps to the modes of ``joint`` not at all.
    num_represented
        How many datasets these stand for: fewer points serve many of them, whose errors average out.
    resources
        What the run works with.
    """

    def __init__(
        self, plate: Plate, shared: Sequence[SharedVariable], seed: int, resources: Resources = DEFAULT_RESOURCES
    ) -> None:
        self.plate = plate
        self.shared = shared
        self.seed = seed
        self.resources = resources
        self.num_represented = plate.size
        self.journal = resources.journal  # where what cost time is kept
        self.method = "direct"
        self.num_calls = np.zeros(plate.size, dtype=np.int64)
        self.num_rounds = np.zeros(plate.size, dtype=np.int64)
        self.is_escalated = np.zeros(plate.size, dtype=bool)
        self.search_failures: dict[int, str] = {}
        self.surrogate: Surrogate | None = None
        self.local_parameters = plate.arrays.local.copy()
        self._referenced = False
        self._widest = _WIDEST
        self.shift = _shifts(plate.fingerprints(), seed, 1 + plate.signature.num_shared + plate.signature.num_local)

    def reference_scales(self, proper: bool) -> np.ndarray:
        """(K,) of the reference of what is drawn from a parent; see `reference.reference_of`."""
        return self._widest ** np.array([0.0, 0.5, 1.0]) if proper else UNKNOWN_SCALES

    @property
    def lost_late(self) -> dict[str, str]:
        """Datasets lost after something was found of them, by name, and how: what they said is in the answer."""
        return {}

    @property
    def explored(self) -> bool:
        """Whether the method needs its datasets explored before log f can be evaluated."""
        return self.method in ("population", "joint")

    @property
    def is_refinable(self) -> bool:
        """Whether exploring a dataset again, with more points, makes its integrals more accurate."""
        return self.method == "population" and is_compressed(self.plate.signature)

    @property
    def is_cheap(self) -> bool:
        """Whether log f at a few hundred points takes no time worth mentioning."""
        return self.plate.size <= _FEW_DATASETS and self.method != "joint"

    @property
    def is_free(self) -> bool:
        """Whether log f at a few thousand points of every dataset costs nothing, and is exact."""
        few = self.plate.size <= _FREE_DATASETS and 1 <= self.plate.signature.num_shared <= _FREE_VARIABLES
        is_light = self._work <= _FREE_WORK * self.plate.size
        return few and is_light and self.takes_many and self.method in ("direct", "analytic")

    @property
    def is_exact_everywhere(self) -> bool:
        """Whether log f is exact, and a million evaluations of it take seconds."""
        return self.is_cheap and self.takes_many and not self.explored and self._work <= _MOST_WORK_TEMPERED

    @property
    def _work(self) -> int:
        """What log f of all datasets costs: their bytes, for each entry of the matrix of second derivatives."""
        num_bytes = sum(array.nbytes for array in jax.tree.leaves(self.plate.arrays))
        return num_bytes * (1 + self.plate.signature.num_local) ** 2

    @property
    def takes_many(self) -> bool:
        """Whether a batch of datasets at `MANY_POINTS` each needs little memory."""
        num_bytes = sum(array.nbytes for array in jax.tree.leaves(self.plate.arrays)) // max(self.plate.size, 1)
        return num_bytes * LANES * MANY_POINTS <= _MOST_BYTES

    @abc.abstractmethod
    def explore(self, around: Around, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None) -> None:
        """Explore the datasets (all, or the ``chosen`` rows) with the shared variables ``around`` there."""

    def explore_more(self, around: Around, rows: np.ndarray) -> None:
        """Explore the ``rows`` (n,), in ascending order, of which nothing is known, beside others that were taken
        over."""
        self.explore(around, proper=True, chosen=rows)

    def can_take_over(self, other: ContractedPlate) -> bool:
        """Whether what the ``other`` plate has explored could be this plate's own."""
        return False

    def take_over(self, rows: np.ndarray, other: Any, theirs: np.ndarray) -> None:
        """Let what an ``other`` plate explored of its rows ``theirs`` (n,) be known of these ``rows`` (n,), whose data
        are the same. The other one stays as it is."""
        self.method, self._widest, self._referenced = other.method, other._widest, True
        self.local_parameters[rows] = other.local_parameters[theirs]
        self.is_escalated[rows], self.num_rounds[rows] = other.is_escalated[theirs], other.num_rounds[theirs]
        failed = {int(their): int(row) for row, their in zip(rows, theirs, strict=True)}
        self.search_failures.update({failed[k]: said for k, said in other.search_failures.items() if k in failed})

    def sharpen(  # noqa: B027 (most methods are as sharp as they get)
        self, around: Around, known: tuple[np.ndarray, Surrogate] | None = None
    ) -> None:
        """Prepare accurate evaluations with the shared variables ``around`` there, once the mode is found; ``known``
        are rows (n,) and polynomials of these, in this order, from an earlier time."""

    def fit_surrogate(self, around: Around, known: tuple[np.ndarray, Surrogate] | None = None) -> None:
        """Let polynomials serve in place of the integrals ``around`` there, where they are accurate; those ``known``
        as they are, see `sharpen`, where they still serve."""
        num_shared = self.plate.signature.num_shared
        if not supported(num_shared):
            return
        centre, local = around.marginals(self.plate.shared_index)
        fitted, held_back = design_points(num_shared)
        z = np.concatenate([fitted, held_back])
        chosen = everyone = np.arange(self.plate.size)
        if known is not None:
            serving = known[1].serves(centre[known[0]], local[known[0]])
            known = known[0][serving], known[1].of(np.flatnonzero(serving))
            chosen = np.setdiff1d(everyone, known[0])
            if not len(chosen):
                self.surrogate = known[1].of(np.argsort(known[0]))
                return
        values, errors = self.integrate(
            lambda rows: centre[rows][:, None] + np.einsum("bij,nj->bni", local[rows], z), chosen
        )
        finite, num = np.isfinite(values), len(fitted)
        lost = ~np.any(finite, axis=1)
        if not np.all(finite[~lost]):
            return
        surrogate = fit_surrogate(centre[chosen], local[chosen], fitted, values[:, :num], errors[:, :num], lost)
        phi = centre[chosen][:, None] + np.einsum("bij,nj->bni", local[chosen], held_back)
        predicted, _, _ = surrogate.evaluate(np.arange(len(chosen)), phi)
        if is_accurate(values[~lost, num:] - predicted[~lost]):
            order = np.argsort(chosen if known is None else np.concatenate([known[0], chosen]))
            self.surrogate = surrogate if known is None else joined(known[1], surrogate).of(order)

    def log_factors(self, phi: np.ndarray | Points, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """log f (N, n) of each dataset at its own points, and the error (N, n) of its integral.

        Parameters
        ----------
        phi
            Points (n, D) for all datasets, or a function of row indices (B,) that gives their points (B, n, shared).
        chosen
            The rows (N,) that are asked for, in ascending order; by default all.
        """
        points, chosen = self.points_of(phi), np.arange(self.plate.size) if chosen is None else chosen
        if self.surrogate is None:
            return self.integrate(points, chosen)
        parts = [  # a part at a time: the monomials of all datasets would be the largest array of the solution
            self.surrogate.evaluate(rows, points(rows))
            for rows in np.array_split(chosen, max(1, -(-len(chosen) // _ROWS_AT_ONCE)))
        ]
        values, errors, far = (np.concatenate(part) for part in zip(*parts, strict=True))
        columns = np.flatnonzero(np.any(far, axis=0))
        if len(columns):
            found = self.integrate(lambda rows: points(rows)[:, columns], chosen)
            for whole, part in zip((values, errors), found, strict=True):
                whole[:, columns] = np.where(far[:, columns], part, whole[:, columns])
        return values, errors

    @abc.abstractmethod
    def integrate(self, points: Points, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`log_factors` by integrals; ``points`` may be asked for those of rows that are not ``chosen``."""

    def afresh(self, points: Points, chosen: np.ndarray | None = None) -> Afresh | None:
        """log f (N, n) of each dataset, or of the ``chosen`` rows, at its own ``points`` (N, n, shared), by integrals
        done for these alone; None where the method's own are as good."""
        return None

    def errors_within(self, points: Points) -> tuple[np.ndarray, np.ndarray] | None:
        """Where a term is made of datasets: the error (M, n) of the log factor of each of them at ``points`` (N, n,
        shared) of their terms, and which term (M,) that is."""
        return None

    @abc.abstractmethod
    def frozen(self, rows: np.ndarray) -> Frozen:
        """What log f of ``rows`` (n,) is evaluated from.

        Raises
        ------
        GraphError
            Log f calls a likelihood that JAX cannot trace.
        """

    @abc.abstractmethod
    def local_posterior(
        self, phi: np.ndarray | Points, chance: np.ndarray, chosen: np.ndarray | None = None
    ) -> LocalPosterior:
        """Posterior of the locals of all datasets, or of the ``chosen`` rows, given equal-weight draws ``phi`` (M, D);
        ``chance`` (N, M, 1 + local) uniform numbers."""

    @property
    @abc.abstractmethod
    def is_explored(self) -> np.ndarray:
        """(N,) whether the points reached each dataset's own likelihood, and enough of them count."""

    def reported(self, status: np.ndarray) -> np.ndarray:
        """``status`` (N,) of the last updates, and of datasets that these did not object to what is known against
        them: their likelihood was never quite reached, whatever their sites became, or the user's search failed."""
        failed = np.isin(np.arange(self.plate.size), list(self.search_failures))
        known = np.where(failed, Status.search_failed, Status.ok)
        return np.where(status == Status.ok, np.where(self.is_explored, known, Status.poor_proposal), status)

    def chances(self, num: int, part: int = 0) -> np.ndarray:
        """(N, num, 1 + local) uniform numbers: each dataset's own, also where two have the same content, and each
        part's."""
        seen: dict[int, int] = {}
        found = np.empty((self.plate.size, num, 1 + self.plate.signature.num_local))
        for row, seed in enumerate((self.shift[:, 0] * 2**53).astype(np.uint64)):
            seen[int(seed)] = seen.get(int(seed), 0) + 1
            np.random.default_rng([int(seed), seen[int(seed)], self.seed, part]).random(out=found[row])
        return found

    def points_of(self, phi: np.ndarray | Points) -> Points:
        """``phi`` as a function of row indices."""
        if callable(phi):
            return phi
        return lambda rows: np.moveaxis(phi[:, self.plate.shared_index[rows]], 0, 1)

    def set_reference(self, phi: np.ndarray) -> bool:
        """Centre and scale the coordinates of what is drawn from a parent on its predictive density over ``phi`` (n,
        D).

        Returns
        -------
        Whether anything changed: a reference that still covers the predictive density without being much wider is kept.
        """
        positions, parameters, tails = self._wanted_reference(phi)
        if self._referenced and np.all(_adequate(self.local_parameters[:, positions], parameters[:, positions])):
            return False
        self.local_parameters, self._referenced = parameters, True
        self._widest = _WIDEST * max(1.0, tails / _TOLERATED_TAIL)
        return True

    def outgrown(self, phi: np.ndarray) -> np.ndarray:
        """(N,) datasets whose reference does not cover the predictive density over ``phi`` (n, D), or is much wider."""
        positions, parameters, _ = self._wanted_reference(phi)
        return ~_adequate(self.local_parameters[:, positions], parameters[:, positions])

    def set_reference_of(self, rows: np.ndarray, phi: np.ndarray) -> None:
        """`set_reference` of some datasets, which are explored next; the width of references stays that of all."""
        self.local_parameters[rows] = self._wanted_reference(phi)[1][rows]

    def _wanted_reference(self, phi: np.ndarray) -> tuple[list[int], np.ndarray, float]:
        """Positions of what is drawn from a parent, coordinates (N, local, 4) centred on its predictive density over
        ``phi`` (n, D), and how much farther than normal ones its tails reach."""
        signature = self.plate.signature
        drawn = [
            slot for slot, family in signature.draws if not signature.roles[slot].shared and not _is_improper(family)
        ]
        values = self._predictive(phi) if drawn else {}
        parameters, tails = self.local_parameters.copy(), 1.0
        for slot in drawn:
            role = signature.roles[slot]
            unit = parameters[:, None, role.position].copy()
            unit[..., 2:] = (0.0, 1.0)
            with np.errstate(all="ignore"):
                t = coordinate_from_value(role.kind or "real", values[slot], unit)
            low, middle, high = _quantiles(t)
            tails = max(tails, _tail_of(t, middle, 0.5 * (high - low)))
            parameters[:, role.position, 2] = middle
            parameters[:, role.position, 3] = np.maximum(_WIDER * 0.5 * (high - low), 1e-12 * np.abs(middle) + _TINY)
        return [signature.roles[slot].position for slot in drawn], parameters, tails

    def _predictive(self, phi: np.ndarray) -> dict[int, np.ndarray]:
        """Draws (N, n) of every slot, parents first; ``phi`` (n, D) in coordinates."""
        signature, index = self.plate.signature, self.plate.shared_index
        normal = normal_points(len(phi), max(signature.num_local, 1), seed=2)
        normal = np.random.default_rng(2).permutation(normal)  # two Sobol sequences must not be paired point by point
        table = np.stack([s.value(phi[:, i]) for i, s in enumerate(self.shared)]) if len(self.shared) else None
        drawn = {
            slot: k
            for k, (slot, family) in enumerate(signature.draws)
            if not signature.roles[slot].shared and not _is_improper(family)
        }
        improper = {slot for slot, family in signature.draws if _is_improper(family)}
        values: dict[int, np.ndarray] = {}
        for slot, role in enumerate(signature.roles):
            if role.shared:
                values[slot] = table[index[:, role.position]]  # type: ignore[index]
            elif slot in drawn:
                values[slot] = np.zeros((self.plate.size, len(phi)))
            elif role.position in signature.interface or slot in improper:
                values[slot] = role.value(normal[:, role.position], self.local_parameters[:, None, role.position])
            else:
                values[slot] = np.zeros(())  # no parent asks for it
        constants = (None,) * signature.num_constants
        constants += tuple(c[:, None] for c in self.plate.arrays.constants[signature.num_constants :])
        for _ in drawn:  # a draw may be another draw's parameter: as many passes as draws settle every order
            parameters = parameters_of(signature, [values[s] for s in range(len(values))], constants)
            for slot, k in drawn.items():
                drawn_values = signature.draws[k][1].from_normal(
                    normal[:, signature.roles[slot].position], *parameters[k]
                )
                values[slot] = np.broadcast_to(drawn_values, (self.plate.size, len(phi)))
        return values


def _is_improper(family: Family) -> bool:
    """Whether there is nothing to draw from: a flat density without two limits."""
    return isinstance(family, Flat) and not (family.has_lower and family.has_upper)


def _quantiles(t: np.ndarray) -> np.ndarray:
    """Quantiles (3, N) at 0.16, 0.5 and 0.84 of what is finite in each row of ``t`` (N, n)."""
    finite = np.isfinite(t)
    if np.all(finite):  # a hundred times faster
        return np.quantile(t, [0.16, 0.5, 0.84], axis=1)
    return np.nanquantile(np.where(finite, t, np.nan), [0.16, 0.5, 0.84], axis=1)


def _tail_of(t: np.ndarray, middle: np.ndarray, unit: np.ndarray) -> float:
    """How much farther the rows of ``t`` (N, n) reach than normal distributions of the same middle part; at least 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = np.quantile(np.abs(t - middle[:, None]), _TAIL, axis=1) / (_NORMAL_TAIL * unit)
    reach = reach[np.isfinite(reach)]
    return float(max(1.0, np.max(reach, initial=1.0)))


def _adequate(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(N,) whether coordinates (N, k, 4) still serve: centred within half their scale, and at most twice as wide as
    asked."""
    ratio = new[..., 3] / old[..., 3]
    shift = np.abs(new[..., 2] - old[..., 2]) / old[..., 3]
    return np.all((ratio > 0.5) & (ratio < 1.1) & (shift < 0.5), axis=1)


def _shifts(fingerprints: np.ndarray, seed: int, dimension: int) -> np.ndarray:
    """(N, dimension) uniform numbers for datasets with these fingerprints."""
    return np.stack([np.random.default_rng([seed, int(value)]).random(dimension) for value in fingerprints])
