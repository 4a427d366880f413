"""A graph solved before, from which another one with datasets in common goes on.

What a dataset's exploration found is accurate as long as the shared variables have not moved far from where they were.
So datasets with the same numbers keep it, and only the others, and those whose reference the posterior has left, are
explored. The start, the sweeps and the correction are those of every run, and see all datasets: nothing of the earlier
answer is in the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation.contracted import ContractedPlate, Lane
from factorgraph.propagation.gaussian import Gaussian
from factorgraph.propagation.integral_errors import Known
from factorgraph.propagation.lanes import contracted_plate
from factorgraph.propagation.preparation import phi_draws, prior_draws, spread_of
from factorgraph.propagation.resources import Resources
from factorgraph.propagation.start import Start, find_start_from
from factorgraph.propagation.state import ContractedGraph, EPState
from factorgraph.propagation.surrogate import Surrogate

_MOST_OUTGROWN = 0.3  # of the datasets of a plate; where more have to be explored again, all are
_MOVED, _NARROWER, _WIDER = 1.0, 0.5, 2.0  # of the posterior, where integrals whose points follow it still serve
_HARDLY, _HARDLY_WIDER = 0.5, 1.25  # where what an integral done once more had to add is still the same


@dataclass(frozen=True, eq=False, slots=True)
class Earlier:
    """What is worth keeping of a solution, beside what the plates hold.

    Attributes
    ----------
    shared, seed
        The D shared variables, and the seed of all points.
    modes
        Means (D,) and covariances (D, D) in coordinates: EP's posterior, then other modes of the start.
    plates, surrogates
        With what each has explored, and its polynomials at the end of the sweeps.
    added, variances
        Per plate (N,): see `integral_errors.log_factors_corrected`.
    num_rounds
        Per plate (N,): of the explorations to which these belong.
    """

    shared: tuple[SharedVariable, ...]
    seed: int
    modes: tuple[tuple[np.ndarray, np.ndarray], ...]
    plates: tuple[ContractedPlate, ...]
    surrogates: tuple[Surrogate | None, ...]
    added: tuple[np.ndarray, ...]
    variances: tuple[np.ndarray, ...]
    num_rounds: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False, slots=True)
class TakenOver:
    """Of one plate: where each dataset was before, (N,) a row of an ``earlier`` plate, or -1 where it was explored in
    this run; and how often the usual number of points it had been explored with."""

    number: int
    rows: np.ndarray
    num_rounds: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(N,)"""
        return self.rows >= 0

    def without(self, rows: np.ndarray) -> TakenOver:
        left = self.rows.copy()
        left[rows] = -1
        return replace(self, rows=left)


def kept_of(
    shared: tuple[SharedVariable, ...],
    graph: ContractedGraph,
    state: EPState,
    start: Start,
    seed: int,
    added: Sequence[np.ndarray],
    variances: Sequence[np.ndarray],
) -> Earlier:
    """What another run may go on from."""
    others = tuple((other.mean, other.covariance) for other in start.others)
    return Earlier(
        shared,
        seed,
        (state.phi_moments(), *others),
        graph.plates,
        tuple(plate.surrogate for plate in graph.plates),
        tuple(added),
        tuple(variances),
        tuple(plate.num_rounds.copy() for plate in graph.plates),
    )


def go_on(
    shared: tuple[SharedVariable, ...],
    plates: Sequence[Plate],
    lanes: Sequence[Lane],
    seed: int,
    optimiser: object,
    resources: Resources,
    earlier: Earlier,
) -> tuple[ContractedGraph, Start, tuple[TakenOver, ...]] | None:
    """`preparation.prepare`, with what is known of datasets that an earlier run has explored; None where it has none in
    common with this one, or tells nothing of where the shared variables are."""
    modes = _modes(shared, earlier)
    if modes is None or seed != earlier.seed:
        return None
    graph = ContractedGraph(
        tuple(
            contracted_plate(plate, shared, seed, lane, optimiser, resources.of(number))
            for number, (plate, lane) in enumerate(zip(plates, lanes, strict=True))
        ),
        np.array([s.whitened for s in shared], dtype=bool),
    )
    taken = [_taken_over(plate, shared, earlier) for plate in graph.plates]
    if not any(np.any(one.known) for one in taken):
        return None
    around, phi = Gaussian(*modes[0]), phi_draws(modes)
    for number, plate in enumerate(graph.plates):
        taken[number], _ = _explored(plate, taken[number], around, phi)
        plate.sharpen(around, _surrogate_of(plate, taken[number], earlier))
    start = find_start_from(graph, modes)
    found, phi = Gaussian(start.mean, start.covariance), phi_draws(_modes_of(start))
    moved = _is_far(modes[0], (start.mean, start.covariance), _MOVED, _NARROWER, _WIDER)
    surrogates, done = [plate.surrogate for plate in graph.plates], []
    for number, plate in enumerate(graph.plates):
        follows = moved and plate.method == "joint"
        before = taken[number].without(np.arange(plate.plate.size)) if follows else taken[number]
        taken[number], rows = _explored(plate, before, found, phi, is_new=follows)
        done.append(rows)
    if any(len(rows) for rows in done):
        start = find_start_from(graph, _modes_of(start))
        found = Gaussian(start.mean, start.covariance)
    for plate, surrogate, rows in zip(graph.plates, surrogates, done, strict=True):
        left = np.setdiff1d(np.arange(plate.plate.size), rows)
        plate.sharpen(found, None if surrogate is None or not len(left) else (left, surrogate.of(left)))
    return graph, start, tuple(taken)


def known_corrections(
    graph: ContractedGraph,
    state: EPState,
    taken: Sequence[TakenOver],
    earlier: Earlier,
    shared: Sequence[SharedVariable],
) -> list[Known] | None:
    """What `log_factors_corrected` need not do again; None where the posterior has moved too far for that."""
    before = _modes(shared, earlier)
    if before is None or _is_far(before[0], state.phi_moments(), _HARDLY, 1.0 / _HARDLY_WIDER, _HARDLY_WIDER):
        return None
    found = []
    for plate, one in zip(graph.plates, taken, strict=True):
        rows = np.maximum(one.rows, 0)
        is_same = one.known & (plate.num_rounds == earlier.num_rounds[one.number][rows])
        found.append(Known(is_same, earlier.added[one.number][rows], earlier.variances[one.number][rows]))
    return found


# --- where the shared variables are ---


def _modes(shared: Sequence[SharedVariable], earlier: Earlier) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """The modes over the variables of this graph, new ones as wide as their priors; None where these are improper."""
    place = {s.variable: k for k, s in enumerate(earlier.shared)}
    ours = np.array([k for k, s in enumerate(shared) if s.variable in place], dtype=int)
    theirs = np.array([place[shared[k].variable] for k in ours], dtype=int)
    if any(not np.array_equal(shared[k].parameters, earlier.shared[t].parameters) for k, t in zip(ours, theirs)):
        return None
    phi, proper = prior_draws(shared)
    if not len(ours) or (len(ours) < len(shared) and not proper):
        return None
    found = []
    for mean, covariance in earlier.modes:
        middle, wide = np.median(phi, axis=0), np.diag(spread_of(phi) ** 2)
        middle[ours], wide[np.ix_(ours, ours)] = mean[theirs], covariance[np.ix_(theirs, theirs)]
        found.append((middle, wide))
    return found


def _modes_of(start: Start) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(mode.mean, mode.covariance) for mode in (start, *start.others)]


def _is_far(
    old: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    moved: float,
    narrower: float,
    wider: float,
) -> bool:
    """Whether a mean has moved by more than ``moved`` of the smaller standard deviation, or one of these changed."""
    before, after = (np.sqrt(np.diag(covariance)) for _, covariance in (old, new))
    shift, ratio = np.abs(new[0] - old[0]) / np.minimum(before, after), after / before
    return bool(np.any(shift > moved) or np.any(ratio < narrower) or np.any(ratio > wider))


# --- what is known of the datasets ---


def _taken_over(plate: ContractedPlate, shared: Sequence[SharedVariable], earlier: Earlier) -> TakenOver:
    """Let the ``plate`` take over what the earlier one with most datasets in common has explored of these."""
    size = plate.plate.size
    best = TakenOver(0, np.full(size, -1), np.zeros(size, dtype=int))
    keys = None
    for number, other in enumerate(earlier.plates):
        if not other.explored or other.plate.signature != plate.plate.signature or not plate.can_take_over(other):
            continue
        keys = _keys(plate.plate, shared) if keys is None else keys
        places = {key: row for row, key in enumerate(_keys(other.plate, earlier.shared))}
        rows = np.array([places.get(key, -1) for key in keys])
        if np.sum(rows >= 0) > np.sum(best.known):
            best = TakenOver(number, rows, other.num_rounds[np.maximum(rows, 0)])
    mine = np.flatnonzero(best.known)
    if len(mine):
        plate.take_over(mine, earlier.plates[best.number], best.rows[mine])
    return best


def _keys(plate: Plate, shared: Sequence[SharedVariable]) -> list[tuple[bytes, tuple[int, ...]]]:
    """Of each dataset, its numbers, those of its priors, and which shared variables it touches."""
    arrays = [*plate.arrays.constants, plate.arrays.shared, plate.arrays.local]
    flat = [np.ascontiguousarray(array.reshape(plate.size, -1)) for array in arrays]
    variables = [id(s.variable) for s in shared]
    return [
        (
            hashlib.blake2b(b"".join(array[row].tobytes() for array in flat), digest_size=16).digest(),
            tuple(variables[k] for k in plate.shared_index[row]),
        )
        for row in range(plate.size)
    ]


def _explored(
    plate: ContractedPlate, taken: TakenOver, around: Gaussian, phi: np.ndarray, *, is_new: bool = True
) -> tuple[TakenOver, np.ndarray]:
    """Explore the datasets that are not known (where these are new), and those whose reference does not cover ``phi``
    (n, D): what is still taken over, and the rows (n,) that were explored."""
    everyone, nothing = np.arange(plate.plate.size), np.zeros(0, dtype=int)
    if not plate.explored or (is_new and not np.any(taken.known)):
        plate.set_reference(phi)  # what had looked Gaussian from afar may look otherwise
        if not plate.explored:
            return taken, nothing
        plate.explore(around, proper=True)
        return taken.without(everyone), everyone
    unknown = ~taken.known & is_new
    needed = unknown | plate.outgrown(phi)
    if not np.any(needed):
        return taken, nothing
    if np.sum(needed & ~unknown) > _MOST_OUTGROWN * len(needed):
        plate.set_reference(phi)
        plate.explore(around, proper=True)
        return taken.without(everyone), everyone
    rows = np.flatnonzero(needed)
    plate.set_reference_of(rows, phi)
    plate.explore_more(around, rows)
    return taken.without(rows), rows


def _surrogate_of(plate: ContractedPlate, taken: TakenOver, earlier: Earlier) -> tuple[np.ndarray, Surrogate] | None:
    """Rows of the plate, and the polynomials that are known of these."""
    surrogate, rows = earlier.surrogates[taken.number] if earlier.surrogates else None, np.flatnonzero(taken.known)
    if surrogate is None or not len(rows):
        return None
    return rows, surrogate.of(taken.rows[rows])
