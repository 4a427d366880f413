"""Plates worked on one dataset at a time, on the host: likelihoods that are called, and datasets with an optimiser.

The same methods as `inner`, without ``analytic``. A likelihood that cannot be traced is called plainly, through the one
place that meets user code and keeps what it said. An ``optimiser`` is any search: it explores a dataset where adaptive
importance sampling would, its samples become the proposal, and the integral is still that of importance sampling, with
its own error. Where the likelihood itself reads a shared variable every evaluation of log f calls it again, so fewer
points are used.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp

from factorgraph.graph.density import DatasetArrays, log_draws, log_whitened, values_of
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner
from factorgraph.propagation.blocks import block_size, blocks_of, gathered
from factorgraph.propagation.contracted import FEWEST_EFFECTIVE, PROPER_SCALES, UNKNOWN_SCALES, ContractedPlate, Points
from factorgraph.propagation.inner import Conditional, DatasetTarget, Frame, LocalPosterior, Nodes
from searches import mixture as mixtures
from searches.adaptive_importance import Adaptation, adapt_on_host, proposal_of, shifted
from searches.mixture import Mixture
from searches.quasi import uniform_points
from searches.target import Target

_NUM_COMPONENTS = 4
_MAX_STAGES = 48
_ADAPTATION_POINTS = 256
_FINAL_POINTS = 1024
_CONDITIONAL_POINTS = {True: 512, False: 32}  # where the likelihood is traced, where it is called
_NODES = 256


class HostPlate(ContractedPlate):
    """See `ContractedPlate`.

    Parameters
    ----------
    is_traced
        Whether the likelihood is evaluated by a kernel; otherwise it is called.
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
        is_traced: bool = False,
        optimiser: Any = None,
    ) -> None:
        super().__init__(plate, shared, seed)
        signature = plate.signature
        self.method = "direct" if signature.num_local == 0 else "joint" if signature.reads_shared else "population"
        self.failures: dict[int, str] = {}
        self._is_traced = is_traced
        self._optimiser = optimiser
        self._rules: list[Any] = [None] * plate.size
        self._blocks = blocks_of(np.arange(plate.size), block_size(plate.size, 0))
        self._block_rules: list[Nodes] = []

    # --- one dataset ---

    def constants_of(self, row: int) -> tuple[Any, ...]:
        """The constants of one dataset's models and analyses, scalars as Python numbers."""
        return self._arrays_of(row).constants[: self.plate.signature.num_constants]

    def _arrays_of(self, row: int) -> DatasetArrays:
        arrays = self.plate.arrays
        constants = tuple(c[row].item() if c.ndim == 1 else c[row] for c in arrays.constants)
        return DatasetArrays(constants, arrays.shared[row], self.local_parameters[row])

    def log_likelihood(self, row: int, values: Sequence[float]) -> float:
        """The user's log likelihood at one point, -inf where it raises, fails an assertion or is no finite number."""
        signature, term = self.plate.signature, self.plate.terms[row]
        constants = self.constants_of(row)
        if signature.structure.has_assertions and not bool(signature.structure.satisfied(values, constants)):
            return -np.inf
        self.num_likelihood_calls += 1
        try:
            instances, _ = signature.structure.build(values, constants)
            total = sum(
                float(factor.analysis.log_likelihood_function(instance))
                for factor, instance in zip(term.factors, instances, strict=True)
            )
        except Exception:  # user code: the one place that meets it, and keeps what it said
            self.failures[row] = traceback.format_exc(limit=-4)
            return -np.inf
        return total if np.isfinite(total) else -np.inf

    def _likelihoods(self, row: int, z: np.ndarray) -> np.ndarray:
        """log L (n,) at ``z`` (n, local), for a likelihood that reads no shared variable."""
        phi = np.zeros((len(z), self.plate.signature.num_shared))
        return self._traced(row, phi, z, True) if self._is_traced else self._called(row, phi, z)

    def _log_joint(self, row: int, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log L p(z | phi) (n,) at ``phi`` (n, shared) and ``z`` (n, local)."""
        if self._is_traced:
            return self._traced(row, phi, z, False)
        signature, arrays = self.plate.signature, self._arrays_of(row)
        with np.errstate(all="ignore"):
            prior = np.array(
                [
                    float(log_draws(signature, p, t, arrays) + log_whitened(signature, t))
                    for p, t in zip(phi, z, strict=True)
                ]
            )
        possible = np.isfinite(prior)
        total = np.where(possible, prior, -np.inf)
        if signature.analyses:
            total[possible] += self._called(row, phi[possible], z[possible])
        return total

    def _called(self, row: int, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        signature, arrays = self.plate.signature, self._arrays_of(row)
        points = [values_of(signature, p, t, arrays) for p, t in zip(phi, z, strict=True)]
        return np.array([self.log_likelihood(row, [float(value) for value in point]) for point in points])

    def _traced(self, row: int, phi: np.ndarray, z: np.ndarray, likelihood_only: bool) -> np.ndarray:
        """By the kernel, in batches of a few sizes."""
        self.num_likelihood_calls += len(z)
        padded = np.minimum(np.arange(1 << max(int(np.ceil(np.log2(max(len(z), 1)))), 4)), max(len(z) - 1, 0))
        arrays = jax.tree.map(jax.device_put, self._arrays_of(row))
        found = inner.log_densities(
            self.plate.signature, arrays, jax.device_put(phi[padded]), jax.device_put(z[padded]), likelihood_only
        )
        values = np.asarray(found)[: len(z)]
        return np.where(np.isfinite(values), values, -np.inf)

    # --- exploration ---

    def explore(
        self, mean: np.ndarray, factor: np.ndarray, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None
    ) -> None:
        if not self.explored:
            return
        scales = PROPER_SCALES if proper else UNKNOWN_SCALES
        for row in range(self.plate.size) if chosen is None else chosen:
            if self.method == "population":
                self._rules[row] = self._explore_population(int(row), scales, rounds)
            else:
                self._rules[row] = self._explore_joint(int(row), scales, mean, factor)
        if self.method == "population":
            rules = jax.tree.map(lambda *parts: np.stack([np.asarray(part) for part in parts]), *self._rules)
            self._block_rules = [jax.tree.map(lambda a, b=b: jax.device_put(a[b.rows]), rules) for b in self._blocks]

    def _explore_population(self, row: int, scales: np.ndarray, rounds: int) -> Nodes:
        dimension = self.plate.signature.num_local
        reference = inner.reference_of(self.plate.signature, scales)
        shift = self.shift[row, : 1 + dimension]

        def likelihood(z: np.ndarray) -> np.ndarray:
            return self._likelihoods(row, z)

        num_shared = self.plate.signature.num_shared
        frame = Frame(np.zeros(num_shared), np.eye(num_shared))
        adaptation = self._adapted(row, likelihood, reference, shift, frame)
        proposal = proposal_of(reference, adaptation.fitted)
        uniform = uniform_points(rounds * _FINAL_POINTS, 1 + dimension, self.seed + 1)
        z = mixtures.draws(proposal, shifted(uniform, shift))
        return inner.nodes_from_points(
            self.plate.signature,
            jax.device_put(self.local_parameters[row]),
            jax.device_put(scales),
            jax.device_put(z),
            jax.device_put(likelihood(z)),
            jax.device_put(mixtures.log_density(proposal, z)),
            _NODES,
        )

    def _explore_joint(self, row: int, scales: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> Conditional:
        signature, num_shared = self.plate.signature, self.plate.signature.num_shared
        index = self.plate.shared_index[row]
        frame = Frame(mean[index], np.linalg.cholesky((factor @ factor.T)[np.ix_(index, index)]))
        local = inner.reference_of(signature, scales)

        def relative(points: np.ndarray) -> np.ndarray:
            phi, z = frame.mean + points[:, :num_shared] @ frame.cholesky.T, points[:, num_shared:]
            return self._log_joint(row, phi, z) - mixtures.log_density(local, z)

        reference = inner.joint_reference(signature, scales)
        adaptation = self._adapted(row, relative, reference, self.shift[row], frame)
        adaptation, local, frame = jax.tree.map(jax.device_put, (adaptation, local, frame))
        rule = inner.conditional_of(signature, adaptation, local, frame, jax.device_put(self.shift[row]))
        return Conditional(*(np.asarray(part) for part in rule))

    def _adapted(self, row: int, likelihood: Any, reference: Mixture, shift: np.ndarray, frame: Frame) -> Adaptation:
        """A mixture fitted to the dataset, by the optimiser if there is one."""
        if self._optimiser is not None:
            return self._explored_by_optimiser(row, likelihood, frame)
        uniform = shifted(uniform_points(_ADAPTATION_POINTS, len(shift), self.seed), shift)
        return adapt_on_host(likelihood, reference, uniform, num_components=_NUM_COMPONENTS, max_stages=_MAX_STAGES)

    def _explored_by_optimiser(self, row: int, likelihood: Any, frame: Frame) -> Adaptation:
        joint = self.method == "joint"
        dimension = self.plate.signature.num_local + (self.plate.signature.num_shared if joint else 0)
        names = tuple(f"x{i}" for i in range(dimension))
        if self._is_traced:
            data = jax.tree.map(jax.device_put, (self._arrays_of(row), frame))
            target = Target(names=names, log_likelihood=DatasetTarget(self.plate.signature, joint), data=data)
        else:
            target = Target(
                names=names, log_likelihood=lambda x, data: float(likelihood(np.asarray(x)[None])[0]), is_jax=False
            )
        seed = int(np.random.default_rng([self.seed, int(self.shift[row, 0] * 2**53)]).integers(2**31))
        samples = self._optimiser.explore(target, seed=seed)
        fitted = mixtures.fit(samples.x, samples.weights, _NUM_COMPONENTS, num_steps=20)
        return Adaptation(fitted, 1.0, samples.effective_sample_size / len(samples.x), 1)

    # --- evaluation ---

    def log_factors(self, phi: np.ndarray | Points) -> tuple[np.ndarray, np.ndarray]:
        points = self.points_of(phi)(np.arange(self.plate.size))
        if self.method == "population":
            empty = np.zeros((0, 0))
            parts = [
                inner.log_factors(
                    self.plate.signature,
                    "population",
                    self._block_arrays(block.rows),
                    rules,
                    empty,
                    jax.device_put(points[block.rows]),
                    block.num,
                )
                for block, rules in zip(self._blocks, self._block_rules, strict=True)
            ]
            return gathered(parts, self._blocks)
        if self.method == "direct":
            empty = np.zeros((points.shape[1], 0))
            values = np.stack([self._log_joint(row, points[row], empty) for row in range(self.plate.size)])
            return values, np.zeros_like(values)
        pairs = [self._integrals(row, points[row]) for row in range(self.plate.size)]
        return np.stack([value for value, _ in pairs]), np.stack([error for _, error in pairs])

    def _block_arrays(self, rows: np.ndarray) -> DatasetArrays:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        return jax.tree.map(lambda array: jax.device_put(array[rows]), arrays)

    def _conditional(self, row: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points z (M, n, local) of the proposals at ``phi`` (M, shared), and their log weights (M, n)."""
        num, local = _CONDITIONAL_POINTS[self._is_traced], self.plate.signature.num_local
        uniform = uniform_points(num, 1 + local, self.seed + 2)
        pairs = [inner.conditional_points(uniform, self._rules[row], point) for point in phi]
        z, log_proposal = (np.stack(parts) for parts in zip(*pairs, strict=True))
        values = self._log_joint(row, np.repeat(phi, num, axis=0), z.reshape(-1, local))
        return z, values.reshape(len(phi), num) - log_proposal

    def _integrals(self, row: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log f of one dataset at ``phi`` (M, shared), and its error, both (M,)."""
        _, log_weight = self._conditional(row, phi)
        half = log_weight.shape[1] // 2
        with np.errstate(invalid="ignore"):
            error = 0.5 * (logsumexp(log_weight[:, :half], axis=1) - logsumexp(log_weight[:, half:], axis=1))
        value = logsumexp(log_weight, axis=1) - np.log(log_weight.shape[1])
        return value, np.where(np.isfinite(error), error, 0.0)

    def local_posterior(self, phi: np.ndarray | Points, chance: np.ndarray) -> LocalPosterior:
        points = self.points_of(phi)(np.arange(self.plate.size))
        if self.method == "population":
            parts = [
                inner.local_posteriors(
                    self.plate.signature,
                    "population",
                    self._block_arrays(block.rows),
                    rules,
                    np.zeros((0, 0)),
                    jax.device_put(points[block.rows]),
                    jax.device_put(chance[block.rows]),
                    block.num,
                )
                for block, rules in zip(self._blocks, self._block_rules, strict=True)
            ]
            return gathered(parts, self._blocks)
        rows = [self._local_of(row, points[row], chance[row]) for row in range(self.plate.size)]
        return LocalPosterior(*(np.stack(parts) for parts in zip(*rows, strict=True)))

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
        return np.array(draws), mean, np.sqrt(weight @ (theta - mean) ** 2), error

    @property
    def is_explored(self) -> np.ndarray:
        if not self.explored:
            return np.ones(self.plate.size, dtype=bool)
        pairs = np.array([[float(rule.temperature), float(rule.ess_fraction)] for rule in self._rules])
        return (pairs[:, 0] >= 1.0) & (pairs[:, 1] >= FEWEST_EFFECTIVE)
