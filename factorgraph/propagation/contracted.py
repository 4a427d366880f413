"""A plate with its local variables integrated out: from points in the shared variables to log f of every dataset.

The host side of `inner`: chooses the method, explores the datasets in blocks, keeps their rules, and evaluates. Everything above
(start, sweep, correction) sees only ``log_factors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from factorgraph.graph.coordinate import coordinate_from_value
from factorgraph.graph.density import DatasetArrays, parameters_of
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner
from factorgraph.propagation.inner import Centre, Frame
from searches.quasi import normal_points, uniform_points

_BLOCKS = (16, 128, 512)
_GAUSSIAN_TOLERANCE = 1e-10
_PROPER_SCALES = np.array([1.0, 1.5, 2.5, 5.0])
_UNKNOWN_SCALES = np.array([0.03, 1.0, 30.0, 1000.0])
_ADAPTATION_POINTS = {1: 256, 2: 256, 3: 512}  # by the number of dimensions explored; 1,024 beyond
_FINAL_POINTS = {1: 1024, 2: 1024, 3: 2048}  # 4,096 beyond
_CONDITIONAL_POINTS = {1: 32, 2: 64, 3: 128}  # 256 beyond
_PREDICTIVE_DRAWS = 256
_WIDER = 1.5


def block_size(num_datasets: int) -> int:
    """Datasets to a kernel call: few sizes, so that graphs of different N share their kernels."""
    return next((size for size in _BLOCKS if num_datasets <= size), _BLOCKS[-1])


@dataclass(eq=False, slots=True)
class ContractedPlate:
    """A plate, its inner method, and the rule of every dataset.

    Attributes
    ----------
    method
        ``"direct" | "analytic" | "population" | "joint"``; see `inner`.
    rule
        Rules by block, on the device.
    ess_fraction
        (N,) effective fraction of the points with which a dataset was explored; one where nothing was.
    """

    plate: Plate
    seed: int
    shared: Sequence[SharedVariable]
    local_parameters: np.ndarray = field(init=False)
    method: str = field(init=False)
    block: int = field(init=False)
    shift: np.ndarray = field(init=False)
    rule: list[Any] = field(init=False)
    num_likelihood_calls: int = 0
    _arrays: list[DatasetArrays] = field(init=False)

    def __post_init__(self) -> None:
        self.block = block_size(self.plate.size)
        self.local_parameters = self.plate.arrays.local.copy()
        signature = self.plate.signature
        dimension = 1 + signature.num_shared + signature.num_local
        self.shift = _shifts(self.plate.fingerprints(), self.seed, dimension)
        self._upload()
        self.method = self._choose_method()
        self.rule = [None] * len(self._arrays)
        if self.method == "analytic":
            self.rule = [Centre(jnp.zeros((self.block, signature.num_local)))] * len(self._arrays)

    # --- blocks ---

    def _upload(self) -> None:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        self._arrays = [jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), arrays) for rows in self._rows()]

    def _rows(self, chosen: np.ndarray | None = None) -> list[np.ndarray]:
        """Row indices of each block, the last one padded with repeats."""
        chosen = np.arange(self.plate.size) if chosen is None else chosen
        starts = range(0, len(chosen), self.block)
        return [chosen[np.minimum(np.arange(start, start + self.block), len(chosen) - 1)] for start in starts]

    # --- method ---

    @property
    def explored(self) -> bool:
        """Whether the method needs its datasets explored before log f can be evaluated."""
        return self.method in ("population", "joint")

    def _choose_method(self) -> str:
        signature = self.plate.signature
        if signature.num_local == 0:
            return "direct"
        if self._is_gaussian():
            return "analytic"
        return "joint" if signature.reads_shared else "population"

    def _is_gaussian(self) -> bool:
        """Whether log L p(z | phi) is quadratic in z for every dataset, along lines that a polynomial could not hide on."""
        signature, lines = self.plate.signature, 4
        points = normal_points(3 * lines, max(signature.num_shared, signature.num_local), seed=1)
        phi = jnp.asarray(points[:lines, : signature.num_shared])
        start = jnp.asarray(points[lines : 2 * lines, : signature.num_local])
        step = jnp.asarray(0.5 * points[2 * lines :, : signature.num_local])
        worst = [np.asarray(inner.third_differences(signature, a, phi, start, step)) for a in self._arrays]
        return bool(np.max(worst) < _GAUSSIAN_TOLERANCE)

    # --- exploration ---

    def set_reference(self, phi: np.ndarray, proper: bool) -> None:
        """Centre and scale the coordinates of what is drawn from a parent on its predictive density over ``phi`` (n, D)."""
        drawn = [slot for slot, _ in self.plate.signature.draws if not self.plate.signature.roles[slot].shared]
        if not drawn or not proper:
            return
        values = self._predictive(phi)
        for slot in drawn:
            role = self.plate.signature.roles[slot]
            unit = self.local_parameters[:, None, role.position].copy()
            unit[..., 2:] = (0.0, 1.0)
            with np.errstate(all="ignore"):
                t = coordinate_from_value(role.kind or "real", values[slot], unit)
            low, middle, high = np.nanquantile(np.where(np.isfinite(t), t, np.nan), [0.16, 0.5, 0.84], axis=1)
            self.local_parameters[:, role.position, 2] = middle
            self.local_parameters[:, role.position, 3] = np.maximum(_WIDER * 0.5 * (high - low), 1e-12)
        self._upload()

    def _predictive(self, phi: np.ndarray) -> dict[int, np.ndarray]:
        """Draws (N, n) of every slot, parents first; ``phi`` (n, D) in coordinates."""
        signature, index = self.plate.signature, self.plate.shared_index
        normal = normal_points(len(phi), max(signature.num_local, 1), seed=2)
        table = np.stack([s.value(phi[:, i]) for i, s in enumerate(self.shared)]) if len(self.shared) else None
        values: dict[int, np.ndarray] = {}
        drawn = {slot: k for k, (slot, _) in enumerate(signature.draws)}
        for slot, role in enumerate(signature.roles):
            if role.shared:
                values[slot] = table[index[:, role.position]]
            elif slot in drawn:
                values[slot] = np.zeros((self.plate.size, len(phi)))
            else:
                values[slot] = role.value(normal[:, role.position], self.local_parameters[:, None, role.position])
        constants = tuple(c[:, None] for c in self.plate.arrays.constants[signature.num_constants :])
        constants = (None,) * signature.num_constants + constants
        for _ in drawn:  # a draw may be another draw's parameter: as many passes as draws settle every order
            parameters = parameters_of(signature, [values[s] for s in range(len(values))], constants)
            for slot, k in drawn.items():
                role = signature.roles[slot]
                if not role.shared:
                    family = signature.draws[k][1]
                    drawn_values = family.from_normal(normal[:, role.position], *parameters[k])
                    values[slot] = np.broadcast_to(drawn_values, (self.plate.size, len(phi)))
        return values

    def explore(
        self, frame_mean: np.ndarray, frame_cholesky: np.ndarray, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None
    ) -> None:
        """Explore the datasets (all, or the ``chosen`` rows, whose rules are replaced) with phi around the frame (D,), (D, D)."""
        if not self.explored:
            return
        rules = [self._explore_block(rows, frame_mean, frame_cholesky, proper, rounds) for rows in self._rows(chosen)]
        if chosen is None:
            self.rule = rules
            return
        flat = jax.tree.map(lambda *parts: np.concatenate([np.asarray(p) for p in parts])[: len(chosen)], *rules)
        whole = jax.tree.map(lambda *parts: np.concatenate([np.asarray(p) for p in parts])[: self.plate.size], *self.rule)
        for target, source in zip(jax.tree.leaves(whole), jax.tree.leaves(flat), strict=True):
            target[chosen] = source
        self.rule = [jax.tree.map(lambda a, rows=rows: jnp.asarray(a[rows]), whole) for rows in self._rows()]

    def _explore_block(self, rows: np.ndarray, mean: np.ndarray, factor: np.ndarray, proper: bool, rounds: int) -> Any:
        signature = self.plate.signature
        arrays = jax.tree.map(
            lambda a: jnp.asarray(a[rows]), self.plate.arrays._replace(local=self.local_parameters)
        )
        scales = jnp.asarray(_PROPER_SCALES if proper else _UNKNOWN_SCALES)
        if self.method == "population":
            dimension = signature.num_local
            adaptation, final = _ADAPTATION_POINTS.get(dimension, 1024), _FINAL_POINTS.get(dimension, 4096)
            self.num_likelihood_calls += len(rows) * (3 * adaptation + rounds * final)
            return inner.explore_population(
                signature,
                arrays,
                scales,
                jnp.asarray(uniform_points(adaptation, 1 + dimension, self.seed)),
                jnp.asarray(uniform_points(final, 1 + dimension, self.seed + 1)),
                jnp.asarray(self.shift[rows][:, : 1 + dimension]),
                jnp.asarray(rounds),
                256 if len(signature.interface) <= 1 else 512,
            )
        dimension = signature.num_shared + signature.num_local
        adaptation = _ADAPTATION_POINTS.get(dimension, 1024)
        self.num_likelihood_calls += len(rows) * 3 * adaptation
        index = self.plate.shared_index[rows]
        covariance = (factor @ factor.T)[index[:, :, None], index[:, None, :]]
        frame = Frame(jnp.asarray(mean[index]), jnp.asarray(np.linalg.cholesky(covariance)))
        return inner.explore_joint(
            signature,
            arrays,
            scales,
            jnp.asarray(uniform_points(adaptation, 1 + dimension, self.seed)),
            jnp.asarray(self.shift[rows]),
            frame,
        )

    # --- evaluation ---

    @property
    def uniform(self) -> np.ndarray:
        """Standardised points of the ``joint`` method; consecutive halves are its two half-samples."""
        local = self.plate.signature.num_local
        return uniform_points(_CONDITIONAL_POINTS.get(local, 256), 1 + local, self.seed + 2)

    def log_factors(self, phi: Any, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """log f of each dataset at its own points, and the error of its integral.

        Parameters
        ----------
        phi : function of row indices (B,) that gives their points (B, n, shared), or an array (n, D) of points for all.

        Returns
        -------
        (N, n), (N, n)
        """
        points = phi if callable(phi) else lambda rows: np.moveaxis(phi[:, self.plate.shared_index[rows]], 0, 1)
        uniform = jnp.asarray(self.uniform)
        values, errors = [], []
        for rows, arrays, rule in zip(self._rows(), self._arrays, self.rule, strict=True):
            value, error = inner.log_factors(
                self.plate.signature, self.method, arrays, rule, uniform, jnp.asarray(points(rows))
            )
            values.append(value)
            errors.append(error)
        size = self.plate.size
        return np.concatenate([np.asarray(v) for v in values])[:size], np.concatenate([np.asarray(e) for e in errors])[:size]

    @property
    def ess_fraction(self) -> np.ndarray:
        if not self.explored:
            return np.ones(self.plate.size)
        return np.concatenate([np.asarray(rule.ess_fraction) for rule in self.rule])[: self.plate.size]


def _shifts(fingerprints: np.ndarray, seed: int, dimension: int) -> np.ndarray:
    """(N, dimension) uniform numbers that depend on each dataset's content and the run's seed alone."""
    return np.stack([np.random.default_rng([seed, int(value)]).random(dimension) for value in fingerprints])
