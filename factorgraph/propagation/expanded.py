"""From the solution over the hubs to that of the whole graph: the variables of the fields, and every dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from factorgraph.graph.plates import SharedVariable
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.field_plate import FieldPlate, FieldReport
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.linked import Linked
from factorgraph.propagation.report import values
from factorgraph.propagation.solution import Corrected, Moments, Solution
from searches.importance import TRUSTED_K_HAT

_HUB_DRAWS, _DRAWS_EACH = 256, 4
_HUB_DRAWS_OF_MANY, _MANY, _MOST_NUMBERS = 128, 2000, 2**25  # variables; numbers in all draws
_LOCAL_DRAWS, _LOCAL_DRAWS_OF_MANY, _MANY_DATASETS = 256, 64, 200
_LOCAL_HUB_DRAWS, _LOCAL_HUB_DRAWS_OF_MANY = 64, 16


def expanded(
    solution: Solution,
    draws_of_hubs: Callable[[int], np.ndarray],
    found: Linked,
    shared: tuple[SharedVariable, ...],
    began: float,
) -> Solution:
    """The solution of the graph over all ``shared`` variables, from that over its hubs and draws of these."""
    fields = [plate for plate in solution.plates if isinstance(plate, FieldPlate)]
    hub_phi = draws_of_hubs(_HUB_DRAWS if len(shared) <= _MANY else _HUB_DRAWS_OF_MANY)
    each = int(np.clip(_MOST_NUMBERS // (len(hub_phi) * len(shared)), 1, 1024 // len(hub_phi)))
    reports = [plate.report(hub_phi, each, solution.seed + 1 + k) for k, plate in enumerate(fields)]
    phi = np.zeros((len(hub_phi) * each, len(shared)))
    phi[:, found.hubs] = np.repeat(hub_phi, each, axis=0)
    for plate, report in zip(fields, reports, strict=True):
        phi[:, plate.components.variables] = report.draws
    draws = values(shared, phi)
    exact = all(plate.is_gaussian for plate in fields)
    k_hat = np.nanmax([solution.k_hat, *(float(np.max(plate.k_hat)) for plate in fields), -np.inf])
    sound = bool(k_hat < TRUSTED_K_HAT) and (solution.is_corrected or np.isnan(solution.k_hat))
    error = np.zeros(len(shared))
    error[found.hubs] = solution.inner_error
    inner_errors = [plate.inner_errors() for plate in fields]
    for plate, (of_variables, _) in zip(fields, inner_errors, strict=True):
        error[plate.components.variables] = of_variables
    plates, parts = _plates(solution, fields, reports, [shifts for _, shifts in inner_errors])
    spread = np.zeros(len(shared))
    spread[found.hubs] = solution.spread_error
    is_exact = exact and solution.is_exact
    is_corrected = sound and not is_exact
    answer = _moments(solution.answer, found, fields, reports, hub_phi)
    corrected = Corrected(
        moments=answer,
        draws=draws,
        log_evidence_error=solution.log_evidence_error,
        effective_sample_size=np.nan if solution.corrected is None else solution.corrected.effective_sample_size,
    )
    return replace(
        solution,
        shared=shared,
        plates=plates,
        status=parts["status"],
        converged=solution.converged and all(plate.is_settled for plate in fields),
        ep=_moments(solution.ep, found, fields, reports, hub_phi),
        ep_draws=_ep_draws(solution, found, draws),
        corrected=corrected if is_corrected else None,
        answer=answer,
        k_hat=np.nan if is_exact else k_hat,
        is_corrected=is_corrected,
        is_exact=is_exact,
        phi=phi,
        draws=draws,
        log_joint=None,
        local=_locals(solution, fields, draws_of_hubs),
        leave_one_out=parts["leave_one_out"],
        inner_error=error,
        spread_error=spread,
        factor_errors=parts["factor_errors"],
        factor_shifts=parts["factor_shifts"],
        seconds=time.perf_counter() - began,
    )


def _plates(
    solution: Solution, fields: Sequence[FieldPlate], reports: Sequence[FieldReport], shifts: Sequence[list[np.ndarray]]
) -> tuple[tuple[ContractedPlate, ...], dict[str, tuple[np.ndarray, ...]]]:
    """The plates of the datasets, and what is reported of each."""
    names = ("status", "leave_one_out", "factor_errors", "factor_shifts")
    plates = [plate for plate in solution.plates if not isinstance(plate, FieldPlate)]
    found = {name: list(getattr(solution, name)[: len(plates)]) for name in names}
    of_fields = [getattr(solution, name)[len(plates) :] for name in ("factor_errors", "factor_shifts")]
    for field, report, own, errors, of_hubs in zip(fields, reports, shifts, *of_fields, strict=True):
        parts = zip(field.inner, field.status, report.leave_one_out, _by_part(field, errors), own, strict=True)
        for (plate, status, density, error, shift), hub_shift in zip(parts, _by_part(field, of_hubs), strict=True):
            plates.append(plate)
            found["status"].append(plate.reported(status))
            has_data = bool(plate.plate.signature.analyses)
            found["leave_one_out"].append(density if has_data else np.full(len(density), np.nan))
            found["factor_errors"].append(error)
            found["factor_shifts"].append(np.maximum(shift, hub_shift))
    return tuple(plates), {name: tuple(arrays) for name, arrays in found.items()}


def _by_part(field: FieldPlate, values: np.ndarray) -> list[np.ndarray]:
    """Of `integral_errors.inner_errors`: the datasets' values (M,), which follow those of the components, by part; zero
    where all integrals are exact."""
    sizes = [plate.plate.size for plate in field.inner]
    values = values[field.plate.size :] if len(values) > field.plate.size else np.zeros(sum(sizes))
    return np.split(values, np.cumsum(sizes)[:-1])


def _moments(
    hubs: Moments, found: Linked, fields: Sequence[FieldPlate], reports: Sequence[FieldReport], hub_phi: np.ndarray
) -> Moments:
    num = len(found.hubs) + sum(len(report.mean) for report in reports)
    mean, variance, means = np.zeros(num), np.zeros(num), np.zeros((len(hub_phi), num))
    means[:, found.hubs] = hub_phi
    mean[found.hubs], variance[found.hubs] = hubs.mean, np.diag(hubs.covariance)
    for plate, report in zip(fields, reports, strict=True):
        mean[plate.components.variables] = report.mean
        variance[plate.components.variables] = report.variance
        means[:, plate.components.variables] = report.means
    return replace(hubs, mean=mean, covariance=LinkedCovariance(variance, means, found.hubs, hubs.covariance, fields))


class LinkedCovariance:
    """The covariance matrix of very many variables, by entries ``[i, j]`` or ``[np.ix_(i, j)]``.

    That of the hubs is known, and every variance. Other correlations are those of the variables' means over draws of
    the hubs, and of the field at the mean of the hubs: all there is where every factor is Gaussian.

    Parameters
    ----------
    variance
        (D,) in the user's coordinates.
    means
        (R, D) of all variables given draws of the hubs, in coordinates.
    """

    def __init__(
        self,
        variance: np.ndarray,
        means: np.ndarray,
        hubs: np.ndarray,
        of_hubs: np.ndarray,
        fields: Sequence[FieldPlate],
    ) -> None:
        self._variance, self._of_hubs, self._fields = variance, of_hubs, fields
        self._deviation = (means - means.mean(axis=0)) / np.sqrt(len(means))
        self._hub, self._field, self._place = (np.full(len(variance), -1) for _ in range(3))
        self._hub[hubs] = np.arange(len(hubs))
        total = np.sum(self._deviation**2, axis=0)
        for number, field in enumerate(fields):
            variables = field.components.variables
            self._field[variables], self._place[variables] = number, np.arange(len(variables))
            total[variables] += field.variances()
        self._total = np.maximum(total, 1e-300)

    def __getitem__(self, key: tuple[Any, Any]) -> Any:
        rows, columns = np.broadcast_arrays(*key)
        found = np.empty(rows.shape)
        for column in np.unique(columns):
            inside = columns == column
            found[inside] = self._column(int(column), rows[inside])
        return found if found.shape else float(found)

    def _column(self, j: int, rows: np.ndarray) -> np.ndarray:
        found = self._deviation[:, j] @ self._deviation[:, rows]
        if self._field[j] >= 0:
            together = self._field[rows] == self._field[j]
            within = self._fields[self._field[j]].covariances(int(self._place[j]))
            found[together] += within[self._place[rows[together]]]
        found *= np.sqrt(self._variance[rows] / self._total[rows] * self._variance[j] / self._total[j])
        if self._hub[j] >= 0:
            known = self._hub[rows] >= 0
            found[known] = self._of_hubs[self._hub[rows[known]], self._hub[j]]
        return np.where(rows == j, self._variance[j], found)


def _ep_draws(solution: Solution, found: Linked, draws: np.ndarray) -> np.ndarray:
    """Those of the hubs are EP's own."""
    ep_draws = draws.copy()
    ep_draws[:, found.hubs] = solution.ep_draws[np.arange(len(draws)) % len(solution.ep_draws)]
    return ep_draws


def _locals(
    solution: Solution, fields: Sequence[FieldPlate], draws_of_hubs: Callable[[int], np.ndarray]
) -> tuple[LocalPosterior | None, ...]:
    """Of the plates over the hubs, as they are; of those that touch a field, over what each term touches."""
    found = [local for plate, local in zip(solution.plates, solution.local, strict=True) if plate not in fields]
    for field in fields:
        if not any(plate.plate.signature.num_local for plate in field.inner):
            found += [None] * len(field.inner)
            continue
        few = max(plate.plate.size for plate in field.inner) <= _MANY_DATASETS
        num = 1 if not len(solution.shared) else _LOCAL_HUB_DRAWS if few else _LOCAL_HUB_DRAWS_OF_MANY
        each = (_LOCAL_DRAWS if few else _LOCAL_DRAWS_OF_MANY) // num
        for plate, points in zip(field.inner, field.points(draws_of_hubs(num)[:num], each), strict=True):
            found.append(_local(plate, points) if plate.plate.signature.num_local else None)
    return tuple(found)


def _local(plate: ContractedPlate, points: np.ndarray) -> LocalPosterior:
    return plate.local_posterior(lambda rows: points[rows], plate.chances(points.shape[1]))
