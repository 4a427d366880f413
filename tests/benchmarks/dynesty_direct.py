"""Nested sampling of all 3N + 2 unknowns at once, ``python -m tests.benchmarks.dynesty_direct SHARED --n 3``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from dynesty import NestedSampler

from tests.benchmarks.hierarchy import from_cube, log_likelihood
from tests.benchmarks.process import peak_memory
from tests.benchmarks.survey import simulated

LIVE_POINTS = 500


def run(folder: Path, n: int) -> dict[str, Any]:
    data = simulated(folder, n, 7)
    began = time.process_time()
    sampler = NestedSampler(
        log_likelihood,
        from_cube,
        3 * n + 2,
        nlive=LIVE_POINTS,
        logl_args=(data["x"], data["y_hier"]),
        rstate=np.random.default_rng(0),
    )
    sampler.run_nested(print_progress=False)
    found = sampler.results
    weight = np.exp(found.logwt - found.logz[-1])
    weight /= weight.sum()
    mean = weight @ found.samples[:, :2]
    scale = np.sqrt(weight @ (found.samples[:, :2] - mean) ** 2)
    return {
        "n": n,
        "seconds": time.process_time() - began,
        "peak_memory": peak_memory(),
        "evaluations": int(np.sum(found.ncall)),
        "mean": dict(zip(("mu", "tau"), mean.tolist())),
        "scale": dict(zip(("mu", "tau"), scale.tolist())),
        "log_evidence": float(found.logz[-1]),
        "log_evidence_error": float(found.logzerr[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--n", type=int, default=3)
    asked = parser.parse_args()
    print(json.dumps(run(asked.shared, asked.n)))


if __name__ == "__main__":
    main()
