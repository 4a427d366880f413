"""One shared variable whose messages are of an exponential family of its own: gamma, inverse gamma or beta.

The family is that of y, the distance of the value from the limit of its half line, or the fraction of its interval.
Everything else sees the variable in an unconstrained coordinate t, and the Jacobian dy/dt is taken here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.errors import GraphError
from factorgraph.graph.coordinate import coordinate_from_value, log_jacobian, value_from_coordinate
from factorgraph.graph.message_families import EXPONENTIAL
from factorgraph.graph.plates import Plate, SharedVariable
from factorgraph.model import family as distributions
from messages.beta import Beta
from messages.family import Message
from messages.gamma import Gamma
from messages.inverse_gamma import InverseGamma

NUM_STATISTICS = 2  # of each of these families

_LARGEST_SCORE, _NODES = 8.0, 129


@dataclass(frozen=True, slots=True)
class _Family:
    """A message, with the value (n,) below which a standard normal score (n,) has the same probability."""

    message: Callable[[np.ndarray], Any]
    from_normal: Callable[[np.ndarray, Any], np.ndarray]


def _gamma_values(z: np.ndarray, message: Gamma) -> np.ndarray:
    shape, rate = message.shape_rate
    return distributions.Gamma().from_normal(z, shape, 1.0 / rate)


def _inverse_gamma_values(z: np.ndarray, message: InverseGamma) -> np.ndarray:
    return distributions.InverseGamma().from_normal(z, *message.shape_scale)


def _beta_values(z: np.ndarray, message: Beta) -> np.ndarray:
    return distributions.Beta().from_normal(z, *message.alpha_beta)


_FAMILIES = {
    "gamma": _Family(Gamma, _gamma_values),
    "inverse-gamma": _Family(InverseGamma, _inverse_gamma_values),
    "beta": _Family(Beta, _beta_values),
}


@dataclass(frozen=True, eq=False, slots=True)
class ScalarVariable:
    """Shared variable number ``index``, with the name of its family."""

    index: int
    shared: SharedVariable
    name: str

    @property
    def _unit(self) -> np.ndarray:
        """The coordinate with y in place of the value."""
        return np.array([0.0, 1.0, *self.shared.parameters[2:]])

    @property
    def _kind(self) -> str:
        return self.shared.role.kind or "real"

    def message(self, natural: np.ndarray) -> Message:
        """The message with these natural parameters (..., 2)."""
        return _FAMILIES[self.name].message(natural)

    def y_of(self, natural: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Quantiles y (n,) of a proper message, natural parameters (2,), at standard normal scores ``z`` (n,)."""
        with np.errstate(all="ignore"):
            y = _FAMILIES[self.name].from_normal(z, self.message(natural))
        return self._inside(y)

    def _inside(self, y: np.ndarray) -> np.ndarray:
        """``y`` without what rounding has moved to a limit."""
        largest = np.nextafter(1.0, 0.0) if self._kind == "interval" else np.finfo(float).max
        return np.clip(y, np.finfo(float).tiny, largest)

    def statistics(self, y: np.ndarray) -> np.ndarray:
        """T(y), (..., 2)."""
        return self.message(np.zeros(NUM_STATISTICS)).sufficient_statistics(y)

    def coordinate(self, y: np.ndarray) -> np.ndarray:
        """t(y)."""
        return coordinate_from_value(self._kind, y, self._unit)

    def y_at(self, t: np.ndarray) -> np.ndarray:
        """y(t), the inverse of `coordinate`."""
        return self._inside(value_from_coordinate(self._kind, t, self._unit))

    def log_jacobian(self, t: np.ndarray) -> np.ndarray:
        """log |dy/dt|."""
        return log_jacobian(self._kind, t, self._unit)

    def moments(self, natural: np.ndarray) -> tuple[float, float]:
        """Mean and variance of the value; nan where they do not exist."""
        anchor, slope = self._line
        message = self.message(natural)
        return float(anchor + slope * message.mean), float(slope**2 * message.variance)

    def scales(self, natural: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation that always exist and tell two messages apart: of y, or of an inverse gamma's
        1 / y."""
        message = self.message(natural)
        if isinstance(message, InverseGamma):
            shape, scale = message.shape_scale
            return float(shape / scale), float(np.sqrt(shape) / scale)
        return float(message.mean), float(np.sqrt(message.variance))

    @property
    def _line(self) -> tuple[float, float]:
        anchor, end = self.shared.parameters[:2]
        return float(anchor), float(end - anchor if self._kind == "interval" else end)

    def projected(self, mean: float, sd: float) -> np.ndarray:
        """Natural parameters (2,) with the E[T] that N(mean, sd^2) of the coordinate has; nan where there are none."""
        z = np.linspace(-_LARGEST_SCORE, _LARGEST_SCORE, _NODES)
        weights = np.exp(-0.5 * z**2)
        expectation = weights @ self.statistics(self.y_at(mean + sd * z)) / np.sum(weights)
        return self.message(np.zeros(NUM_STATISTICS)).natural_from_expectation(expectation)


def scalar_variables(shared: Sequence[SharedVariable], families: Mapping[Any, str]) -> tuple[ScalarVariable, ...]:
    """Those of the ``shared`` variables whose messages are of an exponential family of their own."""
    return tuple(
        ScalarVariable(index, s, families[s.variable])
        for index, s in enumerate(shared)
        if families.get(s.variable) in EXPONENTIAL
    )


def check_scalars(
    families: Mapping[Any, str], shared: Sequence[SharedVariable], plates: Sequence[Plate], blocks: np.ndarray | None
) -> None:
    """Whether variables can have the messages chosen for them, in a graph over the ``shared`` ones.

    Raises
    ------
    GraphError
        The density of such a variable is inside a field of linked variables, or ``blocks`` (D,) keeps its correlations
        with others.
    """
    place = {s.variable: i for i, s in enumerate(shared)}
    densities = np.zeros(len(shared), dtype=int)
    for plate in plates:
        for position in drawn_positions(plate):
            np.add.at(densities, plate.shared_index[:, position], 1)
    for variable, name in families.items():
        if name not in EXPONENTIAL:
            continue
        i = place[variable]
        if densities[i] != 1:
            raise GraphError(
                f"families: {variable!r} cannot have {name!r} messages here: it is drawn from one of many linked "
                "variables (a chain, a grid), which are integrated by normal messages. Leave its family out, or choose "
                "a normal one."
            )
        if blocks is not None and np.sum(blocks == blocks[i]) > 1:
            raise GraphError(
                f"optimise: blocks keeps correlations of {variable!r} with others, and its messages are {name!r}, "
                "which have none. Take it out of its block, or choose no family for it."
            )


def drawn_positions(plate: Plate) -> set[int]:
    """Places, among the shared variables that a term touches, of those whose own density the term is."""
    signature = plate.signature
    return {signature.roles[slot].position for slot, _ in signature.draws if signature.roles[slot].shared}
