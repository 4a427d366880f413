"""The truncated normal message: natural parameters (h, precision) as for `Normal`, support [lower, upper].

Mean and variance are those of the truncated distribution, not of the normal it was cut from. Between two finite limits
any precision is proper, zero (the uniform distribution) and negative included. So that one formula serves all of them,
and a limit many standard deviations out as well, integrals are done by quadrature rather than by normal distribution
functions, whose differences cancel: [lower, upper] is split where h x - precision x^2 / 2 is stationary, on either side
x runs away from that side's highest point as ``width sinh(u)``, and u is integrated by Gauss and Legendre's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import numpy as np

from messages import dual_newton
from messages.array_namespace import Array, namespace, require, stack_columns
from messages.family import Message, log_indicator
from messages.integration import LOG_TAIL
from messages.normal import statistics_of_scalar, weighted_moments
from messages.variates import Key, uniform


def _unit_rule(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's nodes and weights on the unit interval."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return 0.5 * (nodes + 1.0), 0.5 * weights


_RULE, _CELL_RULE = _unit_rule(64), _unit_rule(6)
_NEWTON_STEPS = 3


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TruncatedNormal(Message):
    """A normal restricted to [lower, upper], limits finite or not; ``natural_parameters (*plate, 2)``."""

    natural_parameters: Array
    lower: Array
    upper: Array
    support_is_closed: ClassVar[bool] = True

    @classmethod
    def from_location_scale(cls, location: Array, scale: Array, *, lower: Array, upper: Array) -> TruncatedNormal:
        """The normal with mean ``location`` and standard deviation ``scale``, cut at the limits; all broadcast.

        Raises ValueError unless ``scale > 0`` and ``lower < upper``.
        """
        xp = namespace(location, scale, lower, upper)
        location, scale, lower, upper = xp.broadcast_arrays(
            *[xp.asarray(value, dtype=float) for value in (location, scale, lower, upper)]
        )
        require(scale > 0.0, "A truncated normal message needs scale > 0", scale)
        require(lower < upper, "A truncated normal message needs lower < upper", lower, upper)
        return cls(stack_columns(location / scale**2, scale**-2.0), lower, upper)

    @property
    def support(self) -> tuple[Array, Array]:
        return self.lower, self.upper

    @property
    def is_proper(self) -> Array:
        return is_proper(self.natural_parameters, self.lower, self.upper)

    def sufficient_statistics(self, x: Array) -> Array:
        """(x, -x^2/2)."""
        return statistics_of_scalar(x)

    def log_base_measure(self, x: Array) -> Array:
        return log_indicator(self, x)

    @property
    def log_partition(self) -> Array:
        return log_partition(self.natural_parameters, self.lower, self.upper)

    @property
    def expectation_parameters(self) -> Array:
        rule = integrate(self.natural_parameters, self.lower, self.upper)
        mean, variance = _moments(rule)
        mean = rule.origin + mean
        return stack_columns(mean, -0.5 * (variance + mean**2))

    def natural_from_expectation(self, expectation: Array) -> Array:
        mean = expectation[..., 0]
        return natural_from_moments(mean, -2.0 * expectation[..., 1] - mean**2, self.lower, self.upper)

    def natural_from_draws(self, draws: Array, weights: Array) -> Array:
        return natural_from_moments(*weighted_moments(draws, weights), self.lower, self.upper)

    def natural_from_mode(self, mode: Array, curvature: Array) -> Array:
        return stack_columns(curvature * mode, curvature)

    @property
    def mean(self) -> Array:
        rule = integrate(self.natural_parameters, self.lower, self.upper)
        return rule.origin + _moments(rule)[0]

    @property
    def variance(self) -> Array:
        return _moments(integrate(self.natural_parameters, self.lower, self.upper))[1]

    def quadrature(self) -> tuple[Array, Array]:
        rule = integrate(self.natural_parameters, self.lower, self.upper)
        return rule.origin + rule.displacement, rule.mass / rule.total

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        """By inverting the distribution function."""
        probability = uniform(key, tuple(shape) + self.plate_shape)
        return _quantile(probability, self.natural_parameters, self.lower, self.upper)


class _Rule(NamedTuple):
    """Nodes and masses of the integral of exp(h x - precision x^2 / 2), relative to its highest point."""

    origin: Array  # (*plate,)
    displacement: Array  # (n, *plate): node - origin
    mass: Array  # (n, *plate)
    log_height: Array  # (*plate,): log of the integrand where it is highest, at the origin
    slope: Array  # (*plate,): derivative of that log at the origin

    @property
    def total(self) -> Array:
        return namespace(self.mass).sum(self.mass, axis=0)


def is_proper(natural: Array, lower: Array, upper: Array) -> Array:
    """``(*plate,)`` bool: whether exp(h x - precision x^2 / 2) has a finite integral between the limits."""
    xp = namespace(natural, lower, upper)
    h, precision = natural[..., 0], natural[..., 1]
    falls_below, falls_above = xp.isfinite(lower) | (h > 0.0), xp.isfinite(upper) | (h < 0.0)
    bounded = xp.isfinite(lower) & xp.isfinite(upper)
    return (precision > 0.0) | ((precision == 0.0) & falls_below & falls_above) | ((precision < 0.0) & bounded)


def log_partition(natural: Array, lower: Array, upper: Array) -> Array:
    """A = log of the integral of exp(h x - precision x^2 / 2) between the limits, ``(*plate,)``; nan if improper."""
    rule = integrate(natural, lower, upper)
    return rule.log_height + namespace(rule.total).log(rule.total)


def integrate(natural: Array, lower: Array, upper: Array) -> _Rule:
    """The quadrature rule of the module docstring; nan if improper."""
    xp = namespace(natural, lower, upper)
    proper = is_proper(natural, lower, upper)
    h, precision = (xp.where(proper, natural[..., i], xp.nan) for i in range(2))
    h, precision, lower, upper = xp.broadcast_arrays(h, precision, lower, upper)
    split, level = _highest_or_lowest(h, precision, lower, upper)
    convex = precision < 0.0
    # Two pieces on a leading axis, each falling away from its peak: from the limits inwards, or from the vertex out.
    peak = xp.where(convex, xp.stack([lower, upper]), split)
    direction = xp.where(convex, 1.0, -1.0) * np.array([1.0, -1.0]).reshape((2,) + (1,) * split.ndim)
    length = xp.stack([split - lower, upper - split])
    gradient = xp.where(level, 0.0, h - precision * peak)
    distance, mass = _piece(xp.maximum(-direction * gradient, 0.0), precision, length)
    # Heights relative to the higher peak, as a product of differences: the heights themselves may be huge.
    rise = (peak[1] - peak[0]) * (h - 0.5 * precision * (peak[1] + peak[0]))
    height = xp.stack([xp.minimum(-rise, 0.0), xp.minimum(rise, 0.0)])
    origin, slope = (xp.where(rise > 0.0, pair[1], pair[0]) for pair in (peak, gradient))
    displacement = (peak - origin) + direction * distance
    flat = (-1, *split.shape)
    log_height = peak[0] * (h - 0.5 * precision * peak[0]) + xp.maximum(rise, 0.0)
    return _Rule(origin, displacement.reshape(flat), (mass * xp.exp(height)).reshape(flat), log_height, slope)


def _highest_or_lowest(h: Array, precision: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Where h x - precision x^2 / 2 is stationary, clipped to the limits, and whether it has its maximum between them.

    A constant is split at a finite limit, and so is a straight line, at the higher one.
    """
    xp = namespace(h, precision, lower, upper)
    straight = precision == 0.0
    end = xp.where((h > 0.0) | ((h == 0.0) & xp.isfinite(upper)), upper, lower)
    vertex = xp.where(straight, end, h / xp.where(straight, 1.0, precision))
    return xp.clip(vertex, lower, upper), (vertex > lower) & (vertex < upper) & (precision > 0.0)


def _piece(slope: Array, precision: Array, length: Array) -> tuple[Array, Array]:
    """Distances t < length from the peak, masses of exp(-slope t - precision t^2 / 2), both ``(n, 2, *plate)``."""
    xp = namespace(slope, precision, length)
    end = xp.minimum(length, _reach(slope, precision, LOG_TAIL))
    width = xp.minimum(length, _reach(slope, precision, 1.0))
    width = xp.where(width > 0.0, width, 1.0)
    span = xp.arcsinh(end / width)
    nodes, weights = (column.reshape((-1,) + (1,) * span.ndim) for column in _RULE)
    t = width * xp.sinh(span * nodes)
    return t, weights * span * width * xp.cosh(span * nodes) * xp.exp(-t * (slope + 0.5 * precision * t))


def _reach(slope: Array, precision: Array, drop: float) -> Array:
    """The smallest t > 0 with slope t + precision t^2 / 2 = drop; inf where the sum stays below it."""
    xp = namespace(slope, precision)
    square = slope**2 + 2.0 * drop * precision
    root = xp.sqrt(xp.where(square > 0.0, square, 1.0))
    denominator = slope + xp.where(square > 0.0, root, 0.0)
    reached = (square >= 0.0) & (denominator > 0.0)
    return xp.where(reached, 2.0 * drop / xp.where(reached, denominator, 1.0), xp.inf)


def _moments(rule: _Rule) -> tuple[Array, Array]:
    """Mean (from the rule's origin) and variance."""
    xp = namespace(rule.mass)
    weight = rule.mass / rule.total
    mean = xp.sum(weight * rule.displacement, axis=0)
    return mean, xp.sum(weight * (rule.displacement - mean) ** 2, axis=0)


def natural_from_moments(mean: Array, variance: Array, lower: Array, upper: Array) -> Array:
    """Natural parameters of the truncated normal with this mean and variance, ``(*plate, 2)``.

    nan where there is none: with one finite limit the standard deviation must be smaller than the distance of the mean
    from it (an exponential distribution is the limit), between two the pair must be that of some density exp(h x -
    precision x^2 / 2).
    """
    xp = namespace(mean, variance, lower, upper)
    scale = xp.sqrt(xp.where(variance > 0.0, variance, xp.nan))
    # In the coordinate (x - mean) / scale the target is (0, -1/2) and the normal without limits a good start.
    low, high = (lower - mean) / scale, (upper - mean) / scale
    target = xp.stack([xp.zeros_like(scale), xp.full_like(scale, -0.5)], axis=-1)
    start = xp.stack([xp.zeros_like(scale), xp.ones_like(scale)], axis=-1)

    standard = dual_newton.solve(log_partition, _statistics_moments, start, target, low, high)
    precision = standard[..., 1] / variance
    return xp.stack([standard[..., 0] / scale + precision * mean, precision], axis=-1)


def _statistics_moments(natural: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """E[T] ``(*plate, 2)`` and Cov[T] ``(*plate, 2, 2)``."""
    xp = namespace(natural, lower, upper)
    rule = integrate(natural, lower, upper)
    weight = rule.mass / rule.total
    statistics = statistics_of_scalar(rule.origin + rule.displacement)
    expectation = xp.sum(weight[..., None] * statistics, axis=0)
    a, b = xp.moveaxis(statistics - expectation, -1, 0)
    covariance = dual_newton.symmetric_two(*(xp.sum(weight * pair, axis=0) for pair in (a * a, a * b, b * b)))
    return expectation, covariance


def _quantile(probability: Array, natural: Array, lower: Array, upper: Array) -> Array:
    """x with distribution function ``probability (*shape, *plate)``.

    The distribution function is tabulated at the nodes of the rule. Between two of them the log density is first taken
    to be linear, and Newton's method with a small rule of its own does the rest.
    """
    xp = namespace(probability, natural, lower, upper)
    rule = integrate(natural, lower, upper)
    nodes = xp.sort(rule.displacement, axis=0)
    first = xp.where(xp.isfinite(lower), lower - rule.origin, nodes[0])
    last = xp.where(xp.isfinite(upper), upper - rule.origin, nodes[-1])
    edges = xp.concatenate([first[None], nodes, last[None]], axis=0)
    precision = xp.asarray(natural[..., 1])
    masses = _cell_mass(rule, edges[:-1], edges[1:] - edges[:-1], precision)
    cumulative = xp.cumsum(masses, axis=0)
    draws = (slice(None),) + (None,) * (probability.ndim - precision.ndim)
    mass = probability * cumulative[-1]
    cell = xp.minimum(xp.sum(cumulative[draws] <= mass, axis=0), cumulative.shape[0] - 1)

    def in_cell(table: Array) -> Array:
        return xp.take_along_axis(table[draws], cell[None], axis=0)[0]

    start, width, cell_mass = in_cell(edges[:-1]), in_cell(edges[1:] - edges[:-1]), in_cell(masses)
    wanted = xp.clip(mass - in_cell(cumulative) + cell_mass, 0.0, cell_mass)
    growth = _log_relative(rule, start + width, precision) - _log_relative(rule, start, precision)
    growth = xp.where(growth == 0.0, 1e-300, growth)
    fraction = wanted / xp.where(cell_mass > 0.0, cell_mass, 1.0)
    distance = width * xp.log1p(fraction * xp.expm1(growth)) / growth
    for _ in range(_NEWTON_STEPS):
        excess = _cell_mass(rule, start, distance, precision) - wanted
        distance = distance - excess * xp.exp(-_log_relative(rule, start + distance, precision))
        distance = xp.clip(distance, 0.0, width)
    return rule.origin + start + distance


def _log_relative(rule: _Rule, displacement: Array, precision: Array) -> Array:
    """Log density at a displacement from the rule's origin, relative to that at the origin."""
    return displacement * (rule.slope - 0.5 * precision * displacement)


def _cell_mass(rule: _Rule, start: Array, width: Array, precision: Array) -> Array:
    """Integral of the relative density over a displacement from ``start`` to ``start + width``."""
    xp = namespace(start, width, precision)
    nodes = zip(*_CELL_RULE, strict=True)
    return sum(weight * width * xp.exp(_log_relative(rule, start + node * width, precision)) for node, weight in nodes)
