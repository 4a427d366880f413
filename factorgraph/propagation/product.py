"""A posterior that is a product: one normal distribution over most shared variables, times one gamma, inverse gamma or
beta message for each variable that the user chose such a family for.

The terms of a plate are split into groups that touch the same kinds of variables. A site has natural parameters over
the statistics of what its term touches: first those of the normal variables, in the frame of the `EPState` that the
sweeps start from, then two for each scalar message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factorgraph.graph.message_families import EXPONENTIAL
from factorgraph.graph.plates import SharedVariable
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.factorised import masked
from factorgraph.propagation.scalar_message import NUM_STATISTICS, ScalarVariable, drawn_positions
from factorgraph.propagation.solution import Moments
from factorgraph.propagation.state import LOG_SQRT_2PI, ContractedGraph, EPState, Posterior, normal_of, scatter
from messages.multivariate_normal import num_natural
from searches.quasi import normal_points

_NUM_POINTS = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Terms of one plate that touch variables of the same families, in the same places.

    Attributes
    ----------
    rows
        (N,) of the plate, ascending.
    normal_at, scalar_at
        (g,), (c,) the places of the normal variables and of the scalar ones among those that a term touches.
    normal, scalar
        (N, g), (N, c) which of all normal variables, and of all scalar ones, they are.
    kept
        (p,) whether the posterior has a statistic of the normal variables: not those that join two blocks.
    owned
        (c,) whether the term is the density of the scalar variable, so that its log factor has the Jacobian in it.
    """

    plate: ContractedPlate
    number: int
    rows: np.ndarray
    normal_at: np.ndarray
    scalar_at: np.ndarray
    normal: np.ndarray
    scalar: np.ndarray
    kept: np.ndarray
    owned: np.ndarray

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def num_normal(self) -> int:
        return len(self.normal_at)

    @property
    def num_site(self) -> int:
        return num_natural(self.num_normal) + NUM_STATISTICS * len(self.scalar_at)

    def of_scalar(self, site: np.ndarray, place: int) -> np.ndarray:
        """The natural parameters (N, 2) of ``site`` (N, p) for the variable in this place."""
        start = num_natural(self.num_normal) + NUM_STATISTICS * place
        return site[:, start : start + NUM_STATISTICS]

    def of_normal(self, site: np.ndarray) -> np.ndarray:
        return site[:, : num_natural(self.num_normal)]


@dataclass(frozen=True, eq=False, slots=True)
class ProductGraph:
    """The contracted graph, split: ``normal`` (G,) and ``scalars`` are all shared variables, ``whitened`` (G,) those
    of the normal ones whose prior is N(0, 1), ``origin`` and ``scale`` (G,) their frame."""

    graph: ContractedGraph
    groups: tuple[Group, ...]
    normal: np.ndarray
    scalars: tuple[ScalarVariable, ...]
    whitened: np.ndarray
    origin: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """The product of prior and sites: a normal distribution, and natural parameters (S, 2) of the scalar messages."""

    normal: Posterior
    natural: np.ndarray
    proper: bool


def product_graph(graph: ContractedGraph, scalars: tuple[ScalarVariable, ...], state: EPState) -> ProductGraph:
    """Split a graph; the frame is that of ``state``."""
    index = np.array([s.index for s in scalars], dtype=int)
    place, family = np.full(graph.dimension, -1), np.full(graph.dimension, -1)
    place[index] = np.arange(len(index))
    family[index] = [EXPONENTIAL.index(s.name) for s in scalars]
    normal = np.flatnonzero(place < 0)
    place[normal] = np.arange(len(normal))
    groups = [
        group
        for number, plate in enumerate(graph.plates)
        for group in _groups(plate, number, place, family, graph.blocks)
    ]
    return ProductGraph(
        graph, tuple(groups), normal, scalars, graph.whitened[normal], state.origin[normal], state.scale[normal]
    )


def _groups(
    plate: ContractedPlate, number: int, place: np.ndarray, family: np.ndarray, blocks: np.ndarray | None
) -> list[Group]:
    """``place`` (D,) of each shared variable among the normal or the scalar ones, ``family`` (D,) of its messages."""
    index, drawn = plate.plate.shared_index, drawn_positions(plate.plate)
    of_block = np.zeros_like(index) if blocks is None else blocks[index]
    patterns = np.concatenate([family[index], _same(of_block)], axis=1)
    kinds, which = np.unique(patterns, axis=0, return_inverse=True)
    found = []
    for kind in range(len(kinds)):
        rows = np.flatnonzero(which.ravel() == kind)
        is_scalar = family[index[rows[0]]] >= 0
        scalar_at, normal_at = np.flatnonzero(is_scalar), np.flatnonzero(~is_scalar)
        block = of_block[rows[0]][normal_at]
        within = (block[:, None] == block)[None]
        found.append(
            Group(
                plate,
                number,
                rows,
                normal_at,
                scalar_at,
                place[index[rows][:, normal_at]],
                place[index[rows][:, scalar_at]],
                masked(np.ones((1, num_natural(len(normal_at)))), within)[0] > 0,
                np.array([position in drawn for position in scalar_at], dtype=bool),
            )
        )
    return found


def _same(blocks: np.ndarray) -> np.ndarray:
    """(N, d * d) whether two of the variables that a term touches, of ``blocks`` (N, d), are in one."""
    return (blocks[:, :, None] == blocks[:, None, :]).reshape(len(blocks), -1)


def product_of(graph: ProductGraph, sites: Sequence[np.ndarray]) -> Product:
    """Sum the natural parameters of the prior and of all sites."""
    h = np.where(graph.whitened, -graph.origin * graph.scale, 0.0)
    precision = np.diag(np.where(graph.whitened, graph.scale**2, 0.0))
    natural = np.zeros((len(graph.scalars), NUM_STATISTICS))
    for group, site in zip(graph.groups, sites, strict=True):
        scatter(h, precision, group.normal, group.of_normal(site))
        for place in range(len(group.scalar_at)):
            np.add.at(natural, group.scalar[:, place], group.of_scalar(site, place))
    normal = normal_of(h, precision)
    proper = normal.proper and bool(np.all(np.isfinite(natural)))
    proper = proper and all(bool(s.message(n).is_proper) for s, n in zip(graph.scalars, natural, strict=True))
    return Product(normal, natural, proper)


def log_evidence_of(graph: ProductGraph, product: Product, log_normalizers: Sequence[np.ndarray]) -> float:
    """log Z = A(posterior) + sum of log normalizers, less the normaliser of whitened priors; nats."""
    prior = np.sum(np.where(graph.whitened, -LOG_SQRT_2PI - 0.5 * graph.origin**2, 0.0))
    scalar = sum(float(s.message(n).log_partition) for s, n in zip(graph.scalars, product.natural, strict=True))
    normal = product.normal.log_partition + np.sum(np.log(graph.scale))
    return float(normal + scalar + prior + sum(float(np.sum(a)) for a in log_normalizers))


def drawn(graph: ProductGraph, product: Product, z: np.ndarray) -> np.ndarray:
    """Points (n, D) in coordinates at standard normal scores ``z`` (n, D)."""
    phi = np.zeros_like(z)
    factor = np.linalg.cholesky(product.normal.covariance)
    x = product.normal.mean + z[:, graph.normal] @ factor.T
    phi[:, graph.normal] = graph.origin + graph.scale * x
    for scalar, natural in zip(graph.scalars, product.natural, strict=True):
        phi[:, scalar.index] = scalar.coordinate(scalar.y_of(natural, z[:, scalar.index]))
    return phi


def log_density(graph: ProductGraph, product: Product, phi: np.ndarray) -> np.ndarray:
    """Log density (n,) at ``phi`` (n, D) in coordinates, up to a constant."""
    x = (phi[:, graph.normal] - graph.origin) / graph.scale
    total = x @ product.normal.h - 0.5 * np.sum(x @ product.normal.precision * x, axis=1)
    for scalar, natural in zip(graph.scalars, product.natural, strict=True):
        t = phi[:, scalar.index]
        total = total + scalar.statistics(scalar.y_at(t)) @ natural + scalar.log_jacobian(t)
    return total


def points_of_product(graph: ProductGraph, product: Product, num: int, seed: int) -> np.ndarray:
    """About ``num`` equal-weight draws (n, D) in coordinates."""
    dimension = graph.graph.dimension
    num = max(num, 1 << int(np.ceil(np.log2(2 * dimension + 1))))
    return drawn(graph, product, normal_points(num, dimension, seed, whiten=True))


def moments_of_product(
    graph: ProductGraph, product: Product, shared: Sequence[SharedVariable], log_evidence: float
) -> Moments:
    """True moments in the user's coordinates; those of scalar messages are exact, and nan where they do not exist."""
    phi = points_of_product(graph, product, _NUM_POINTS, seed=7)
    mean, covariance = np.zeros(len(shared)), np.zeros((len(shared), len(shared)))
    theta = np.stack([shared[i].value(phi[:, i]) for i in graph.normal], axis=1) if len(graph.normal) else phi[:, :0]
    mean[graph.normal] = theta.mean(axis=0)
    deviation = theta - theta.mean(axis=0)
    covariance[np.ix_(graph.normal, graph.normal)] = deviation.T @ deviation / len(deviation)
    for scalar, natural in zip(graph.scalars, product.natural, strict=True):
        mean[scalar.index], covariance[scalar.index, scalar.index] = scalar.moments(natural)
    return Moments(mean=mean, covariance=covariance, log_evidence=log_evidence)
