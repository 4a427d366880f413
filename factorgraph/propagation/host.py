"""Plates whose likelihood JAX cannot trace: it is called plainly, one dataset at a time, on the host or by workers.

The same methods as `inner`, without ``analytic``; what is done to one dataset is in `host_dataset`. Where the
likelihood itself reads a shared variable every integral calls it again, so fewer points are used while the mode is
sought, and a polynomial in place of log f thereafter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from factorgraph.checkpoint.journal import NOTHING_KEPT, Piece
from factorgraph.distributed.workers import Lost
from factorgraph.errors import GraphError, LikelihoodError
from factorgraph.graph.density import DatasetArrays
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner
from factorgraph.propagation.blocks import block_size, blocks_of, gathered
from factorgraph.propagation.contracted import ContractedPlate, Frozen, Points
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.host_dataset import HostDataset, Kind, Task, is_sound
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.reference import Frame
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.surrogate import Surrogate

_NUM_POINTS, _SHARP_POINTS = 16, 64  # of an integral over the locals: while the mode is sought, and thereafter


class HostPlate(ContractedPlate):
    """See `ContractedPlate`.

    Parameters
    ----------
    optimiser
        A search with ``explore(target, seed=)``, or None.

    Attributes
    ----------
    failures
        The last traceback of each dataset whose likelihood raised, by row.
    lost
        Why there is no answer from the workers about a dataset, by row: its log f is minus infinity from then on.
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
        signature = plate.signature
        self.method = "direct" if signature.num_local == 0 else "joint" if signature.reads_shared else "population"
        self.failures: dict[int, str] = {}
        self.lost = {row: resources.lost[name] for row, name in enumerate(plate.names) if name in resources.lost}
        self._lost_late: dict[str, str] = {}
        self._kind = Kind(signature, optimiser, seed)
        self._rules: list[Any] = [None] * plate.size
        self._blocks = blocks_of(np.arange(plate.size), block_size(0, plate.size))
        self._block_rules: list[Nodes] = []
        self._num_points = _NUM_POINTS

    # --- one dataset ---

    def constants_of(self, row: int) -> tuple[Any, ...]:
        """The constants of one dataset's models and analyses, scalars as Python numbers."""
        return self._arrays_of(row).constants[: self.plate.signature.num_constants]

    def _arrays_of(self, row: int) -> DatasetArrays:
        arrays = self.plate.arrays
        constants = tuple(c[row].item() if c.ndim == 1 else c[row] for c in arrays.constants)
        return DatasetArrays(constants, arrays.shared[row], self.local_parameters[row])

    def task(self, row: int, name: str, *arguments: Any) -> Task:
        """A method of a `HostDataset`."""
        analyses = tuple(factor.analysis for factor in self.plate.terms[row].factors)
        journal = NOTHING_KEPT if self.resources.workers.are_there else self.journal
        known = self.search_failures.get(row, "")
        dataset = HostDataset(self._kind, analyses, self._arrays_of(row), self.shift[row], known, journal)
        return Task(dataset, name, arguments, self._label(row))

    def _each(self, what: str, rows: Sequence[int], pieces: Iterable[Piece]) -> list[Any]:
        """The results of the ``pieces``, one of each row; None of those that are lost."""
        lost, workers = frozenset(self.lost), self.resources.workers
        at_hand = [row for row in rows if row not in lost]
        asked = (piece for row, piece in zip(rows, pieces, strict=True) if row not in lost)
        outcomes = self.journal.each(what, asked, workers.each if workers.are_there else None)
        found = {row: self._noted(row, outcome) for row, outcome in zip(at_hand, outcomes, strict=True)}
        self._check_any()
        return [found.get(row) for row in rows]

    def _check_any(self) -> None:
        if self.lost and len(self.lost) == self.plate.size:
            row, reason = next(iter(self.lost.items()))
            raise LikelihoodError(
                f"{self._label(row)}: workers gave no answer about any of its {self.plate.size} dataset(s): {reason}. "
                "Call the likelihood once by hand, as a worker would, to see what happens."
            )

    def _label(self, row: int) -> str:
        return f"{self.plate.terms[row].name}: {' and '.join(cls.__name__ for cls in self.plate.signature.analyses)}"

    def _noted(self, row: int, outcome: Any) -> Any:
        """The result of an `Outcome`; the rest is written down."""
        if isinstance(outcome, Lost):
            self.lost[row] = outcome.reason
            if self.num_calls[row] > 0:
                self._lost_late[self.plate.names[row]] = outcome.reason
            return None
        self.num_calls[row] += outcome.num_calls
        if outcome.failure:
            self.failures[row] = outcome.failure
        self.search_failures.pop(row, None)  # it holds what was known before, too
        if outcome.search_failure:
            self.search_failures[row] = outcome.search_failure
        return outcome.result

    @property
    def lost_late(self) -> dict[str, str]:
        return self._lost_late

    @property
    def is_free(self) -> bool:
        return False

    @property
    def is_exact_everywhere(self) -> bool:
        return False

    # --- exploration ---

    def explore(self, around: Around, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None) -> None:
        if not self.explored:
            return
        self.surrogate, self._num_points = None, _NUM_POINTS
        scales = self.reference_scales(proper)
        rows = [int(row) for row in (range(self.plate.size) if chosen is None else chosen)]
        self.num_rounds[rows] = rounds
        pieces = (self._exploration(row, scales, around, rounds) for row in rows)
        for row, rule in zip(rows, self._each("explored", rows, pieces), strict=True):
            self._rules[row] = rule
        if self.method == "population":
            self._stack_rules()

    def _stack_rules(self) -> None:
        rules = self._stacked(range(self.plate.size))
        self._block_rules = [jax.tree.map(lambda a, b=b: jax.device_put(a[b.rows]), rules) for b in self._blocks]

    def _exploration(self, row: int, scales: np.ndarray, around: Around, rounds: int) -> Piece:
        """Of one dataset, on the host."""
        near: tuple[Any, ...] = (scales, self.local_parameters[row])
        if self.method == "population":
            task = self.task(row, "explore_population", scales, rounds)
        else:
            mean, factor = around.marginals(self.plate.shared_index[[row]])
            frame = Frame(mean[0], factor[0])
            task, near = self.task(row, "explore_joint", scales, frame), (*near, *frame)
        return Piece((self.method, rounds, self.shift[row]), near, task)

    def _stacked(self, rows: Iterable[int]) -> Any:
        """The rules of some datasets; in place of one that is lost, any."""
        some = next(rule for rule in self._rules if rule is not None)
        chosen = [some if self._rules[row] is None else self._rules[row] for row in rows]
        return jax.tree.map(lambda *parts: np.stack([np.asarray(part) for part in parts]), *chosen)

    def can_take_over(self, other: ContractedPlate) -> bool:
        return type(other) is type(self) and other._kind.optimiser is self._kind.optimiser

    def take_over(self, rows: np.ndarray, other: HostPlate, theirs: np.ndarray) -> None:
        super().take_over(rows, other, theirs)
        for row, their in zip(rows.tolist(), theirs.tolist(), strict=True):
            self._rules[row] = other._rules[their]
            if their in other.failures:
                self.failures[row] = other.failures[their]
            if their in other.lost:
                self.lost[row] = other.lost[their]
        self._check_any()
        if self.method == "population" and len(rows) == self.plate.size:
            self._stack_rules()

    def sharpen(self, around: Around, known: tuple[np.ndarray, Surrogate] | None = None) -> None:
        if self.method == "joint":
            self._num_points = _SHARP_POINTS
            self.fit_surrogate(around, known)

    # --- evaluation ---

    def integrate(self, points: Points, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.method == "population":
            every = points(np.arange(self.plate.size))
            empty = np.zeros((0, 0))
            parts = [
                inner.log_factors(
                    self.plate.signature,
                    "population",
                    self._block_arrays(block.rows),
                    rules,
                    empty,
                    jax.device_put(every[block.rows]),
                    block.num,
                )
                for block, rules in zip(self._blocks, self._block_rules, strict=True)
            ]
            values, errors = gathered(parts, self._blocks)
            lost = list(self.lost)
            values[lost], errors[lost] = -np.inf, 0.0
            return values[chosen], errors[chosen]
        asked = points(chosen)
        if self.method == "direct":
            tasks = (self.task(row, "direct", at) for row, at in zip(chosen.tolist(), asked, strict=True))
            found = self._of_rows("direct", chosen, asked, tasks)
            values = np.stack([np.full(len(asked[0]), -np.inf) if one is None else one for one in found])
            return values, np.zeros_like(values)
        tasks = (self._integral(row, "integrals", at) for row, at in zip(chosen.tolist(), asked, strict=True))
        nothing = np.full(asked.shape[1], -np.inf), np.zeros(asked.shape[1])
        pairs = [nothing if pair is None else pair for pair in self._of_rows("integrals", chosen, asked, tasks)]
        return np.stack([value for value, _ in pairs]), np.stack([error for _, error in pairs])

    def _integral(self, row: int, name: str, *arguments: Any) -> Task:
        return self.task(row, name, self._rules[row], self._num_points, *arguments)

    def _of_rows(self, what: str, rows: np.ndarray, exact: Iterable[Any], tasks: Iterable[Task]) -> list[Any]:
        """What each of the ``tasks`` returns of its row, given that and ``exact``; None of those that are lost."""
        pieces = (
            Piece((self._num_points, self.shift[row], self.local_parameters[row], self._rules[row], given), (), task)
            for row, given, task in zip(rows, exact, tasks, strict=True)
        )
        return self._each(what, rows.tolist(), pieces)

    def frozen(self, rows: np.ndarray) -> Frozen:
        if self.method != "population":
            raise GraphError(
                f"{self.plate.names[0]}: its likelihood reads shared variables and JAX cannot trace it, so the "
                "contracted graph would call it at every point. Write it with jax.numpy, or search "
                "graph.global_prior_model."
            )
        arrays = jax.tree.map(lambda a: a[rows], self.plate.arrays._replace(local=self.local_parameters))
        rule = self._stacked(rows)
        return Frozen(arrays, rule, np.zeros((0, 0)))

    def _block_arrays(self, rows: np.ndarray) -> DatasetArrays:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        return jax.tree.map(lambda array: jax.device_put(array[rows]), arrays)

    def local_posterior(
        self, phi: np.ndarray | Points, chance: np.ndarray, chosen: np.ndarray | None = None
    ) -> LocalPosterior:
        rows = np.arange(self.plate.size) if chosen is None else chosen
        points = self.points_of(phi)(np.arange(self.plate.size))
        if self.method != "population":
            exact = [(points[row], chance[row]) for row in rows]
            tasks = (
                self._integral(row, "local_posterior", *one) for row, one in zip(rows.tolist(), exact, strict=True)
            )
            found = self._of_rows("private", rows, exact, tasks)
            local = np.full(self.plate.signature.num_local, np.nan)
            nothing = (np.full((points.shape[1], len(local)), np.nan), local, local, local, np.nan, np.nan)
            filled = [nothing if one is None else one for one in found]
            return LocalPosterior(*(np.stack(parts) for parts in zip(*filled, strict=True)))
        parts = [
            inner.local_posteriors(
                self.plate.signature,
                "population",
                self._block_arrays(block.rows),
                rules,
                np.zeros((0, 0)),
                points[block.rows],
                chance[block.rows],
                block.num,
            )
            for block, rules in zip(self._blocks, self._block_rules, strict=True)
        ]
        whole = gathered(parts, self._blocks)
        for array in whole:
            array[list(self.lost)] = np.nan
        return jax.tree.map(lambda array: array[rows], whole)

    @property
    def is_explored(self) -> np.ndarray:
        if not self.explored:
            return np.ones(self.plate.size, dtype=bool)
        return np.array([rule is None or is_sound(rule) for rule in self._rules])  # one that is lost is named so
