"""The state of expectation propagation: sites over the shared variables, and the Gaussian posterior they multiply to.

All algebra is in a *frame* x = (phi - origin) / scale, chosen at the start so that the posterior has size one:
precision is then the same whatever units a variable has. A site is exp(lambda . T(x)) in the convention of
`messages.multivariate_normal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from factorgraph.propagation.contracted import ContractedPlate
from messages.multivariate_normal import unpack

_LEAST_EIGENVALUE = 1e-14  # of a correlation matrix; rounding leaves no more
LOG_SQRT_2PI = 0.9189385332046727


@dataclass(frozen=True, eq=False, slots=True)
class ContractedGraph:
    """The plates with their locals integrated out, and which of the D shared variables have a whitened prior N(0, 1);
    ``blocks`` (D,) are those between which the posterior keeps no correlations, see `factorised`."""

    plates: tuple[ContractedPlate, ...]
    whitened: np.ndarray  # (D,) bool
    blocks: np.ndarray | None = None

    @property
    def dimension(self) -> int:
        return len(self.whitened)

    def log_prior(self, phi: np.ndarray) -> np.ndarray:
        """Log density (n,) of the whitened priors at ``phi`` (n, D); other priors are terms of the plates."""
        part = phi[:, self.whitened]
        return -0.5 * np.sum(part**2, axis=1) - LOG_SQRT_2PI * part.shape[1]

    def log_density(self, phi: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Log joint density (n,) of data and shared variables, and per plate log f (N, n) and its inner error (N,
        n)."""
        parts = [plate.log_factors(phi) for plate in self.plates]
        log_factors = [values for values, _ in parts]
        return self.log_joint(phi, log_factors), log_factors, [errors for _, errors in parts]

    def log_joint(
        self, phi: np.ndarray, log_factors: Sequence[np.ndarray], lost: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """Prior times factors, (n,), from log f per plate (N, n); datasets that are ``lost`` (N,), per plate, are left
        out, or where that is not known, those whose log f is finite at none of the points."""
        if lost is None:
            lost = [quarantined(values, plate) for values, plate in zip(log_factors, self.plates, strict=True)]
        total = self.log_prior(phi)
        for values, out in zip(log_factors, lost, strict=True):
            total = total + np.sum(np.where(out[:, None], 0.0, values), axis=0)
        return total


def quarantined(values: np.ndarray, plate: ContractedPlate) -> np.ndarray:
    """(N,) datasets whose log f is finite nowhere; they are left out and named."""
    return ~np.any(np.isfinite(values), axis=1)


class Sites(Protocol):
    """What a step needs to know of a state, whatever the posterior its sites multiply to."""

    @property
    def sites(self) -> tuple[np.ndarray, ...]: ...
    @property
    def matched(self) -> tuple[np.ndarray, ...]: ...


@dataclass(frozen=True, eq=False, slots=True)
class EPState:
    """What the next sweep needs. One entry a plate in each tuple; arrays have the plate's N first.

    Attributes
    ----------
    origin, scale
        (D,) the frame.
    sites
        (N, d (d + 3) / 2) natural parameters over the d shared variables each term touches.
    log_normalizers
        (N,) log of the mean of f / site under the posterior, nats.
    exact
        (N,) whether log f is quadratic, so that its site is f itself.
    status
        (N,) `Status` codes of the last update.
    matched
        (N,) sites whose moments are matched on many points: those that are not exact, where log f costs nothing.
    mean, covariance
        (D,), (D, D) of the posterior, in the frame.
    """

    origin: np.ndarray
    scale: np.ndarray
    sites: tuple[np.ndarray, ...]
    log_normalizers: tuple[np.ndarray, ...]
    exact: tuple[np.ndarray, ...]
    status: tuple[np.ndarray, ...]
    matched: tuple[np.ndarray, ...]
    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float
    num_steps: int

    @property
    def all_exact(self) -> bool:
        return all(bool(np.all(e)) for e in self.exact)

    def phi_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and covariance (D, D) of the coordinates phi."""
        return self.origin + self.scale * self.mean, self.covariance * np.outer(self.scale, self.scale)


@dataclass(frozen=True, eq=False, slots=True)
class Posterior:
    """The product of prior and sites; ``proper`` is False where its precision is not positive definite."""

    h: np.ndarray
    precision: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    log_partition: float
    proper: bool


def posterior_of(
    graph: ContractedGraph, origin: np.ndarray, scale: np.ndarray, sites: tuple[np.ndarray, ...]
) -> Posterior:
    """Sum the natural parameters of the prior and of all sites, and solve."""
    h = np.where(graph.whitened, -origin * scale, 0.0)
    precision = np.diag(np.where(graph.whitened, scale**2, 0.0))
    for plate, site in zip(graph.plates, sites, strict=True):
        scatter(h, precision, plate.plate.shared_index, site)
    return normal_of(h, precision)


def normal_of(h: np.ndarray, precision: np.ndarray) -> Posterior:
    """The normal distribution with these natural parameters, (D,) and (D, D)."""
    try:
        factor = np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        return Posterior(h, precision, h, precision, np.nan, False)
    inverse = np.linalg.solve(factor, np.eye(len(h)))
    covariance = inverse.T @ inverse
    white = inverse @ h
    log_partition = float(0.5 * white @ white - np.sum(np.log(np.diag(factor))) + len(h) * LOG_SQRT_2PI)
    return Posterior(h, precision, inverse.T @ white, covariance, log_partition, _is_usable(log_partition, covariance))


def _is_usable(log_partition: float, covariance: np.ndarray) -> bool:
    """Whether rounding has left a distribution: a precision may have a Cholesky factor while its inverse, or a part of
    that, has none."""
    variance = np.diag(covariance)
    if not np.isfinite(log_partition) or not np.all(np.isfinite(covariance)) or np.any(variance <= 0.0):
        return False
    sd = np.sqrt(variance)
    return len(sd) == 0 or float(np.linalg.eigvalsh(covariance / np.outer(sd, sd))[0]) > _LEAST_EIGENVALUE


def scatter(h: np.ndarray, precision: np.ndarray, index: np.ndarray, site: np.ndarray) -> None:
    """Add sites (N, p) over the variables ``index`` (N, d) to natural parameters ``h`` (D,), ``precision`` (D, D)."""
    if index.shape[1] == 0:
        return
    if np.all(index == index[0]):
        site, index = site.sum(axis=0, keepdims=True), index[:1]
    linear, quadratic = unpack(site, index.shape[1])
    np.add.at(h, index, linear)
    np.add.at(precision, (index[:, :, None], index[:, None, :]), quadratic)


def log_evidence_of(
    graph: ContractedGraph,
    origin: np.ndarray,
    scale: np.ndarray,
    posterior: Posterior,
    log_normalizers: tuple[np.ndarray, ...],
) -> float:
    """log Z = A(posterior) + sum of log normalizers, less the prior's own normaliser; nats."""
    prior = np.sum(np.where(graph.whitened, -LOG_SQRT_2PI - 0.5 * origin**2, 0.0))
    return float(
        posterior.log_partition + np.sum(np.log(scale)) + prior + sum(float(np.sum(a)) for a in log_normalizers)
    )
