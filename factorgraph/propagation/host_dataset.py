"""One dataset whose likelihood JAX cannot trace: all that meets user code, and keeps what it said.

A `HostDataset` carries what is needed to explore a dataset and to integrate over its private variables, and nothing of
the plate, so that another thread, process or machine can do it: see `Task`.
"""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from factorgraph.checkpoint.journal import NOTHING_KEPT, Journal
from factorgraph.graph.density import DatasetArrays, Signature, log_draws, log_whitened, values_of
from factorgraph.propagation import population
from factorgraph.propagation.contracted import MAX_STAGES, Reach
from factorgraph.propagation.joint import NEWTON_STEPS, Conditional, conditional_means, conditional_of, proposal_at
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.reference import Frame, joint_reference, log_base, reference_of
from factorgraph.propagation.searched import NOT_THERE, explored_by
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
_NODES = 256
_CALLS_AT_ONCE = 64  # that a journal keeps together
_KINDS_KEPT = 16  # kinds of datasets that a worker knows at a time


class Calls(NamedTuple):
    """Log likelihoods (n,), how many calls they took, and the last traceback of those that raised."""

    values: np.ndarray
    num: int
    failure: str


class Outcome(NamedTuple):
    """The ``result`` of something that called a dataset's likelihood: by how many calls, the last traceback of those
    that raised, and how the user's search of the dataset failed, or nothing."""

    result: Any
    num_calls: int
    failure: str
    search_failure: str


class Answer(NamedTuple):
    """What a likelihood returned."""

    text: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Kind:
    """What the datasets of a plate have in common. In another process equal ones are one object, so that what is
    compiled for one dataset serves the next."""

    def __init__(self, signature: Signature, optimiser: Any, seed: int, token: str | None = None) -> None:
        self.signature, self.optimiser, self.seed = signature, optimiser, seed
        self.token = uuid.uuid4().hex if token is None else token

    def __reduce__(self) -> Any:
        return _known_kind, (self.token, self.signature, self.optimiser, self.seed)


@lru_cache(maxsize=_KINDS_KEPT)
def _place_of(token: str) -> list[Kind]:
    return []


def _known_kind(token: str, signature: Signature, optimiser: Any, seed: int) -> Kind:
    place = _place_of(token)
    if not place:
        place.append(Kind(signature, optimiser, seed, token))
    return place[0]


class HostDataset:
    """A dataset of a `host.HostPlate`.

    Parameters
    ----------
    analyses
        The user's, whose log likelihoods are summed.
    arrays
        Of this dataset; scalars as Python numbers.
    shift
        (1 + shared + local,) uniform numbers of the dataset's own.
    search_failure
        How the user's search has failed at it so far.
    journal
        Keeps calls and searches; it stays in this process.
    """

    def __init__(
        self,
        kind: Kind,
        analyses: tuple[Any, ...],
        arrays: DatasetArrays,
        shift: np.ndarray,
        search_failure: str = "",
        journal: Journal = NOTHING_KEPT,
    ) -> None:
        self.kind, self.analyses, self.arrays, self.shift = kind, analyses, arrays, shift
        self.journal = journal
        self.num_calls, self.failure, self.search_failure = 0, "", search_failure

    def __reduce__(self) -> Any:
        return HostDataset, (self.kind, self.analyses, self.arrays, self.shift, self.search_failure)

    def outcome(self, function: Callable[[], Any]) -> Outcome:
        """What ``function`` returns and what it added to what is known of the dataset, which is taken back."""
        before = self.num_calls, self.failure, self.search_failure
        self.failure = ""
        outcome = Outcome(function(), self.num_calls - before[0], self.failure, self.search_failure)
        self.num_calls, self.failure, self.search_failure = before
        return outcome

    # --- the likelihood ---

    def log_likelihoods(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """The user's log likelihood (n,) at ``points``, call by call: -inf where it raises, fails an assertion or is no
        finite number. Calls are kept in the journal, some at a time; single ones belong to a search, which is kept as a
        whole."""
        journal, found = self.journal if len(points) > 1 else NOTHING_KEPT, []
        for first in range(0, len(points), _CALLS_AT_ONCE):
            part = points[first : first + _CALLS_AT_ONCE]
            calls = journal.kept("calls", (self.shift, np.array(part, dtype=float)), (), partial(self._calls, part))
            self.num_calls += calls.num
            self.failure = calls.failure or self.failure
            found.append(calls.values)
        return np.concatenate(found) if found else np.zeros(0)

    def _calls(self, points: Sequence[Sequence[float]]) -> Calls:
        signature = self.kind.signature
        constants = self.arrays.constants[: signature.num_constants]
        functions = [analysis.log_likelihood_function for analysis in self.analyses]
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

    def tried(self, num: int) -> tuple[list[Answer], str]:
        """What the likelihoods answer at the first of ``num`` points at which none of them raises; where all do, what
        was said last."""
        signature, constants = self.kind.signature, self.arrays.constants[: self.kind.signature.num_constants]
        said = ""
        for t in np.linspace(0.0, 0.5, num):
            phi, z = np.full(signature.num_shared, t), np.full(signature.num_local, t)
            values = [float(v) for v in values_of(signature, phi, z, self.arrays)]
            if signature.structure.has_assertions and not bool(signature.structure.satisfied(values, constants)):
                continue
            try:
                instances, _ = signature.structure.build(values, constants)
                pairs = zip(self.analyses, instances, strict=True)
                answers = [analysis.log_likelihood_function(instance) for analysis, instance in pairs]
            except Exception:  # user code
                said = traceback.format_exc(limit=-3)
                continue
            return [Answer(repr(a), np.shape(a), np.asarray(a).dtype) for a in answers], ""
        return [], said

    def log_joint(self, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log L p(z | phi) (n,) at ``phi`` (n, shared) and ``z`` (n, local)."""
        signature, arrays = self.kind.signature, self.arrays
        with np.errstate(all="ignore"):
            prior = log_draws(signature, phi.T, z.T, arrays) + log_whitened(signature, z.T)
        total = np.where(np.isfinite(prior), prior, -np.inf) + np.zeros(len(z))
        possible = np.isfinite(total)
        if signature.analyses:
            total[possible] += self._called(phi[possible], z[possible])
        return total

    def _called(self, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log L (n,) at ``phi`` (n, shared) and ``z`` (n, local)."""
        values = values_of(self.kind.signature, phi.T, z.T, self.arrays)
        columns = [np.broadcast_to(value, len(z)).tolist() for value in values]
        return self.log_likelihoods(list(zip(*columns, strict=True)) if columns else [()] * len(z))

    # --- exploration ---

    def explore_population(self, scales: np.ndarray, rounds: int) -> Nodes:
        """By the optimiser if there is one; as if there were none where its samples do not lead to the dataset."""
        optimiser = self.kind.optimiser
        found = self._nodes(scales, rounds, optimiser)
        if optimiser is None or self.search_failure or is_sound(found):
            return found
        again = self._nodes(scales, rounds, None)
        if is_sound(again):
            self.search_failure = NOT_THERE
        return again

    def _nodes(self, scales: np.ndarray, rounds: int, optimiser: Any) -> Nodes:
        signature, dimension = self.kind.signature, self.kind.signature.num_local
        reference = reference_of(signature, scales)
        shift = self.shift[: 1 + dimension]

        def likelihood(z: np.ndarray) -> np.ndarray:
            return self._called(np.zeros((len(z), signature.num_shared)), z)

        def relative(z: np.ndarray) -> np.ndarray:
            base = log_base(signature, self.arrays, scales, z)
            return likelihood(z) + base - mixtures.log_density(reference, z)

        adaptation = self._adapted(relative, reference, optimiser, ())
        proposal = proposal_of(reference, adaptation.fitted)
        uniform = uniform_points(rounds * _FINAL_POINTS, 1 + dimension, self.kind.seed + 1)
        z = mixtures.draws(proposal, shifted(uniform, shift))
        nodes = population.nodes_from_points(
            signature,
            jax.tree.map(jax.device_put, self.arrays),
            jax.device_put(scales),
            jax.device_put(z),
            jax.device_put(likelihood(z)),
            jax.device_put(mixtures.log_density(proposal, z)),
            _NODES,
        )
        return jax.tree.map(np.asarray, nodes)

    def explore_joint(self, scales: np.ndarray, frame: Frame) -> Conditional:
        signature, num_shared = self.kind.signature, self.kind.signature.num_shared
        local = reference_of(signature, scales)

        def relative(points: np.ndarray) -> np.ndarray:
            phi, z = frame.mean + points[:, :num_shared] @ frame.cholesky.T, points[:, num_shared:]
            return self.log_joint(phi, z) - mixtures.log_density(local, z)

        adaptation = self._adapted(relative, joint_reference(signature, scales), self.kind.optimiser, tuple(frame))
        return conditional_of(signature, adaptation, local, frame, self.shift)

    def _adapted(self, likelihood: Any, reference: Mixture, optimiser: Any, near: tuple[np.ndarray, ...]) -> Adaptation:
        """A mixture fitted to the dataset, by the optimiser if there is one and it does not fail; ``near`` is what
        the likelihood depends on beside the dataset."""
        dimension, shift, seed = reference.mean.shape[1], self.shift[0], self.kind.seed
        if optimiser is not None:
            names = tuple(f"x{i}" for i in range(dimension))
            target = Target(
                names=names, log_likelihood=lambda x, data: float(likelihood(np.asarray(x)[None])[0]), is_jax=False
            )
            near = (*near, *reference, self.arrays.local)
            own = [seed, int(shift * 2**53)]
            search = partial(explored_by, optimiser.explore, target, _NUM_COMPONENTS, own)
            method = "joint" if self.kind.signature.reads_shared else "population"
            outcome = self.journal.kept("search", (method, self.shift), near, partial(self.outcome, search))
            self.num_calls += outcome.num_calls
            self.failure = outcome.failure or self.failure
            self.search_failure = outcome.result.failure
            if not self.search_failure:
                return outcome.result.adaptation
        table = point_table(_ADAPTATION_POINTS, dimension, MAX_STAGES, seed)
        return adapt_on_host(likelihood, reference, table, shift, num_components=_NUM_COMPONENTS)

    # --- integrals over the private variables ---

    def direct(self, phi: np.ndarray) -> np.ndarray:
        """log f (M,) at ``phi`` (M, shared), where nothing is private."""
        return self.log_joint(phi, np.zeros((len(phi), 0)))

    def _conditional(self, rule: Conditional, num_points: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points z (M, n, local) of the proposals at ``phi`` (M, shared), and their log weights (M, n)."""
        local = self.kind.signature.num_local

        def log_density(z: np.ndarray) -> np.ndarray:
            return self.log_joint(np.repeat(phi, len(z) // len(phi), axis=0), z)

        means = conditional_means(rule, phi)
        num = means.shape[1]
        factors = np.tile(rule.cholesky, (len(phi), 1, 1))
        modes = find_modes(log_density, means.reshape(-1, local), factors, NEWTON_STEPS)
        uniform = shifted(uniform_points(num_points, 1 + local, self.kind.seed + 2), rule.shift)
        points, log_proposals = [], []
        for k, mean in enumerate(means):
            proposal = proposal_at(rule, mean, Modes(*(part[k * num : (k + 1) * num] for part in modes)))
            points.append(mixtures.draws(proposal, uniform))
            log_proposals.append(mixtures.log_density(proposal, points[-1]))
        z = np.stack(points)
        return z, log_density(z.reshape(-1, local)).reshape(len(phi), -1) - np.stack(log_proposals)

    def integrals(self, rule: Conditional, num_points: int, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log f at ``phi`` (M, shared), and its error, both (M,)."""
        _, log_weight = self._conditional(rule, num_points, phi)
        half = log_weight.shape[1] // 2
        with np.errstate(invalid="ignore"):
            error = 0.5 * (logsumexp(log_weight[:, :half], axis=1) - logsumexp(log_weight[:, half:], axis=1))
        value = logsumexp(log_weight, axis=1) - np.log(log_weight.shape[1])
        return value, np.where(np.isfinite(error), error, 0.0)

    def local_posterior(
        self, rule: Conditional, num_points: int, phi: np.ndarray, chance: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The fields of an `inner.LocalPosterior`, given draws ``phi`` (M, shared)."""
        arrays = self.arrays
        roles = [role for role in self.kind.signature.roles if not role.shared]
        every, weights, draws, differences = [], [], [], []
        for z, log_weight, lot in zip(*self._conditional(rule, num_points, phi), chance, strict=True):
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


@dataclass(frozen=True, eq=False, slots=True)
class Task:
    """A method of a dataset, by ``name``, to be called wherever there is time."""

    dataset: HostDataset
    name: str
    arguments: tuple[Any, ...]
    label: str = "a dataset"  # for errors

    def __call__(self) -> Outcome:
        with jax.enable_x64(True):  # which is another thread's, or process's, own affair
            return self.dataset.outcome(partial(getattr(self.dataset, self.name), *self.arguments))


def is_sound(rule: Any) -> bool:
    numbers = (rule.temperature, rule.ess_fraction, rule.log_loss)
    return bool(Reach(*(np.asarray(number, dtype=float) for number in numbers)).is_sound)
