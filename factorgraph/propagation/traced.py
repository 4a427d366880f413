"""Plates whose likelihood JAX can trace: blocks of datasets through the kernels of `inner`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from factorgraph.graph.density import DatasetArrays
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.propagation import inner
from factorgraph.propagation.contracted import PROPER_SCALES, UNKNOWN_SCALES, ContractedPlate, Points
from factorgraph.propagation.inner import Centre, Frame, LocalPosterior
from factorgraph.propagation.regression import num_points
from factorgraph.propagation.surrogate import Surrogate, design_points, fit_surrogate, is_accurate, supported
from searches.quasi import normal_points, uniform_points

_BLOCKS = (16, 128, 512)
_GAUSSIAN_TOLERANCE = 1e-10
_ADAPTATION_POINTS = {1: 128, 2: 256, 3: 256, 4: 512}  # by the number of dimensions explored; 1,024 beyond
_FINAL_POINTS = {1: 512, 2: 1024, 3: 1024, 4: 2048}  # 4,096 beyond
_CONDITIONAL_POINTS = 128  # of ``joint`` while the mode is sought
_SHARP_POINTS = {1: 512, 2: 2048}  # of ``joint`` thereafter; 4,096 beyond
_FEWEST_FOR_SURROGATE = {"joint": 40, "population": 200}  # datasets; fewer are integrated anew at every point
_POINTS_PER_CALL = 16  # of ``joint``
_JOINT_ADAPTATION_POINTS = 1024
_NODES, _NODES_OF_SEVERAL = 256, 512


def block_size(num_datasets: int) -> int:
    """Datasets to a kernel call: few sizes, so that graphs of different N share their kernels."""
    return next((size for size in _BLOCKS if num_datasets <= size), _BLOCKS[-1])


class TracedPlate(ContractedPlate):
    """See `ContractedPlate`; rules are kept by block, on the device."""

    def __init__(self, plate: Plate, shared: Sequence[SharedVariable], seed: int) -> None:
        super().__init__(plate, shared, seed)
        self._block = block_size(plate.size)
        self._arrays: list[DatasetArrays] = []
        self._upload()
        self.method = self._choose_method()
        self._rules: list[Any] = [None] * len(self._arrays)
        self._num_points = _CONDITIONAL_POINTS
        self._surrogate: Surrogate | None = None
        if self.method == "analytic":
            self._rules = [Centre(np.zeros((self._block, plate.signature.num_local)))] * len(self._arrays)

    def _upload(self) -> None:
        self._arrays = [self._block_arrays(rows) for rows in self._rows()]

    def _block_arrays(self, rows: np.ndarray) -> DatasetArrays:
        arrays = self.plate.arrays._replace(local=self.local_parameters)
        return jax.tree.map(lambda array: jax.device_put(array[rows]), arrays)

    def _rows(self, chosen: np.ndarray | None = None) -> list[np.ndarray]:
        """Row indices of each block, the last one padded with repeats."""
        chosen = np.arange(self.plate.size) if chosen is None else chosen
        starts = range(0, len(chosen), self._block)
        return [chosen[np.minimum(np.arange(start, start + self._block), len(chosen) - 1)] for start in starts]

    def _gathered(self, blocks: Sequence[Any], size: int) -> Any:
        return jax.tree.map(lambda *parts: np.concatenate([np.asarray(part) for part in parts])[:size], *blocks)

    # --- method ---

    def _choose_method(self) -> str:
        signature = self.plate.signature
        if signature.num_local == 0:
            return "direct"
        if self._is_gaussian():
            return "analytic"
        return "joint" if signature.reads_shared else "population"

    def _is_gaussian(self) -> bool:
        """Whether log L p(z | phi) is quadratic in z for every dataset, along random lines."""
        signature, lines = self.plate.signature, 4
        points = normal_points(3 * lines, max(signature.num_shared, signature.num_local), seed=1)
        phi = jax.device_put(points[:lines, : signature.num_shared])
        start = jax.device_put(points[lines : 2 * lines, : signature.num_local])
        step = jax.device_put(0.5 * points[2 * lines :, : signature.num_local])
        worst = [inner.third_differences(signature, arrays, phi, start, step) for arrays in self._arrays]
        found = np.concatenate([np.asarray(block) for block in worst])
        sound = np.isfinite(found)  # a dataset whose likelihood is not finite has no say: it will be quarantined
        return bool(np.any(sound)) and bool(np.all(found[sound] < _GAUSSIAN_TOLERANCE))

    # --- exploration ---

    def set_reference(self, phi: np.ndarray) -> bool:
        changed = super().set_reference(phi)
        if changed:
            self._upload()
        return changed

    def explore(
        self, mean: np.ndarray, factor: np.ndarray, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None
    ) -> None:
        if not self.explored:
            return
        self._surrogate, self._num_points = None, _CONDITIONAL_POINTS
        scales = jax.device_put(PROPER_SCALES if proper else UNKNOWN_SCALES)
        if self.method == "population":
            rules = self._explore_population(self._rows(chosen), scales, rounds)
        else:
            rules = self._explore_joint(self._rows(chosen), scales, mean, factor)
        if chosen is None or self._rules[0] is None:
            self._rules = rules
            return
        whole, part = self._gathered(self._rules, self.plate.size), self._gathered(rules, len(chosen))
        for target, source in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
            target[chosen] = source
        self._rules = [jax.tree.map(lambda a, rows=rows: jax.device_put(a[rows]), whole) for rows in self._rows()]

    def _explore_population(self, blocks: list[np.ndarray], scales: Any, rounds: int) -> list[Any]:
        signature = self.plate.signature
        dimension = signature.num_local
        adaptation, final = _ADAPTATION_POINTS.get(dimension, 1024), _FINAL_POINTS.get(dimension, 4096)
        uniform = jax.device_put(uniform_points(adaptation, 1 + dimension, self.seed))
        more_uniform = jax.device_put(uniform_points(final, 1 + dimension, self.seed + 1))
        num_nodes = _NODES if len(signature.interface) <= 1 else _NODES_OF_SEVERAL
        self.num_likelihood_calls += sum(map(len, blocks)) * (3 * adaptation + rounds * final)
        return [
            inner.explore_population(
                signature,
                self._block_arrays(rows),
                scales,
                uniform,
                more_uniform,
                jax.device_put(self.shift[rows][:, : 1 + dimension]),
                np.int64(rounds),
                num_nodes,
            )
            for rows in blocks
        ]

    def _explore_joint(self, blocks: list[np.ndarray], scales: Any, mean: np.ndarray, factor: np.ndarray) -> list[Any]:
        signature = self.plate.signature
        dimension = signature.num_shared + signature.num_local
        uniform = jax.device_put(uniform_points(_JOINT_ADAPTATION_POINTS, 1 + dimension, self.seed))
        self.num_likelihood_calls += sum(map(len, blocks)) * 3 * _JOINT_ADAPTATION_POINTS
        covariance = factor @ factor.T
        rules = []
        for rows in blocks:
            index = self.plate.shared_index[rows]
            local = np.linalg.cholesky(covariance[index[:, :, None], index[:, None, :]])
            frame = Frame(jax.device_put(mean[index]), jax.device_put(local))
            arrays, shift = self._block_arrays(rows), jax.device_put(self.shift[rows])
            rules.append(inner.explore_joint(signature, arrays, scales, uniform, shift, frame))
        return rules

    def sharpen(self, mean: np.ndarray, factor: np.ndarray) -> None:
        signature = self.plate.signature
        if not self.explored:
            return
        if self.method == "joint":
            self._num_points = _SHARP_POINTS.get(signature.num_local, 4096)
        if self.plate.size < _FEWEST_FOR_SURROGATE[self.method] or not supported(signature.num_shared):
            return
        index = self.plate.shared_index
        centre = mean[index]
        local = np.linalg.cholesky((factor @ factor.T)[index[:, :, None], index[:, None, :]])
        fitted, held_back = design_points(signature.num_shared)
        z = np.concatenate([fitted, held_back])
        values, errors = self.log_factors(lambda rows: centre[rows][:, None] + np.einsum("bij,nj->bni", local[rows], z))
        finite, num = np.isfinite(values), len(fitted)
        lost = ~np.any(finite, axis=1)
        if not np.all(finite[~lost]):
            return
        surrogate = fit_surrogate(centre, local, fitted, values[:, :num], errors[:, :num], lost)
        phi = centre[:, None] + np.einsum("bij,nj->bni", local, held_back)
        predicted, _ = surrogate.evaluate(np.arange(self.plate.size), phi)
        if is_accurate(values[~lost, num:] - predicted[~lost]):
            self._surrogate = surrogate

    # --- evaluation ---

    def _uniform(self) -> Any:
        """Standardised points of the ``joint`` method; consecutive halves are its two half-samples."""
        local = self.plate.signature.num_local
        num = self._num_points if self.method == "joint" else 2
        return jax.device_put(uniform_points(num, 1 + local, self.seed + 2))

    def log_factors(self, phi: np.ndarray | Points) -> tuple[np.ndarray, np.ndarray]:
        points, size = self.points_of(phi), self.plate.size
        if self._surrogate is not None:
            rows = np.arange(size)
            return self._surrogate.evaluate(rows, points(rows))
        uniform = self._uniform()
        blocks = [
            self._block_factors(arrays, rule, uniform, points(rows))
            for rows, arrays, rule in zip(self._rows(), self._arrays, self._rules, strict=True)
        ]
        return self._gathered(blocks, size)

    def _block_factors(self, arrays: DatasetArrays, rule: Any, uniform: Any, points: np.ndarray) -> tuple[Any, Any]:
        """`inner.log_factors` for one block, in calls of one size, so that it is compiled once."""
        kernel = partial(inner.log_factors, self.plate.signature, self.method, arrays, rule, uniform)
        num = points.shape[1]
        step = _POINTS_PER_CALL if self.method == "joint" else num_points(self.plate.signature.num_shared)
        if self.method == "joint":
            self.num_likelihood_calls += points.shape[0] * num * uniform.shape[0]
        padded = points[:, np.minimum(np.arange(-(-num // step) * step), num - 1)]
        calls = [kernel(jax.device_put(padded[:, i : i + step])) for i in range(0, padded.shape[1], step)]
        values, errors = (
            np.concatenate([np.asarray(part) for part in parts], axis=1) for parts in zip(*calls, strict=True)
        )
        return values[:, :num], errors[:, :num]

    def local_posterior(self, phi: np.ndarray | Points, chance: np.ndarray) -> LocalPosterior:
        points = self.points_of(phi)
        uniform = jax.device_put(uniform_points(_CONDITIONAL_POINTS, 1 + self.plate.signature.num_local, self.seed + 2))
        blocks = [
            inner.local_posteriors(
                self.plate.signature,
                self.method,
                arrays,
                rule,
                uniform,
                jax.device_put(points(rows)),
                jax.device_put(chance[rows]),
            )
            for rows, arrays, rule in zip(self._rows(), self._arrays, self._rules, strict=True)
        ]
        return self._gathered(blocks, self.plate.size)

    @property
    def ess_fraction(self) -> np.ndarray:
        if not self.explored:
            return np.ones(self.plate.size)
        return np.concatenate([np.asarray(rule.ess_fraction) for rule in self._rules])[: self.plate.size]
