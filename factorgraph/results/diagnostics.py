"""How far each dataset's part of an answer can be trusted, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factorgraph.propagation.solution import Solution
from factorgraph.results.plate_axis import PlateAxis
from searches.status import Status


def diagnostics_of(solution: Solution, axes: Sequence[PlateAxis]) -> dict[str, tuple]:
    """Name -> (dims, values, attributes); the names of a second axis end in ``_1``."""
    found: dict[str, tuple] = {}
    for number, axis in enumerate(axes):
        for name, values, attributes in _columns(solution, axis):
            found[f"{name}{suffix(number)}"] = ((axis.dim,), values, attributes)
    return found


def suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _columns(solution: Solution, axis: PlateAxis) -> list[tuple[str, np.ndarray, dict]]:
    plates = [solution.plates[k] for k in axis.plates]
    sizes = [plate.plate.size for plate in plates]
    local = [solution.local[k] for k in axis.plates]
    pairs = list(zip(local, sizes, strict=True))
    num_effective = [np.full(n, np.nan) if found is None else found.num_effective for found, n in pairs]
    k_hat = [np.full(n, np.nan) if found is None else found.k_hat for found, n in pairs]
    status = [np.array([Status(int(s)).name for s in solution.status[k]], dtype="U32") for k in axis.plates]
    methods = [np.full(n, plate.method, dtype="U16") for plate, n in zip(plates, sizes, strict=True)]
    return [
        ("status", axis.gather(status), {"long_name": "outcome of the last update"}),
        ("method", axis.gather(methods), {"long_name": "how the private variables were integrated out"}),
        (
            "is_escalated",
            axis.gather([p.is_escalated for p in plates]),
            {"long_name": "sequential Monte Carlo was used"},
        ),
        ("num_calls", axis.gather([p.num_calls for p in plates]), {"long_name": "evaluations of the likelihood"}),
        ("num_effective", axis.gather(num_effective), {"long_name": "effective number of points of the integral"}),
        ("k_hat", axis.gather(k_hat), {"long_name": "Pareto k-hat of the weights of these points"}),
        (
            "log_factor_error",
            axis.gather([solution.factor_errors[k] for k in axis.plates]),
            {"long_name": "standard error of the log factor from its integral", "units": "nats"},
        ),
        (
            "shift",
            axis.gather([solution.factor_shifts[k] for k in axis.plates]),
            {"long_name": "by how much that may move a shared mean, the largest, in posterior sds"},
        ),
    ]
