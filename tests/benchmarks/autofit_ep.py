"""PyAutoFit's expectation propagation with a nested sampler for every dataset, by an interpreter that has it.

    /path/to/python tests/benchmarks/autofit_ep.py SHARED --n 10

It needs PyAutoFit and NumPy alone: nothing of this library is imported, for the two cannot be installed side by side
(it pins an older dynesty). Each drawn centre keeps a prior of its own beside the parent there, so that the exact answer
to compare with is another one; `--second-prior` of `tests.benchmarks.quadrature` has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import autofit as af
import numpy as np

SEED = 7
LIVE_POINTS = 100
MOST_SWEEPS = 5  # as in its tutorials
TOLERANCE = 0.05  # nats of Kullback-Leibler divergence, as there


class Profile:
    def __init__(self, centre=50.0, normalization=25.0, sigma=10.0):
        self.centre = centre
        self.normalization = normalization
        self.sigma = sigma


class Pixels(af.Analysis):
    """Unit Gaussian noise in every pixel; counts its calls."""

    calls = 0

    def __init__(self, y, x):
        super().__init__()
        self.y, self.x = y, x

    def log_likelihood_function(self, instance):
        Pixels.calls += 1
        z = (self.x - instance.centre) / instance.sigma
        model = instance.normalization / (np.sqrt(2.0 * np.pi) * instance.sigma) * np.exp(-0.5 * z**2)
        return np.sum(-0.5 * (self.y - model) ** 2 - 0.5 * np.log(2.0 * np.pi))


def simulated(folder: Path, n: int) -> dict[str, np.ndarray]:
    spec = importlib.util.spec_from_file_location("simulate", folder / "benchmarks" / "simulate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.simulate(n, seed=SEED)


def nested(name: str) -> af.DynestyStatic:
    """For every factor, the parent's too: with Laplace's method, the default, the scatter never leaves its prior."""
    return af.DynestyStatic(name=name, nlive=LIVE_POINTS, sample="rwalk", number_of_cores=1)


def run(folder: Path, n: int) -> dict[str, Any]:
    data = simulated(folder, n)
    np.random.seed(0)
    began = time.process_time()
    within = {"lower_limit": 0.0, "upper_limit": 100.0}
    positive = {"lower_limit": 0.0, "upper_limit": np.inf}
    parent = af.HierarchicalFactor(
        af.GaussianPrior,
        mean=af.TruncatedGaussianPrior(mean=50.0, sigma=10.0, **within),
        sigma=af.TruncatedGaussianPrior(mean=10.0, sigma=5.0, **within),
        optimiser=nested("parent"),
    )
    factors = []
    for i, y in enumerate(data["y_hier"]):
        model = af.Model(
            Profile,
            centre=af.TruncatedGaussianPrior(mean=50.0, sigma=20.0, **within),
            normalization=af.TruncatedGaussianPrior(mean=25.0, sigma=10.0, **positive),
            sigma=af.TruncatedGaussianPrior(mean=10.0, sigma=5.0, **positive),
        )
        parent.add_drawn_variable(model.centre)
        factors.append(af.AnalysisFactor(model, analysis=Pixels(y, data["x"]), optimiser=nested(f"dataset_{i}")))
    graph = af.FactorGraphModel(*factors, parent)
    result = graph.optimise(
        optimiser=af.LaplaceOptimiser(), ep_history=af.EPHistory(kl_tol=TOLERANCE), max_steps=MOST_SWEEPS
    )
    found = result.updated_ep_mean_field.mean_field
    seconds = time.process_time() - began
    variables = {"mu": parent.mean, "tau": parent.sigma}
    return {
        "n": n,
        "seconds": seconds,
        "compile_seconds": 0.0,
        "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "evaluations": Pixels.calls / n,
        "mean": {name: float(found[v].mean) for name, v in variables.items()},
        "scale": {name: float(np.sqrt(found[v].variance)) for name, v in variables.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--n", type=int, default=10)
    asked = parser.parse_args()
    shared = asked.shared.resolve()
    with tempfile.TemporaryDirectory() as folder:  # it writes its results beside wherever it runs
        os.chdir(folder)
        print(json.dumps(run(shared, asked.n)))


if __name__ == "__main__":
    main()
