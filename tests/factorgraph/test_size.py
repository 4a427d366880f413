"""What a graph costs beside what its user would have written by hand, and that many graphs do not add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.graph.global_target import target_of

ROOT = Path(__file__).resolve().parents[2]
X = np.arange(100.0)
TINY = """
import json, resource, sys
import jax.numpy as jnp, numpy as np
import factorgraph as fg
from tests.compilations import count_compilations

class Level:
    def __init__(self, level): self.level = level

class Few(fg.Analysis):
    def __init__(self, y): self.y = y
    def log_likelihood_function(self, instance):
        return -2.5 * jnp.sum(jnp.log1p((self.y - instance.level) ** 2 / 4.0))

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def solve(num, seed):
    rng = np.random.default_rng(seed)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.HalfNormalPrior(3.0))
    factors = []
    for y in rng.normal(1.0, 1.0, (num, 1)) + rng.standard_t(4.0, (num, 3)):
        model = fg.Model(Level)
        parent.add_drawn_variable(model.level)
        factors.append(fg.AnalysisFactor(model, Few(y)))
    fg.FactorGraphModel(*factors, parent).optimise(seed=seed)

num = int(sys.argv[1])
with count_compilations() as compilations:
    solve(num, 0)
    solve(num, 1)
    before = resident()
    for seed in range(2, 5):
        solve(num, seed)
print(json.dumps({"compilations": compilations.count, "growth": resident() - before}))
"""


class Profile:
    def __init__(self, centre, normalization, sigma):
        self.centre, self.normalization, self.sigma = centre, normalization, sigma


class Pixels(fg.Analysis):
    def __init__(self, y):
        self.y = y

    def log_likelihood_function(self, instance):
        return log_likelihood(instance.centre, instance.normalization, instance.sigma, self.y)


def log_likelihood(centre, normalization, sigma, y):
    profile = normalization / (jnp.sqrt(2.0 * jnp.pi) * sigma) * jnp.exp(-0.5 * ((X - centre) / sigma) ** 2)
    return jnp.sum(-0.5 * (y - profile) ** 2)


def by_hand(x, y):
    """The sum of a survey's log likelihoods, as one would write it."""
    mean, spread = 50.0 + 10.0 * x[0], jnp.exp(2.0 + 0.5 * x[1])
    centre = mean + spread * x[2::3]
    normalization, sigma = 25.0 + 10.0 * x[3::3], jnp.exp(2.0 + 0.3 * x[4::3])
    return jnp.sum(jax.vmap(log_likelihood)(centre, normalization, sigma, y))


def survey(y):
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.LogGaussianPrior(2.0, 0.5)
    )
    factors = []
    for row in y:
        model = fg.Model(Profile, normalization=fg.GaussianPrior(25.0, 10.0), sigma=fg.LogGaussianPrior(2.0, 0.3))
        parent.add_drawn_variable(model.centre)
        factors.append(fg.AnalysisFactor(model, Pixels(row)))
    return fg.FactorGraphModel(*factors, parent)


def seconds_of(call, repeats):
    best = np.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(repeats):
            found = call()
        jax.block_until_ready(found)
        best = min(best, (time.process_time() - began) / repeats)
    return best


@pytest.mark.slow
@pytest.mark.parametrize(("num", "points"), [(3, 64), (100, 32), (10_000, 2)])
def test_the_summed_likelihood_costs_what_one_by_hand_does(num, points):
    """In batches, as samplers ask for it: a single call for three datasets takes microseconds, mostly of dispatch."""
    rng = np.random.default_rng(num)
    y = rng.normal(size=(num, len(X)))
    target = target_of(survey(y))
    with jax.enable_x64(True):
        x = jax.device_put(rng.normal(size=(points, 2 + 3 * num)))
        arrays = jax.device_put((target.data, y))
        ours = jax.jit(lambda x, arrays: jax.vmap(lambda one: target.log_likelihood(one, arrays[0]))(x))
        hand = jax.jit(lambda x, arrays: jax.vmap(lambda one: by_hand(one, arrays[1]))(x))
        ours(x, arrays), hand(x, arrays)
        repeats = max(2, 3_000 // num)
        ratios = [
            seconds_of(lambda: ours(x, arrays), repeats) / seconds_of(lambda: hand(x, arrays), repeats)
            for _ in range(3)
        ]
    assert min(ratios) < 1.2, ratios


@pytest.mark.slow
def test_five_thousand_tiny_datasets_again_and_again_take_no_more_memory():
    counts = {}
    for num in (10, 5_000):
        command = [sys.executable, "-c", TINY, str(num)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        counts[num] = found["compilations"]
        assert found["growth"] < 100e6
    assert counts[10] == counts[5_000] <= 8
