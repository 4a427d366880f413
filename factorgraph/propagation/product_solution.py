"""Expectation propagation with the families that the user chose: from the normal approximation to a `Product`.

The normal posterior in coordinates gives the start and the frame, and remains what the correction proposes from. What
is EP's own answer, and the answer where nothing is corrected, is the product's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factorgraph.graph.plates import SharedVariable
from factorgraph.propagation.gaussian import marginals
from factorgraph.propagation.parallel import settled
from factorgraph.propagation.product import (
    Group,
    Product,
    ProductGraph,
    drawn,
    log_density,
    moments_of_product,
    points_of_product,
    product_graph,
)
from factorgraph.propagation.product_sweep import ProductState, initial_state, propose, take_step
from factorgraph.propagation.product_turns import run_in_turn
from factorgraph.propagation.scalar_message import ScalarVariable
from factorgraph.propagation.solution import Moments
from factorgraph.propagation.state import ContractedGraph, EPState, normal_of
from factorgraph.propagation.sweep import SweepInfo
from messages.multivariate_normal import log_partition, natural_from_moments
from searches.quasi import normal_points

_PATIENCE, _TURNS = 15, 15  # parallel sweeps without a smaller residual; sweeps then, one term after another
_CHECKED, _WIDER = 512, 2.0  # points of the posterior, and how much wider, out to which exact sites are checked
_TOLERATED_DIFFERENCE, _ROUNDING = 1e-8, 1e-12  # nats, and of the sum of all log factors


@dataclass(frozen=True, eq=False, slots=True)
class ProductSolution:
    """The product where the sweeps ended; ``is_exact`` where it is the posterior itself."""

    graph: ProductGraph
    state: ProductState
    history: list[SweepInfo]
    converged: bool
    is_exact: bool

    def moments(self, shared: Sequence[SharedVariable]) -> Moments:
        """Of the shared variables, in the user's coordinates."""
        return moments_of_product(self.graph, self.state.product, shared, self.state.log_evidence)

    def draws(self, num: int, seed: int = 8) -> np.ndarray:
        """About ``num`` equal-weight draws (n, D) in coordinates."""
        return points_of_product(self.graph, self.state.product, num, seed)

    @property
    def status(self) -> tuple[np.ndarray, ...]:
        """`Status` codes of the last updates, by plate."""
        return self._by_plate(self.state.status)

    @property
    def leave_one_out(self) -> tuple[np.ndarray, ...]:
        """Per plate (N,): log p(data of j | the other data), nats; nan for terms without data."""
        return self._by_plate([_leave_one_out(self.graph, self.state, i) for i in range(len(self.graph.groups))])

    def _by_plate(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        found = [np.zeros(plate.plate.size, dtype=parts[0].dtype) for plate in self.graph.graph.plates]
        for group, part in zip(self.graph.groups, parts, strict=True):
            found[group.number][group.rows] = part
        return tuple(found)


def solve_product(
    graph: ContractedGraph,
    scalars: tuple[ScalarVariable, ...],
    normals: Sequence[EPState],
    history: Sequence[SweepInfo],
    *,
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float,
) -> ProductSolution | None:
    """Sweep until nothing changes, from the first of the ``normals``, posteriors in one frame, that has a counterpart
    in the chosen families; None, with a warning, where none has. The sweeps go on from those of ``history``."""
    split = product_graph(graph, scalars, normals[0])
    starts = (_start(split, normal) for normal in normals)
    states = (initial_state(split, start) for start in starts if start is not None)
    state = next((found for found in states if found is not None), None)
    if state is None:
        warnings.warn(
            "optimise: no proper product of the chosen families of messages was found to start from; what is called "
            "EP's answer is that of normal messages.",
            stacklevel=2,
        )
        return None
    state = replace(state, num_steps=len(history))
    state, more, converged = _settled(
        split,
        state,
        max_steps=max_steps,
        min_steps=min_steps,
        tolerance=tolerance,
        damping=damping,
        power=power,
    )
    return ProductSolution(split, state, [*history, *more], converged, _is_exact(split, state))


def _settled(
    graph: ProductGraph,
    state: ProductState,
    *,
    max_steps: int,
    min_steps: int,
    tolerance: float,
    damping: float,
    power: float,
) -> tuple[ProductState, list[SweepInfo], bool]:
    """Parallel sweeps; where they do not settle, sweeps one term after another bring them near, and they go on."""
    history, converged = list[SweepInfo](), False
    while not converged and len(history) < max_steps:
        state, found, converged = settled(
            graph,
            state,
            propose=propose,
            take_step=take_step,
            max_steps=max_steps - len(history),
            min_steps=min_steps,
            tolerance=tolerance,
            damping=damping,
            power=power,
            patience=_PATIENCE,
        )
        history += found
        if converged or len(history) >= max_steps:
            break
        steps = min(_TURNS, max_steps - len(history))
        state, found, converged = run_in_turn(
            graph, state, max_steps=steps, tolerance=tolerance, damping=damping, power=power
        )
        history += found
    return state, history, converged


def _start(graph: ProductGraph, normal: EPState) -> Product | None:
    """The product with the moments of the ``normal`` posterior."""
    within = _within(graph, graph.normal)
    covariance = np.where(within, normal.covariance[np.ix_(graph.normal, graph.normal)], 0.0)
    precision = np.linalg.inv(covariance)
    mean, sd = normal.phi_moments()[0], np.sqrt(np.diag(normal.phi_moments()[1]))
    natural = [scalar.projected(mean[scalar.index], sd[scalar.index]) for scalar in graph.scalars]
    if not np.all(np.isfinite(natural)):
        return None
    return Product(normal_of(precision @ normal.mean[graph.normal], precision), np.array(natural), True)


def _within(graph: ProductGraph, index: np.ndarray) -> np.ndarray:
    blocks = graph.graph.blocks
    return np.ones((len(index),) * 2, dtype=bool) if blocks is None else blocks[index][:, None] == blocks[index]


def _is_exact(graph: ProductGraph, state: ProductState) -> bool:
    """Whether all sites are exact, also farther out than the points of the sweeps."""
    if not all(bool(np.all(exact)) for exact in state.exact):
        return False
    phi = drawn(graph, state.product, _WIDER * normal_points(_CHECKED, graph.graph.dimension, seed=6))
    target, log_factors, _ = graph.graph.log_density(phi)
    difference = target - log_density(graph, state.product, phi)
    size = sum(float(np.sum(np.max(np.abs(v), axis=1, where=np.isfinite(v), initial=0.0))) for v in log_factors)
    if not np.all(np.isfinite(difference)):
        return False
    return float(np.ptp(difference)) < _TOLERATED_DIFFERENCE + _ROUNDING * size


def _leave_one_out(graph: ProductGraph, state: ProductState, i: int) -> np.ndarray:
    """Of one group, (N,)."""
    group, site, product = graph.groups[i], state.sites[i], state.product
    if not group.plate.plate.signature.analyses:
        return np.full(group.size, np.nan)
    found = state.log_normalizers[i] + _log_ratio_of_normals(group, site, product)
    for place in range(len(group.scalar_at)):
        scalar, now = graph.scalars[group.scalar[0, place]], product.natural[group.scalar[:, place]]
        cavity = scalar.message(now - group.of_scalar(site, place))
        found = found + scalar.message(now).log_partition - cavity.log_partition
    return found


def _log_ratio_of_normals(group: Group, site: np.ndarray, product: Product) -> np.ndarray:
    """Log of the normaliser (N,) of the normal part of the posterior over that of the cavities."""
    if group.num_normal == 0:
        return np.zeros(group.size)
    mean, factor = marginals(product.normal.mean, product.normal.covariance, group.normal)
    natural = natural_from_moments(mean, factor @ np.swapaxes(factor, 1, 2))
    with np.errstate(invalid="ignore"):
        without = log_partition(natural - group.of_normal(site), group.num_normal)
    return log_partition(natural, group.num_normal) - without
