"""The exact posterior of a linear model with Gaussian group effects: a grid over the scales, all else in closed form.

For the radon cases: log_radon ~ N(alpha_j + beta_j floor + gamma uranium, sigma_y), whose scales have the priors
HalfNormal(1) and whose means have N(0, 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PRIOR_VARIANCE = 100.0
_LOG_TWO_PI = np.log(2.0 * np.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The posterior: ``log_evidence`` in nats; means and sds of the coefficients common to all groups, (p,) in the order
    intercept, floor, uranium, and of the scales, (effects + 1,), that of the noise last."""

    log_evidence: float
    fixed_mean: np.ndarray
    fixed_sd: np.ndarray
    scale_mean: np.ndarray
    scale_sd: np.ndarray


def exact(groups: Sequence[np.ndarray], *, uranium: bool, slopes: bool, floors: bool = True, num: int = 61) -> Exact:
    """Integrate likelihood times priors.

    Parameters
    ----------
    groups
        Floor, uranium and radon of each group, (3, n).
    floors
        Whether radon depends on the floor.
    num
        Nodes of the grid in each scale.
    """
    moments = Moments(groups, uranium=uranium, slopes=slopes, floors=floors)
    limits = np.array([[1e-3, 2.0]] * (2 if slopes else 1) + [[0.0, 0.0]])
    limits[-1] = moments.noise * np.exp([-0.25, 0.25])
    for _ in range(2):  # the second grid covers what the first found
        axes = [low + (high - low) * (np.arange(num) + 0.5) / num for low, high in limits]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        scales = grid.reshape(-1, len(axes))
        log_density, mean, variance = moments.given(scales)
        density = np.exp(log_density - log_density.max()).reshape(grid.shape[:-1])
        cell = np.prod([axis[1] - axis[0] for axis in axes])
        total = log_density.max() + np.log(density.sum() * cell)
        for i, axis in enumerate(axes):
            margin = density.sum(axis=tuple(j for j in range(len(axes)) if j != i))
            inside = axis[margin > 1e-10 * margin.max()]
            step = axis[1] - axis[0]
            limits[i] = max(inside[0] - step, 0.0), inside[-1] + step
    weight = density.ravel() / density.sum()
    fixed_mean, scale_mean = weight @ mean, weight @ scales
    return Exact(
        log_evidence=float(total),
        fixed_mean=fixed_mean,
        fixed_sd=np.sqrt(weight @ (variance + (mean - fixed_mean) ** 2)),
        scale_mean=scale_mean,
        scale_sd=np.sqrt(weight @ (scales - scale_mean) ** 2),
    )


class Moments:
    """Sums of products of each group's columns, from which any scales' density follows."""

    def __init__(self, groups: Sequence[np.ndarray], *, uranium: bool, slopes: bool, floors: bool = True) -> None:
        designs = []
        for floor, log_uranium, radon in groups:
            columns = [np.ones_like(floor), *([floor] * floors), *([log_uranium] * uranium), radon]
            designs.append(np.stack(columns))
        self.products = np.stack([design @ design.T for design in designs])  # (groups, p + 1, p + 1)
        self.num = np.array([design.shape[1] for design in designs])
        self.num_effects = 2 if slopes else 1  # columns whose coefficient differs between groups
        total = np.concatenate(designs, axis=1)
        fitted = np.linalg.lstsq(total[:-1].T, total[-1], rcond=None)[0]
        self.noise = np.std(total[-1] - fitted @ total[:-1])

    def given(self, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At scales (k, effects + 1), sigma_y last: log of likelihood times priors (k,), the rest integrated, and mean
        and variance (k, p) of the coefficients common to all groups."""
        parts = [self._given(part) for part in np.array_split(scales, 1 + len(scales) // 2_000)]
        log_density, mean, variance = (np.concatenate(found) for found in zip(*parts, strict=True))
        return log_density, mean, variance

    def _given(self, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        effects, noise = scales[:, : self.num_effects], scales[:, -1]
        q, p = self.num_effects, self.products.shape[1] - 1
        products = self.products / noise[:, None, None, None] ** 2
        precision = products[:, :, :q, :q] + np.eye(q) / effects[:, None, :, None] ** 2
        weighted = np.linalg.solve(precision, products[:, :, :q, :])
        # the groups' effects integrated out: Schur complements, summed over the groups
        summed = (products - np.einsum("kgqa,kgqb->kgab", products[:, :, :q, :], weighted)).sum(axis=1)
        log_determinant = np.linalg.slogdet(precision)[1].sum(axis=1) + 2.0 * len(self.num) * np.log(effects).sum(
            axis=1
        )
        fixed = summed[:, :p, :p] + np.eye(p) / _PRIOR_VARIANCE
        mean = np.linalg.solve(fixed, summed[:, :p, p:])[..., 0]
        exponent = summed[:, p, p] - np.einsum("ka,ka->k", mean, summed[:, :p, p])
        log_determinant += np.linalg.slogdet(fixed)[1] + p * np.log(_PRIOR_VARIANCE)
        log_likelihood = -0.5 * (exponent + log_determinant + self.num.sum() * (2.0 * np.log(noise) + _LOG_TWO_PI))
        log_prior = 0.5 * np.log(2.0 / np.pi) - 0.5 * scales**2
        variance = np.diagonal(np.linalg.inv(fixed), axis1=1, axis2=2)
        return log_likelihood + log_prior.sum(axis=1), mean, variance
