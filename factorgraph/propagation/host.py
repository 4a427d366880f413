"""Plates whose likelihood JAX cannot trace: it is called plainly, one dataset at a time, on the host.

The same methods as `inner`, without ``analytic``, through the one place that meets user code and keeps what it said.
Where the likelihood itself reads a shared variable every integral calls it again, so fewer points are used while the
mode is sought, and a polynomial in place of log f thereafter.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from factorgraph.checkpoint.journal import NOTHING_KEPT, Piece
from factorgraph.errors import GraphError
from factorgraph.graph.density import DatasetArrays, log_draws, log_whitened, values_of
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner, population
from factorgraph.propagation.blocks import block_size, blocks_of, gathered
from factorgraph.propagation.contracted import (
    MAX_STAGES,
    ContractedPlate,
    Frozen,
    Points,
    Reach,
)
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.joint import (
    NEWTON_STEPS,
    Conditional,
    conditional_means,
    conditional_of,
    proposal_at,
)
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.reference import Frame, joint_reference, log_base, reference_of
from factorgraph.propagation.resources import DEFAULT_RESOURCES, Resources
from factorgraph.propagation.searched import NOT_THERE, explored_by
from factorgraph.propagation.surrogate import Surrogate
from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation, adapt_on_host, point_table, proposal_of, shifted
from searches.mixture import Mixture
from searches.newton import Modes, find_modes
from searches.pareto import pareto_k
from searches.quasi import uniform_points
from searches.target import Target

_NUM_COMPONENTS = 3
_ADAPTATION_POINTS = 256
_FINAL_POINTS = 1024
_NUM_POINTS, _SHARP_POINTS = 16, 64  # of an integral over the locals: while the mode is sought, and thereafter
_NODES = 256
_CALLS_AT_ONCE = 64  # that a journal keeps together


class Calls(NamedTuple):
    """Log likelihoods (n,), how many calls they took, and the last traceback of those that raised."""

    values: np.ndarray
    num: int
    failure: str

    def noted(self, plate: HostPlate, row: int) -> np.ndarray:
        """The values; the rest is written down with the ``plate``."""
        plate.num_calls[row] += self.num
        if self.failure:
            plate.failures[row] = self.failure
        return self.values


class Outcome(NamedTuple):
    """The ``result`` of something that called a dataset's likelihood: by how many calls, the last traceback of those
    that raised, and how the user's search of the dataset failed, or nothing."""

    result: Any
    num_calls: int
    failure: str
    search_failure: str

    def noted(self, plate: HostPlate, row: int) -> Any:
        """The result; the rest is written down with the ``plate``."""
        plate.num_calls[row] += self.num_calls
        if self.failure:
            plate.failures[row] = self.failure
        plate.search_failures.pop(row, None)  # it holds what was known before, too
        if self.search_failure:
            plate.search_failures[row] = self.search_failure
        return self.result


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
        self._optimiser = optimiser
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

    def log_likelihoods(self, row: int, points: Sequence[Sequence[float]]) -> np.ndarray:
        """The user's log likelihood (n,) at ``points``, call by call: -inf where it raises, fails an assertion or is no
        finite number. Calls are kept in the journal, some at a time; single ones belong to a search, which is kept as a
        whole."""
        journal, found = self.journal if len(points) > 1 else NOTHING_KEPT, []
        for first in range(0, len(points), _CALLS_AT_ONCE):
            part = points[first : first + _CALLS_AT_ONCE]
            exact = (self.shift[row], np.array(part, dtype=float))
            found.append(journal.kept("calls", exact, (), partial(self._calls, row, part)).noted(self, row))
        return np.concatenate(found) if found else np.zeros(0)

    def _calls(self, row: int, points: Sequence[Sequence[float]]) -> Calls:
        signature, term, constants = self.plate.signature, self.plate.terms[row], self.constants_of(row)
        functions = [factor.analysis.log_likelihood_function for factor in term.factors]
        values, num, failure = np.full(len(points), -np.inf), 0, ""
        for k, point in enumerate(points):
            if signature.structure.has_assertions and not bool(signature.structure.satisfied(point, constants)):
                continue
            num += 1
            try:
                instances, _ = signature.structure.build(point, constants)
                total = sum(float(function(instance)) for function, instance in zip(functions, instances, strict=True))
            except Exception:  # user code: the one place that meets it, and keeps what it said
                failure = traceback.format_exc(limit=-4)
                continue
            values[k] = total if np.isfinite(total) else -np.inf
        return Calls(values, num, failure)

    def _log_joint(self, row: int, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log L p(z | phi) (n,) at ``phi`` (n, shared) and ``z`` (n, local)."""
        signature, arrays = self.plate.signature, self._arrays_of(row)
        with np.errstate(all="ignore"):
            prior = log_draws(signature, phi.T, z.T, arrays) + log_whitened(signature, z.T)
        total = np.where(np.isfinite(prior), prior, -np.inf) + np.zeros(len(z))
        possible = np.isfinite(total)
        if signature.analyses:
            total[possible] += self._called(row, phi[possible], z[possible])
        return total

    def _called(self, row: int, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log L (n,) at ``phi`` (n, shared) and ``z`` (n, local)."""
        values = values_of(self.plate.signature, phi.T, z.T, self._arrays_of(row))
        columns = [np.broadcast_to(value, len(z)).tolist() for value in values]
        return self.log_likelihoods(row, list(zip(*columns, strict=True)) if columns else [()] * len(z))

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
        for row, outcome in zip(rows, self.journal.each("explored", pieces), strict=True):
            self._rules[row] = outcome.noted(self, row)
        if self.method == "population":
            self._stack_rules()

    def _stack_rules(self) -> None:
        rules = jax.tree.map(lambda *parts: np.stack([np.asarray(part) for part in parts]), *self._rules)
        self._block_rules = [jax.tree.map(lambda a, b=b: jax.device_put(a[b.rows]), rules) for b in self._blocks]

    def _exploration(self, row: int, scales: np.ndarray, around: Around, rounds: int) -> Piece:
        """Of one dataset, on the host."""
        near: tuple[Any, ...] = (scales, self.local_parameters[row])
        explore: Callable[[], Any]
        if self.method == "population":
            explore = partial(self._explore_population, row, scales, rounds)
        else:
            mean, factor = around.marginals(self.plate.shared_index[[row]])
            frame = Frame(mean[0], factor[0])
            explore, near = partial(self._explore_joint, row, scales, frame), (*near, *frame)
        return Piece((self.method, rounds, self.shift[row]), near, partial(self._outcome, row, explore))

    def _outcome(self, row: int, function: Callable[[], Any]) -> Outcome:
        """What ``function`` returns and what it added to what is known of the dataset, which is taken back."""
        before, said, search_said = self.num_calls[row], self.failures.pop(row, ""), self.search_failures.get(row, "")
        result = function()
        num, failure = int(self.num_calls[row] - before), self.failures.pop(row, "")
        search_failure = self.search_failures.get(row, "")
        self.num_calls[row] = before
        if said:
            self.failures[row] = said
        self.search_failures.pop(row, None)
        if search_said:
            self.search_failures[row] = search_said
        return Outcome(result, num, failure, search_failure)

    def _explore_population(self, row: int, scales: np.ndarray, rounds: int) -> Nodes:
        """By the optimiser if there is one; as if there were none where its samples do not lead to the dataset."""
        found = self._nodes(row, scales, rounds, self._optimiser)
        if self._optimiser is None or row in self.search_failures or _is_sound(found):
            return found
        again = self._nodes(row, scales, rounds, None)
        if _is_sound(again):
            self.search_failures[row] = NOT_THERE
        return again

    def _nodes(self, row: int, scales: np.ndarray, rounds: int, optimiser: Any) -> Nodes:
        signature, dimension = self.plate.signature, self.plate.signature.num_local
        reference = reference_of(signature, scales)
        shift = self.shift[row, : 1 + dimension]

        def likelihood(z: np.ndarray) -> np.ndarray:
            return self._called(row, np.zeros((len(z), signature.num_shared)), z)

        def relative(z: np.ndarray) -> np.ndarray:
            base = log_base(signature, self._arrays_of(row), scales, z)
            return likelihood(z) + base - mixtures.log_density(reference, z)

        adaptation = self._adapted(row, relative, reference, optimiser, ())
        proposal = proposal_of(reference, adaptation.fitted)
        uniform = uniform_points(rounds * _FINAL_POINTS, 1 + dimension, self.seed + 1)
        z = mixtures.draws(proposal, shifted(uniform, shift))
        nodes = population.nodes_from_points(
            signature,
            jax.tree.map(jax.device_put, self._arrays_of(row)),
            jax.device_put(scales),
            jax.device_put(z),
            jax.device_put(likelihood(z)),
            jax.device_put(mixtures.log_density(proposal, z)),
            _NODES,
        )
        return jax.tree.map(np.asarray, nodes)

    def _explore_joint(self, row: int, scales: np.ndarray, frame: Frame) -> Conditional:
        signature, num_shared = self.plate.signature, self.plate.signature.num_shared
        local = reference_of(signature, scales)

        def relative(points: np.ndarray) -> np.ndarray:
            phi, z = frame.mean + points[:, :num_shared] @ frame.cholesky.T, points[:, num_shared:]
            return self._log_joint(row, phi, z) - mixtures.log_density(local, z)

        adaptation = self._adapted(row, relative, joint_reference(signature, scales), self._optimiser, tuple(frame))
        return conditional_of(signature, adaptation, local, frame, self.shift[row])

    def _adapted(
        self, row: int, likelihood: Any, reference: Mixture, optimiser: Any, near: tuple[np.ndarray, ...]
    ) -> Adaptation:
        """A mixture fitted to the dataset, by the optimiser if there is one and it does not fail; ``near`` is what
        the likelihood depends on beside the dataset."""
        dimension, shift = reference.mean.shape[1], self.shift[row, 0]
        if optimiser is not None:
            names = tuple(f"x{i}" for i in range(dimension))
            target = Target(
                names=names, log_likelihood=lambda x, data: float(likelihood(np.asarray(x)[None])[0]), is_jax=False
            )
            seed = [self.seed, int(shift * 2**53)]
            near = (*near, *reference, self.local_parameters[row])
            search = partial(explored_by, optimiser.explore, target, _NUM_COMPONENTS, seed)
            make = partial(self._outcome, row, search)
            found = self.journal.kept("search", (self.method, self.shift[row]), near, make).noted(self, row)
            self.search_failures.pop(row, None)
            if not found.failure:
                return found.adaptation
            self.search_failures[row] = found.failure
        table = point_table(_ADAPTATION_POINTS, dimension, MAX_STAGES, self.seed)
        return adapt_on_host(likelihood, reference, table, shift, num_components=_NUM_COMPONENTS)

    def can_take_over(self, other: ContractedPlate) -> bool:
        return type(other) is type(self) and other._optimiser is self._optimiser

    def take_over(self, rows: np.ndarray, other: HostPlate, theirs: np.ndarray) -> None:
        super().take_over(rows, other, theirs)
        for row, their in zip(rows.tolist(), theirs.tolist(), strict=True):
            self._rules[row] = other._rules[their]
            if their in other.failures:
                self.failures[row] = other.failures[their]
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
            return values[chosen], errors[chosen]
        asked = points(chosen)
        if self.method == "direct":
            empty = np.zeros((asked.shape[1], 0))
            calls = [partial(self._log_joint, int(row), at, empty) for row, at in zip(chosen, asked, strict=True)]
            values = np.stack(self._of_rows("direct", chosen, asked, calls))
            return values, np.zeros_like(values)
        integrals = [partial(self._integrals, int(row), at) for row, at in zip(chosen, asked, strict=True)]
        pairs = self._of_rows("integrals", chosen, asked, integrals)
        return np.stack([value for value, _ in pairs]), np.stack([error for _, error in pairs])

    def _of_rows(
        self, what: str, rows: np.ndarray, exact: Iterable[Any], functions: Sequence[Callable[[], Any]]
    ) -> list[Any]:
        """What each of the ``functions`` returns of its row, given that and ``exact``."""
        pieces = (
            Piece(
                (self._num_points, self.shift[row], self.local_parameters[row], self._rules[row], given),
                (),
                partial(self._outcome, int(row), function),
            )
            for row, given, function in zip(rows, exact, functions, strict=True)
        )
        outcomes = self.journal.each(what, pieces)
        return [outcome.noted(self, int(row)) for row, outcome in zip(rows, outcomes, strict=True)]

    def frozen(self, rows: np.ndarray) -> Frozen:
        if self.method != "population":
            raise GraphError(
                f"{self.plate.names[0]}: its likelihood reads shared variables and JAX cannot trace it, so the "
                "contracted graph would call it at every point. Write it with jax.numpy, or search "
                "graph.global_prior_model."
            )
        arrays = jax.tree.map(lambda a: a[rows], self.plate.arrays._replace(local=self.local_parameters))
        rule = jax.tree.map(
            lambda *parts: np.stack([np.asarray(part) for part in parts]), *(self._rules[i] for i in rows)
        )
        return Frozen(arrays, rule, np.zeros((0, 0)))

    def _block_arrays(self, rows: np.ndarray) -> DatasetArrays:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        return jax.tree.map(lambda array: jax.device_put(array[rows]), arrays)

    def _conditional(self, row: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points z (M, n, local) of the proposals at ``phi`` (M, shared), and their log weights (M, n)."""
        rule, local = self._rules[row], self.plate.signature.num_local

        def log_density(z: np.ndarray) -> np.ndarray:
            return self._log_joint(row, np.repeat(phi, len(z) // len(phi), axis=0), z)

        means = conditional_means(rule, phi)
        num = means.shape[1]
        factors = np.tile(rule.cholesky, (len(phi), 1, 1))
        modes = find_modes(log_density, means.reshape(-1, local), factors, NEWTON_STEPS)
        uniform = shifted(uniform_points(self._num_points, 1 + local, self.seed + 2), rule.shift)
        points, log_proposals = [], []
        for k, mean in enumerate(means):
            proposal = proposal_at(rule, mean, Modes(*(part[k * num : (k + 1) * num] for part in modes)))
            points.append(mixtures.draws(proposal, uniform))
            log_proposals.append(mixtures.log_density(proposal, points[-1]))
        z = np.stack(points)
        return z, log_density(z.reshape(-1, local)).reshape(len(phi), -1) - np.stack(log_proposals)

    def _integrals(self, row: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log f of one dataset at ``phi`` (M, shared), and its error, both (M,)."""
        _, log_weight = self._conditional(row, phi)
        half = log_weight.shape[1] // 2
        with np.errstate(invalid="ignore"):
            error = 0.5 * (logsumexp(log_weight[:, :half], axis=1) - logsumexp(log_weight[:, half:], axis=1))
        value = logsumexp(log_weight, axis=1) - np.log(log_weight.shape[1])
        return value, np.where(np.isfinite(error), error, 0.0)

    def local_posterior(
        self, phi: np.ndarray | Points, chance: np.ndarray, chosen: np.ndarray | None = None
    ) -> LocalPosterior:
        rows = np.arange(self.plate.size) if chosen is None else chosen
        points = self.points_of(phi)(np.arange(self.plate.size))
        if self.method != "population":
            exact = [(points[row], chance[row]) for row in rows]
            calls = [partial(self._local_of, int(row), *one) for row, one in zip(rows, exact, strict=True)]
            found = self._of_rows("private", rows, exact, calls)
            return LocalPosterior(*(np.stack(parts) for parts in zip(*found, strict=True)))
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
        return jax.tree.map(lambda array: array[rows], gathered(parts, self._blocks))

    def _local_of(self, row: int, phi: np.ndarray, chance: np.ndarray) -> tuple[np.ndarray, ...]:
        arrays = self._arrays_of(row)
        roles = [role for role in self.plate.signature.roles if not role.shared]
        every, weights, draws, differences = [], [], [], []
        for z, log_weight, lot in zip(*self._conditional(row, phi), chance, strict=True):
            weight = np.exp(log_weight - logsumexp(log_weight))
            theta = np.stack([role.value(z[:, role.position], arrays.local[role.position]) for role in roles], axis=1)
            every.append(theta)
            weights.append(weight / len(phi))
            draws.append(theta[min(int(np.searchsorted(np.cumsum(weight), lot[0])), len(theta) - 1)])
            half = len(theta) // 2
            halves = [(weight[part], theta[part]) for part in (slice(half), slice(half, None))]
            first, second = (w @ t / max(float(np.sum(w)), 1e-300) for w, t in halves)
            differences.append(first - second)
        theta, weight = np.concatenate(every), np.concatenate(weights)
        mean = weight @ theta
        error = 0.5 * np.abs(np.mean(differences, axis=0))
        share = weight.reshape(len(phi), -1) * len(phi)
        with np.errstate(divide="ignore"):
            k_hat = np.max(pareto_k(np.log(share)))
        num_effective = np.mean(1.0 / np.sum(share**2, axis=1))
        return np.array(draws), mean, np.sqrt(weight @ (theta - mean) ** 2), error, num_effective, k_hat

    @property
    def is_explored(self) -> np.ndarray:
        if not self.explored:
            return np.ones(self.plate.size, dtype=bool)
        return np.array([_is_sound(rule) for rule in self._rules])


def _is_sound(rule: Any) -> bool:
    numbers = (rule.temperature, rule.ess_fraction, rule.log_loss)
    return bool(Reach(*(np.asarray(number, dtype=float) for number in numbers)).is_sound)
