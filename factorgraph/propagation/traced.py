"""Plates whose likelihood JAX can trace: blocks of datasets through the kernels of `inner`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from factorgraph.checkpoint.journal import NOTHING_KEPT, Piece
from factorgraph.graph.density import DatasetArrays
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner, joint, population
from factorgraph.propagation.afresh import FEWEST_POINTS, Afresh, log_factors_afresh
from factorgraph.propagation.analytic import Centre
from factorgraph.propagation.blocks import LANES, Block, block_size, blocks_of, gathered
from factorgraph.propagation.contracted import (
    MANY_POINTS,
    MAX_STAGES,
    ContractedPlate,
    Frozen,
    Points,
    Reach,
)
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.kernel import counts, over_devices
from factorgraph.propagation.population import NUM_COMPONENTS
from factorgraph.propagation.reference import DatasetTarget, Frame
from factorgraph.propagation.regression import num_points
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.searched import NOT_THERE, explored_by
from factorgraph.propagation.surrogate import Surrogate
from searches.adaptive_importance import Adaptation, point_table, unexplored
from searches.quasi import normal_points, uniform_points
from searches.target import Target

_GAUSSIAN_TOLERANCE = 1e-10
_LINES, _LINE_SCALES = 16, (0.5, 1.0, 2.0, 4.0)
_ADAPTATION_POINTS = {1: 128, 2: 192, 3: 192, 4: 512}  # by the number of dimensions explored; 1,024 beyond
_FINAL_POINTS = {1: 512, 2: 1024, 3: 1024, 4: 2048}  # 4,096 beyond
_CONDITIONAL_POINTS = 128  # of ``joint`` while the mode is sought
_SHARP_POINTS, _MOST_SHARP_POINTS = {1: 512, 2: 2048}, 4096  # of ``joint`` thereafter
_FEWEST_FOR_SURROGATE = {"joint": 40, "population": 200}  # datasets; fewer are integrated anew at every point
_FEW_JOINT_DATASETS = 20
_POINTS_PER_CALL = 16  # of ``joint``
_JOINT_ADAPTATION_POINTS = 1024
_ROUNDS = ((200, 8), (500, 4))  # of the final sample, up to so many datasets; one beyond
_AFRESH_ROUNDS = ((100, 16), (500, 8))  # of the integral done once more, up to so many datasets; 4 beyond
_AFRESH_SEQUENCE = 16  # the most; each has half as many points as one of the final sample
_EASY_FRACTION = 0.55  # of the final sample: many datasets of which so many points count need only half of the rounds
_FEW_AFRESH = 512  # effective points; a dataset with fewer takes all rounds
_SEQUENCE = 8  # rounds of one sequence of points: their error falls faster than that of independent ones
_NODES = 256  # of what is compressed
_MANY_DATASETS = 2000  # whose points, where all are kept, would take much memory; whose errors average out
_NUM_COMPONENTS = {1: 8, 2: 24, 3: 16}  # fitted to the samples of a search, by the number of dimensions; 8 beyond
_SUSPECT_LOSS, _SUSPECT_SHARE = 0.4, 0.1  # nats; good datasets lose at most 0.3
_BLOCKS_AT_ONCE = 16  # are explored, and again where that is needed, before others: two sets of nodes, but not of all
_MOST_IMPROVEMENTS, _GOOD_FRACTION, _WORTHWHILE = 3, 0.4, 1.3


def _rounds_for(size: int) -> int:
    """Of the final sample, for a plate of ``size`` datasets."""
    return next((more for most, more in _ROUNDS if size <= most), 1)


def _on_host(rule: Any) -> Any:
    """A block's rule as arrays of the host's own, which can be written to."""
    return jax.tree.map(np.array, rule)


def _put(rule: Any, part: Any, inside: np.ndarray) -> None:
    """Write ``part`` (n, ...) into a block's rule (B, ...) where ``inside`` (B,)."""
    for values, new in zip(jax.tree.leaves(rule), jax.tree.leaves(part), strict=True):
        values[inside] = new


class _OnDemand(Sequence[DatasetArrays]):
    """The data of each block, made anew whenever one is asked for."""

    def __init__(self, make: Callable[[np.ndarray], DatasetArrays], blocks: Sequence[Block]) -> None:
        self._make, self._blocks = make, blocks

    def __getitem__(self, number: Any) -> Any:
        return self._make(self._blocks[number].rows)

    def __len__(self) -> int:
        return len(self._blocks)


class TracedPlate(ContractedPlate):
    """See `ContractedPlate`; rules are kept by block, on the host: of the nodes only a block is on the device.

    Parameters
    ----------
    optimiser
        A search with ``explore(target, seed=)`` that explores each dataset in place of adaptive importance sampling,
        or None. Its samples become the proposal; the integral is still that of importance sampling, with its own error.
    """

    def __init__(
        self,
        plate: Plate,
        shared: Sequence[SharedVariable],
        seed: int,
        *,
        optimiser: Any = None,
        resources: Resources = DEFAULT_RESOURCES,
    ) -> None:
        super().__init__(plate, shared, seed, resources)
        self._optimiser = optimiser
        arrays = jax.tree.leaves(plate.arrays)
        each = resources.block_size or block_size(sum(a.nbytes for a in arrays) // max(plate.size, 1), plate.size)
        found = resources.found_devices
        self._devices = found if plate.size > LANES else found[:1]
        self._block_size = each * len(self._devices)
        self._sharding = over_devices(self._devices)
        self._blocks = blocks_of(np.arange(plate.size), self._block_size)
        self._arrays: Sequence[DatasetArrays] = ()
        self._upload()
        self.method = self._choose_method()
        self._rules: list[Any] = [None] * len(self._blocks)
        self._num_points = _CONDITIONAL_POINTS
        self._scales: Any = None
        if self.method == "analytic":
            self._rules = [Centre(np.zeros((self._block_size, plate.signature.num_local)))] * len(self._blocks)

    def _upload(self) -> None:
        """Blocks of data on the device, where all of them have room there; otherwise each when it is needed."""
        on_demand = _OnDemand(self._block_arrays, self._blocks)
        self._arrays = list(on_demand) if len(self._blocks) <= _BLOCKS_AT_ONCE else on_demand

    def _block_arrays(self, rows: np.ndarray) -> DatasetArrays:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        found = jax.tree.map(lambda array: array[rows], arrays)
        if self.plate.signature.single:
            num = self.plate.signature.num_constants
            data = (c.astype(np.float32) if c.dtype.kind == "f" else c for c in found.constants[:num])
            found = found._replace(constants=(*data, *found.constants[num:]))
        return self._put(found)

    def _put(self, arrays: Any) -> Any:
        """A tree of arrays with a leading axis over the datasets of a block, on the device or in parts on all."""
        return jax.device_put(arrays, self._sharding)

    def _divided(self, count: np.int64) -> np.int64 | np.ndarray:
        """Of the first ``count`` datasets of a block, how many each device has."""
        return counts(count, self._block_size, self._devices)

    # --- method ---

    def _choose_method(self) -> str:
        signature = self.plate.signature
        if signature.num_local == 0:
            return "direct"
        if self._optimiser is None and self._is_gaussian(normal_points(_LINES, len(self.shared), seed=1)):
            return "analytic"
        return "joint" if signature.reads_shared else "population"

    def _is_gaussian(self, phi: np.ndarray) -> bool:
        """Whether log L p(z | phi) is quadratic in z for every dataset, along random lines of several lengths about
        the origin of its coordinates; ``phi`` (lines, D)."""
        local, points = self.plate.signature.num_local, self.points_of(phi)
        scale = np.resize(_LINE_SCALES, _LINES)[:, None]
        ends = scale * normal_points(2 * _LINES, local, seed=1).reshape(2, _LINES, local)
        start, step = jax.device_put(ends[0]), jax.device_put(0.5 * ends[1])
        signature = replace(self.plate.signature, single=False)
        worst = [
            inner.third_differences(
                signature,
                arrays,
                self._put(points(block.rows)),
                start,
                step,
                self._divided(block.num),
                devices=self._devices,
            )
            for arrays, block in zip(self._arrays, self._blocks, strict=True)
        ]
        found = gathered(worst, self._blocks)
        found = found[~np.isnan(found)]  # a dataset whose likelihood is finite nowhere has no say: it is quarantined
        return bool(len(found)) and bool(np.all(found < _GAUSSIAN_TOLERANCE))

    # --- exploration ---

    def set_reference(self, phi: np.ndarray) -> bool:
        changed = super().set_reference(phi)
        if changed:
            self._upload()
        if self.method == "analytic" and not self._is_gaussian(phi[:_LINES]):  # only from afar
            self.method = "joint" if self.plate.signature.reads_shared else "population"
            return True
        return changed

    def explore(self, around: Around, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None) -> None:
        if not self.explored:
            return
        self.surrogate, self._num_points = None, _CONDITIONAL_POINTS
        if chosen is None:
            self._rules = [None] * len(self._blocks)  # two sets of nodes would double the memory of a large plate
        scales = self._scales = jax.device_put(self.reference_scales(proper))
        blocks = self._blocks if chosen is None else blocks_of(chosen, self._block_size)
        run = None if self._optimiser is None else self._optimiser.explore
        self.num_rounds[slice(None) if chosen is None else chosen] = rounds
        rounds *= _rounds_for(self.num_represented)
        if self.method == "joint":  # its points are found anew at every phi
            rules = self._explore_joint(blocks, scales, around, run)
            if chosen is None:
                self._rules = rules
            else:
                self._replace(rules, blocks, chosen)
        elif chosen is None:
            self._explore_all(scales, rounds, run)
        else:
            self._replace(self._explore_population(blocks, scales, rounds, self._known(blocks)), blocks, chosen)

    def can_take_over(self, other: ContractedPlate) -> bool:
        if type(other) is not type(self) or other._optimiser is not self._optimiser:
            return False
        if other.method == "joint":
            return True
        ours, theirs = self.plate.size, other.plate.size
        kept_all = not population.is_compressed(self.plate.signature)  # then the number of nodes depends on the size
        return _rounds_for(ours) <= _rounds_for(theirs) and not (
            kept_all and (ours > _MANY_DATASETS) != (theirs > _MANY_DATASETS)
        )

    def take_over(self, rows: np.ndarray, other: TracedPlate, theirs: np.ndarray) -> None:
        super().take_over(rows, other, theirs)
        self._scales, rule = other._scales, other._rule_of(theirs)
        place = np.zeros(self.plate.size, dtype=int)  # of others, as if they were the first, until they are explored
        place[rows] = np.arange(len(rows))
        self._rules = [
            jax.tree.map(lambda array, at=place[block.rows]: np.ascontiguousarray(array[at]), rule)
            for block in self._blocks
        ]
        self._upload()

    def set_reference_of(self, rows: np.ndarray, phi: np.ndarray) -> None:
        super().set_reference_of(rows, phi)
        self._upload()

    def explore_more(self, around: Around, rows: np.ndarray) -> None:
        self.surrogate, self.num_rounds[rows] = None, 1
        blocks, run = blocks_of(rows, self._block_size), None if self._optimiser is None else self._optimiser.explore
        if self.method == "joint":
            self._replace(self._explore_joint(blocks, self._scales, around, run), blocks, rows)
            return
        scales, rounds = self._scales, _rounds_for(self.num_represented)
        self.is_escalated[rows] = False
        self._replace(self._explore_population(blocks, scales, rounds, self._starts(blocks, run)), blocks, rows)
        if run is not None:
            self._distrust(scales, rounds, rows)
        self._improve(scales, rounds, rows)
        self._escalate(scales, rounds, rows if run is None else np.intersect1d(rows, list(self.search_failures)))

    def _explore_all(self, scales: Any, rounds: int, run: Any) -> None:
        """Explore every dataset of a population: by importance sampling, or a search ``run``; then those again that it
        may not have reached."""
        self.is_escalated[:] = False
        everything = np.arange(self.plate.size)
        for first in range(0, len(self._blocks), _BLOCKS_AT_ONCE):
            part = self._blocks[first : first + _BLOCKS_AT_ONCE]
            found = self._explore_population(part, scales, rounds, self._starts(part, run))
            self._rules[first : first + _BLOCKS_AT_ONCE] = found
            if run is None:
                self._improve(scales, rounds, np.concatenate([block.rows[: int(block.num)] for block in part]))
        if run is not None:
            self._distrust(scales, rounds, everything)
            self._improve(scales, rounds, everything)
        self._escalate(scales, rounds, everything if run is None else np.array(list(self.search_failures), int))

    def _improve(self, scales: Any, rounds: int, chosen: np.ndarray) -> None:
        """Explore those of the ``chosen`` rows again, from the nodes found, of whose final sample few points count: it
        met what the adaptation had missed."""
        before = np.zeros(self.plate.size)
        for _ in range(_MOST_IMPROVEMENTS):
            now = self._sample_fractions(chosen)
            rows = chosen[((now > _WORTHWHILE * before) & (now < _GOOD_FRACTION))[chosen]]
            if not len(rows):
                return
            blocks, before = blocks_of(rows, self._block_size), now
            rules = self._explore_population(blocks, scales, rounds, self._known(blocks))
            self._replace(rules, blocks, rows, gathered([r.sample_fraction for r in rules], blocks) > now[rows])

    def _sample_fractions(self, chosen: np.ndarray) -> np.ndarray:
        """(N,) of the final sample, how many points count; known of the ``chosen`` rows, and of their neighbors."""
        found = np.zeros(self.plate.size)
        for number in np.unique(chosen // self._block_size):
            rows, num = self._blocks[number]
            found[rows[: int(num)]] = np.asarray(self._rules[number].sample_fraction)[: int(num)]
        return found

    def _distrust(self, scales: Any, rounds: int, chosen: np.ndarray) -> None:
        """Explore as if no search had been asked for those of the ``chosen`` rows to which its samples did not lead.

        Before any improvement: a mixture fitted to the one point that counts would confirm itself.
        """
        rows = np.intersect1d(np.flatnonzero(~self._reach().is_sound), chosen)
        rows = np.setdiff1d(rows, list(self.search_failures))
        if not len(rows):
            return
        blocks = blocks_of(rows, self._block_size)
        self._replace(self._explore_population(blocks, scales, rounds, self._starts(blocks, None)), blocks, rows)
        self.search_failures.update(dict.fromkeys(rows[self._reach().is_sound[rows]].tolist(), NOT_THERE))

    def _escalate(self, scales: Any, rounds: int, chosen: np.ndarray) -> None:
        """Explore those of the ``chosen`` rows by sequential Monte Carlo that importance sampling may not have reached:
        many modes, curved ridges.

        Datasets of a plate are alike: where many are suspect, so are those in which nothing shows.
        """
        reach = self._reach()
        possible = np.isin(np.arange(self.plate.size), chosen) & (reach.ess_fraction > 0.0)  # zero: nothing to find
        suspect = possible & (~reach.is_sound | (reach.log_loss > _SUSPECT_LOSS))
        rows = np.flatnonzero(possible if np.mean(suspect | self.is_escalated) >= _SUSPECT_SHARE else suspect)
        if not len(rows):
            return
        self._explore_by_particles(scales, rounds, rows)

    def _explore_by_particles(self, scales: Any, rounds: int, rows: np.ndarray) -> None:
        blocks = blocks_of(rows, self._block_size)
        rules = self._explore_population(blocks, scales, rounds, self._starts(blocks, None), by_particles=True)
        self._replace(rules, blocks, rows)
        self.is_escalated[rows] = True
        self._improve(scales, rounds, rows)

    def _starts(self, blocks: list[Block], run: Any) -> list[Adaptation]:
        """For each block, where the exploration of its datasets starts: nothing known, or what a search ``run``
        found."""
        signature = self.plate.signature
        if run is None:
            one = unexplored(NUM_COMPONENTS, signature.num_local)
            repeated = self._put(jax.tree.map(lambda a: np.broadcast_to(a, (self._block_size, *a.shape)), one))
            return [repeated] * len(blocks)
        frame = Frame(np.zeros(signature.num_shared), np.eye(signature.num_shared))
        return [self._explored(rows, count, [frame] * len(rows), run) for rows, count in blocks]

    def _known(self, blocks: list[Block]) -> list[Adaptation]:
        """For each block, the outcome of an earlier exploration of its datasets."""
        found = []
        for rows, num in blocks:
            rules = self._taken(self._rules, rows[: int(num)])
            each = [population.fitted_to(jax.tree.map(lambda a, i=i: a[i], rules)) for i in range(int(num))]
            fitted = jax.tree.map(lambda *parts: np.stack(parts), *each)
            done, none = np.ones(int(num)), np.zeros(int(num), int)
            start = Adaptation(fitted, done, done, rules.log_loss, none)
            every = np.minimum(np.arange(len(rows)), int(num) - 1)
            found.append(self._put(jax.tree.map(lambda a, every=every: a[every], start)))
        return found

    def _replace(
        self, rules: list[Any], blocks: list[Block], chosen: np.ndarray, kept: np.ndarray | None = None
    ) -> None:
        """Put the rules of the sorted ``chosen`` rows, found in ``blocks``, in their places; all, or those ``kept``."""
        places = np.arange(len(chosen)) if kept is None else np.flatnonzero(kept)
        for number in np.unique(chosen[places] // self._block_size):
            rows = self._blocks[number].rows
            inside = np.isin(rows, chosen[places])
            part = self._taken(rules, np.searchsorted(chosen, rows[inside]))
            _put(self._rules[number], part, inside)

    def _explore_population(
        self, blocks: list[Block], scales: Any, rounds: int, starts: list[Adaptation], by_particles: bool = False
    ) -> list[Any]:
        signature = self.plate.signature
        dimension = signature.num_local
        adaptation, final = _ADAPTATION_POINTS.get(dimension, 1024), _FINAL_POINTS.get(dimension, 4096)
        if not population.is_compressed(signature):
            final *= 1 if self.plate.size > _MANY_DATASETS else 2 if signature.interface else 8
        table = jax.device_put(point_table(adaptation, dimension, MAX_STAGES, self.seed))
        length = _SEQUENCE if population.is_compressed(signature) else 1
        sequence = uniform_points(length * final, 1 + dimension, self.seed + 1)
        more_uniform = jax.device_put(sequence.reshape(length, final, 1 + dimension))

        def explored(rows: np.ndarray, count: np.int64, start: Adaptation) -> Any:
            return _on_host(
                population.explore(
                    signature,
                    self._block_arrays(rows),
                    scales,
                    table,
                    more_uniform,
                    self._put(self.shift[rows][:, : 1 + dimension]),
                    start,
                    np.bool_(by_particles),
                    np.int64(rounds),
                    self._divided(count),
                    _NODES,
                    devices=self._devices,
                )
            )

        of_all = (adaptation, more_uniform.shape, rounds, by_particles)
        pieces = [
            Piece(
                (of_all, self.shift[rows], int(count)),
                (scales, self.local_parameters[rows], *jax.tree.leaves(start)),
                partial(explored, rows, count, start),
            )
            for (rows, count), start in zip(blocks, starts, strict=True)
        ]
        found = self.journal.each("population", pieces)
        self._count([rule.num_calls for rule in found], blocks)
        return found

    def _explore_joint(self, blocks: list[Block], scales: Any, around: Around, run: Any) -> list[Any]:
        signature = self.plate.signature
        dimension = signature.num_shared + signature.num_local
        table = jax.device_put(point_table(_JOINT_ADAPTATION_POINTS, dimension, MAX_STAGES, self.seed))

        def explored(rows: np.ndarray, count: np.int64, mean: np.ndarray, local: np.ndarray, start: Any) -> Any:
            frame = self._put(Frame(mean, local))
            arrays, shift, num = self._block_arrays(rows), self._put(self.shift[rows]), self._divided(count)
            return _on_host(
                joint.explore(signature, arrays, scales, table, shift, frame, num, start, devices=self._devices)
            )

        pieces = []
        for rows, count in blocks:
            mean, local = around.marginals(self.plate.shared_index[rows])
            frames = [Frame(*pair) for pair in zip(mean, local, strict=True)]
            start = None if run is None else self._explored(rows, count, frames, run)
            near = (scales, self.local_parameters[rows], mean, local, *jax.tree.leaves(start))
            make = partial(explored, rows, count, mean, local, start)
            pieces.append(Piece((self.shift[rows], int(count)), near, make))
        rules = self.journal.each("joint", pieces)
        self._count([rule.num_calls for rule in rules], blocks)
        return rules

    def _count(self, num_calls: list[Any], blocks: list[Block]) -> None:
        rows = np.concatenate([block.rows[: int(block.num)] for block in blocks])
        self.num_calls[rows] += gathered(num_calls, blocks)

    def _explored(self, rows: np.ndarray, count: np.int64, frames: Sequence[Frame], run: Any) -> Adaptation:
        """What a search, ``run(target, seed=)``, found of the datasets of a block, repeats with what they repeat; of
        those at which it failed, nothing."""
        is_joint, arrays = self.method == "joint", self.plate.arrays._replace(local=self.local_parameters)
        signature = self.plate.signature
        names = tuple(f"x{i}" for i in range(signature.num_local + is_joint * signature.num_shared))
        pieces = []
        for row, frame in zip(rows[: int(count)], frames, strict=False):
            data = (jax.tree.map(lambda array, row=row: array[row], arrays), frame)
            target = Target(names=names, log_likelihood=DatasetTarget(signature, is_joint), data=data)
            seed = [self.seed, int(self.shift[row, 0] * 2**53)]
            make = partial(explored_by, run, target, _NUM_COMPONENTS.get(len(names), 8), seed)
            pieces.append(Piece((self.method, self.shift[row]), (self.local_parameters[row], *frame), make))
        found = self.journal.each("search", pieces)
        for row, one in zip(rows, found, strict=False):
            self.search_failures.pop(int(row), None)
            if one.failure:
                self.search_failures[int(row)] = one.failure
        every = np.minimum(np.arange(len(rows)), int(count) - 1)
        return jax.tree.map(lambda *parts: self._put(np.stack(parts)[every]), *(one.adaptation for one in found))

    def sharpen(self, around: Around, known: tuple[np.ndarray, Surrogate] | None = None) -> None:
        if self.method == "joint":
            self._num_points = _SHARP_POINTS.get(self.plate.signature.num_local, _MOST_SHARP_POINTS)
        if self.explored and self.plate.size >= _FEWEST_FOR_SURROGATE[self.method]:
            self.fit_surrogate(around, known)

    # --- evaluation ---

    @property
    def is_cheap(self) -> bool:
        return super().is_cheap or (self.method == "joint" and self.plate.size <= _FEW_JOINT_DATASETS)

    def _uniform(self) -> Any:
        """Standardised points of the ``joint`` method; consecutive halves are its two half-samples."""
        dimension = 1 + self.plate.signature.num_local
        if self.method != "joint":
            return np.zeros((2, dimension))
        return jax.device_put(uniform_points(self._num_points, dimension, self.seed + 2))

    def integrate(self, points: Points, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        uniform = self._uniform()
        wanted = np.zeros(self.plate.size, dtype=bool)
        wanted[chosen] = True
        needed = [i for i, block in enumerate(self._blocks) if np.any(wanted[block.rows])]
        blocks = [self._blocks[i] for i in needed]
        journal = (
            self.journal if self.method == "joint" else NOTHING_KEPT
        )  # the others call no likelihood, or few times

        def pieces() -> Iterator[Piece]:
            for number, block in zip(needed, blocks, strict=True):
                at = points(block.rows)
                exact = (self._num_points, *self._known_of(block.rows, self._rules[number]), int(block.num), at)
                yield Piece(exact, (), partial(self._block_factors, number, uniform, at, block.num))

        parts = journal.each("integrals", pieces())
        values, errors = gathered(parts, blocks)
        evaluated = np.concatenate([block.rows[: block.num] for block in blocks])
        if self.method != "population":  # whose nodes are re-weighted without a call
            self.num_calls[evaluated] += values.shape[1] * (uniform.shape[0] if self.method == "joint" else 1)
        return values[wanted[evaluated]], errors[wanted[evaluated]]

    def _known_of(self, rows: np.ndarray, rule: Any) -> tuple[Any, ...]:
        """What identifies a block of explored datasets."""
        return self.shift[rows], self.local_parameters[rows], rule

    def _block_factors(
        self, number: int, uniform: Any, points: np.ndarray, count: np.int64
    ) -> tuple[np.ndarray, np.ndarray]:
        """`inner.log_factors` for one block, in calls of one size, so that it is compiled once; of another where
        there are many points."""
        arrays, rule = self._arrays[number], self._rules[number]
        kernel = partial(
            inner.log_factors, self.plate.signature, self.method, arrays, rule, uniform, devices=self._devices
        )
        num = points.shape[1]
        step = _POINTS_PER_CALL if self.method == "joint" else num_points(self.plate.signature.num_shared)
        if self.is_free or num >= MANY_POINTS and self.takes_many and not self.explored:
            step = MANY_POINTS
        padded = points[:, np.minimum(np.arange(-(-num // step) * step), num - 1)]
        share = self._divided(count)
        calls = [kernel(self._put(padded[:, i : i + step]), share) for i in range(0, padded.shape[1], step)]
        values, errors = (
            np.concatenate([np.asarray(part) for part in parts], axis=1) for parts in zip(*calls, strict=True)
        )
        return values[:, :num], errors[:, :num]

    def afresh(self, points: Points, chosen: np.ndarray | None = None) -> Afresh | None:
        if not self.is_refinable:
            return None
        everyone = np.arange(self.plate.size)
        num_rounds = np.full(self.plate.size, next((more for most, more in _AFRESH_ROUNDS if len(everyone) <= most), 4))
        if self.plate.size > _MANY_DATASETS:
            num_rounds[self._sample_fractions(everyone) >= _EASY_FRACTION] = 2
        rows = everyone if chosen is None else chosen
        if chosen is None:
            found = self._afresh(points, self._blocks, self._arrays, self._rules, num_rounds)
        else:
            found = self._afresh_of(chosen, points, num_rounds)
        poor = np.min(found.num_effective, axis=1) < _FEW_AFRESH * np.minimum(num_rounds[rows], 4) / 4
        poor &= num_rounds[rows] < _AFRESH_SEQUENCE
        num_rounds[:] = _AFRESH_SEQUENCE
        if np.any(poor):
            _put(found, self._afresh_of(rows[poor], points, num_rounds), poor)
        lost = np.all(np.isfinite(found.value), axis=1) & (np.min(found.num_effective, axis=1) < FEWEST_POINTS)
        if self._optimiser is None and np.any(lost):  # the points met what had never been found
            self._explore_by_particles(self._scales, _SEQUENCE, rows[lost])
            _put(found, self._afresh_of(rows[lost], points, num_rounds), lost)
        return found

    def _afresh_of(self, rows: np.ndarray, points: Points, num_rounds: np.ndarray) -> Afresh:
        blocks = blocks_of(rows, self._block_size)
        arrays = [self._block_arrays(block.rows) for block in blocks]
        rules = [self._put(self._rule_of(block.rows)) for block in blocks]
        return self._afresh(points, blocks, arrays, rules, num_rounds)

    def _afresh(
        self,
        points: Points,
        blocks: list[Block],
        arrays: Sequence[DatasetArrays],
        rules: list[Any],
        num_rounds: np.ndarray,
    ) -> Afresh:
        """log f of the blocks' datasets; ``num_rounds`` (N,) of those of the plate."""
        num_local = self.plate.signature.num_local
        size = _FINAL_POINTS.get(num_local, 4096) // 2
        dimension = 1 + num_local
        uniform = uniform_points(_AFRESH_SEQUENCE * size, dimension, self.seed + 3)
        uniform = jax.device_put(uniform.reshape(_AFRESH_SEQUENCE, size, dimension))
        self._count([num_rounds[block.rows] * size for block in blocks], blocks)

        def made(number: int, phi: np.ndarray) -> Afresh:
            block = blocks[number]
            return jax.tree.map(
                np.asarray,
                log_factors_afresh(
                    self.plate.signature,
                    arrays[number],
                    self._scales,
                    rules[number],
                    self._put(phi),
                    uniform,
                    self._put(self.shift[block.rows][:, :dimension]),
                    self._put(num_rounds[block.rows]),
                    self._divided(block.num),
                    devices=self._devices,
                ),
            )

        def pieces() -> Iterator[Piece]:
            for number, (block, rule) in enumerate(zip(blocks, rules, strict=True)):
                phi = points(block.rows)
                exact = (num_rounds[block.rows], self._scales, *self._known_of(block.rows, rule), int(block.num), phi)
                yield Piece(exact, (), partial(made, number, phi))

        parts = self.journal.each("afresh", pieces())
        return gathered(parts, blocks)

    def local_posterior(
        self, phi: np.ndarray | Points, chance: np.ndarray, chosen: np.ndarray | None = None
    ) -> LocalPosterior:
        points = self.points_of(phi)
        uniform = jax.device_put(uniform_points(_CONDITIONAL_POINTS, 1 + self.plate.signature.num_local, self.seed + 2))
        blocks, arrays, rules = self._blocks, self._arrays, self._rules
        if chosen is not None:
            blocks = blocks_of(chosen, self._block_size)
            arrays, rules = (
                [self._block_arrays(b.rows) for b in blocks],
                [self._put(self._rule_of(b.rows)) for b in blocks],
            )

        def made(number: int, phi: np.ndarray, lots: np.ndarray) -> LocalPosterior:
            found = inner.local_posteriors(
                self.plate.signature,
                self.method,
                arrays[number],
                rules[number],
                uniform,
                phi,
                lots,
                self._divided(blocks[number].num),
                devices=self._devices,
            )
            return jax.tree.map(np.asarray, found)

        def pieces() -> Iterator[Piece]:
            for number, (block, rule) in enumerate(zip(blocks, rules, strict=True)):
                at, lots = points(block.rows), chance[block.rows]
                exact = (self.method, *self._known_of(block.rows, rule), int(block.num), at, lots)
                yield Piece(exact, (), partial(made, number, at, lots))

        parts = self.journal.each("private", pieces())
        return gathered(parts, blocks)

    def frozen(self, rows: np.ndarray) -> Frozen:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        return Frozen(jax.tree.map(lambda a: a[rows], arrays), self._rule_of(rows), np.asarray(self._uniform()))

    def _rule_of(self, rows: np.ndarray) -> Any:
        """The rule (n, ...) of any ``rows`` (n,), on the host."""
        return self._taken(self._rules, rows)

    def _taken(self, rules: list[Any], places: np.ndarray) -> Any:
        """Entries (n, ...) of rules kept by block; blocks of which nothing is asked may be None."""
        needed, number = np.unique(places // self._block_size, return_inverse=True)
        where = list(zip(number.tolist(), (places % self._block_size).tolist(), strict=True))
        chosen = [rules[k] for k in needed]
        return jax.tree.map(lambda *parts: np.stack([np.asarray(parts[i])[j] for i, j in where]), *chosen)

    def _reach(self) -> Reach:
        return gathered([Reach(r.temperature, r.ess_fraction, r.log_loss) for r in self._rules], self._blocks)

    @property
    def is_explored(self) -> np.ndarray:
        return self._reach().is_sound if self.explored else np.ones(self.plate.size, dtype=bool)
