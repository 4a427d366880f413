"""A solution as one `xarray.DataTree` with the group names of ArviZ, and its file.

=============  =================================================================================================
posterior      equal-weight draws: shared variables (chain, draw), local ones (chain, draw, dataset)
sample_stats   ``lp`` of these draws: log joint density of data and shared variables in the coordinates in which
               they are explored, locals integrated out; where the correction evaluated it
local          for each dataset: mean, sd and quantiles of its local variables (statistic, dataset)
leave_one_out  log p(data of j | all other data), nats
diagnostics    for each dataset: status, method, calls, effective points, k-hat, error of its integral
ep             history, one entry a sweep; the status of every dataset
=============  =================================================================================================

Locals of plates with more than 2,000 datasets are left out of ``posterior`` and are found in ``local``. Those whose
likelihood is called plainly have as many different draws as were made when the graph was solved, repeated; their
attribute ``joint`` is 0.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from factorgraph.model.variable import Variable
from factorgraph.propagation.solution import Solution
from factorgraph.results.diagnostics import diagnostics_of, suffix
from factorgraph.results.local_draws import LARGE_PLATE, are_joint
from factorgraph.results.plate_axis import PlateAxis
from searches.status import Status

_DISTRIBUTION = "factorgraph-ep"
_QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
_BLOCK = 500

Draws = Callable[[int], np.ndarray]


def datatree_of(
    solution: Solution, names: Mapping[Variable, str], axes: Sequence[PlateAxis], local_draws: Draws
) -> Any:
    """The tree; ``local_draws(k)`` gives the draws (N, M, L) of plate k."""
    import xarray

    groups = {
        "posterior": _posterior(solution, names, axes, local_draws),
        "sample_stats": _sample_stats(solution),
        "local": _local(solution, axes, local_draws),
        "leave_one_out": _leave_one_out(solution, axes),
        "diagnostics": diagnostics_of(solution, axes),
        "ep": _ep(solution, axes),
    }
    datasets = {name: dataset_of(found, axes) for name, found in groups.items() if found}
    tree = xarray.DataTree.from_dict({"/": xarray.Dataset(), **datasets})
    tree.attrs.update(_attributes(solution))
    return tree


def write_netcdf(tree: Any, path: str | Path) -> Path:
    """Write a tree to one netCDF file; a reader never sees half of it."""
    path = Path(path)
    content = tree.to_netcdf(engine="h5netcdf")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def version() -> str:
    """Of the installed distribution; "unknown" in a checkout that is not installed."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


# --- groups: name -> (dims, values[, attributes]) ---


def _posterior(
    solution: Solution, names: Mapping[Variable, str], axes: Sequence[PlateAxis], local_draws: Draws
) -> dict[str, tuple]:
    found: dict[str, tuple] = {
        names[shared.variable].replace("/", "_"): (("chain", "draw"), solution.draws[None, :, column])
        for column, shared in enumerate(solution.shared)
    }
    for axis in axes:
        if not axis.variables or any(solution.plates[k].plate.size > LARGE_PLATE for k in axis.plates):
            continue
        joint = int(all(are_joint(solution, k) for k in axis.plates))
        rows = [np.linspace(0, num - 1, len(solution.draws)).astype(int) for num in _num_draws(axis, local_draws)]
        draws = axis.gather_local([local_draws(k)[:, chosen] for k, chosen in zip(axis.plates, rows, strict=True)])
        for column, name in enumerate(axis.variables):
            found[name] = (("chain", "draw", axis.dim), draws[None, ..., column].swapaxes(1, 2), {"joint": joint})
    return found


def _num_draws(axis: PlateAxis, local_draws: Draws) -> list[int]:
    return [local_draws(k).shape[1] for k in axis.plates]


def _sample_stats(solution: Solution) -> dict[str, tuple]:
    """``lp`` where every draw is one of the correction's own points."""
    return {} if solution.log_joint is None else {"lp": (("chain", "draw"), solution.log_joint[None])}


def _local(solution: Solution, axes: Sequence[PlateAxis], local_draws: Draws) -> dict[str, tuple]:
    found: dict[str, tuple] = {}
    for axis in axes:
        if axis.variables:
            table = axis.gather_local([_statistics(solution, k, local_draws(k)) for k in axis.plates])
            for column, name in enumerate(axis.variables):
                found[name] = (("statistic", axis.dim), table[..., column].T)
    if found:
        labels = ["mean", "sd", "error", *(f"{100 * q:g}%" for q in _QUANTILES)]
        found["statistic"] = (("statistic",), np.array(labels, dtype=str))
    return found


def _statistics(solution: Solution, plate: int, draws: np.ndarray) -> np.ndarray:
    """(N, statistics, L)"""
    moments = solution.local[plate]
    assert moments is not None
    blocks = [np.quantile(draws[i : i + _BLOCK], _QUANTILES, axis=1) for i in range(0, len(draws), _BLOCK)]
    quantiles = np.concatenate(blocks, axis=1).swapaxes(0, 1)
    known = np.stack([moments.mean, moments.standard_deviation, moments.error], axis=1)
    return np.concatenate([known, quantiles], axis=1)


def _leave_one_out(solution: Solution, axes: Sequence[PlateAxis]) -> dict[str, tuple]:
    return {
        f"log_density{suffix(number)}": ((axis.dim,), axis.gather([solution.leave_one_out[k] for k in axis.plates]))
        for number, axis in enumerate(axes)
    }


def _ep(solution: Solution, axes: Sequence[PlateAxis]) -> dict[str, tuple]:
    history = solution.history
    found: dict[str, tuple] = {
        field: (("sweep",), np.array([getattr(info, field) for info in history]))
        for field in ("log_evidence", "change", "residual", "damping", "num_rejected", "num_negative")
    }
    found["sweep"] = (("sweep",), np.array([info.step for info in history], dtype=int))
    meanings = {"flag_values": [int(s) for s in Status], "flag_meanings": " ".join(s.name for s in Status)}
    for number, axis in enumerate(axes):
        status = axis.gather([np.asarray(solution.status[k], dtype=np.int64) for k in axis.plates])
        found[f"status{suffix(number)}"] = ((axis.dim,), status, meanings)
    return found


def dataset_of(found: Mapping[str, tuple], axes: Sequence[PlateAxis]) -> Any:
    """An ``xarray.Dataset`` of name -> (dims, values[, attributes]), with the datasets' names as coordinates."""
    import xarray

    coordinates = {axis.dim: np.array(axis.labels, dtype=str) for axis in axes}
    sizes = {dim: size for dims, values, *_ in found.values() for dim, size in zip(dims, np.shape(values))}
    indices = {dim: np.arange(sizes[dim]) for dim in ("chain", "draw") if dim in sizes}
    indices |= {dim: labels for dim, labels in coordinates.items() if dim in sizes}
    return xarray.Dataset(found, coords=indices)


def _attributes(solution: Solution) -> dict[str, Any]:
    """Numbers and text only: netCDF has no other attributes."""
    return {
        "created_at": datetime.now(UTC).isoformat(),
        "inference_library": "factorgraph",
        "inference_library_version": version(),
        "sampling_time": float(solution.seconds),
        "seed": int(solution.seed),
        "log_evidence": float(solution.answer.log_evidence),
        "log_evidence_ep": float(solution.ep.log_evidence),
        "converged": int(solution.converged),
        "is_corrected": int(solution.is_corrected),
        "is_exact": int(solution.is_exact),
        "k_hat": float(solution.k_hat),
    }
