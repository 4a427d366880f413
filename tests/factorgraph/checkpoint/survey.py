"""A small survey, solved with a checkpoint: imported by the tests, and run by them as a script that is killed.

``python survey.py FOLDER OUT.npz`` solves it and writes all that the result says; ``--die K`` ends the process by
SIGKILL when the K-th file is about to get its name.
"""

from __future__ import annotations

import argparse
import os
import signal

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from factorgraph.checkpoint import archive, store
from factorgraph.propagation import blocks

NUM = 24
_random = np.random.default_rng(5)
COUNTS = _random.poisson(np.exp(_random.normal(1.0, 0.6, NUM))).astype(float)


class Source:
    def __init__(self, log_rate):
        self.log_rate = log_rate


class Counts(fg.Analysis):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def log_likelihood_function(self, instance):
        return self.count * instance.log_rate - jnp.exp(instance.log_rate)


class CalledCounts(Counts):
    """In plain Python; every call leaves a byte in the file, if one is named."""

    log = ""

    def log_likelihood_function(self, instance):
        if self.log:
            with open(self.log, "ab") as file:
                file.write(b".")
        return self.count * float(instance.log_rate) - float(np.exp(instance.log_rate))


def survey(counts=COUNTS, analysis=Counts, scatter=2.0, names="s{}"):
    """A population of log rates, each measured by a count."""
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.HalfNormalPrior(scatter), name="population"
    )
    factors = []
    for number, count in enumerate(counts):
        model = fg.Model(Source)
        parent.add_drawn_variable(model.log_rate)
        factors.append(fg.AnalysisFactor(model, analysis(count), name=names.format(number)))
    return fg.FactorGraphModel(*factors, parent)


def numbers_of(result) -> dict[str, np.ndarray]:
    """All that is to be equal bit by bit."""
    found = result._solution
    numbers = {
        "mean": found.answer.mean,
        "covariance": found.answer.covariance,
        "log_evidence": np.array([found.answer.log_evidence, found.ep.log_evidence, found.log_evidence_error]),
        "draws": found.draws,
        "inner_error": found.inner_error,
    }
    for number, (plate, local) in enumerate(zip(found.plates, found.local, strict=True)):
        numbers[f"calls_{number}"] = plate.num_calls
        numbers[f"status_{number}"] = np.asarray(found.status[number])
        numbers[f"leave_one_out_{number}"] = found.leave_one_out[number]
        for name, part in zip(local._fields, local, strict=True) if local is not None else ():
            numbers[f"{name}_{number}"] = np.asarray(part)
    return numbers


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and first[k].tobytes() == second[k].tobytes() for k in first
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--die", type=int, default=0)
    parser.add_argument("--num", type=int, default=NUM)
    parser.add_argument("--called", default="")
    parser.add_argument("--cache", default="")
    given = parser.parse_args()
    if given.cache:
        fg.cache_compilations(given.cache)
    blocks._SIZES = (8,)
    CalledCounts.log = given.called
    if given.die:
        store._SHORTEST = store._LONGEST = 0.0
        replace, left = os.replace, [given.die + 1]  # the manifest comes first

        def replace_or_die(source, target):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        archive.os.replace = replace_or_die
    counts = np.resize(COUNTS, given.num)
    graph = survey(counts, CalledCounts if given.called else Counts)
    np.savez(given.out, **numbers_of(graph.optimise(checkpoint=given.folder)))


if __name__ == "__main__":
    main()
