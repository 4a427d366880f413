"""The method to beat: NumPyro NUTS on the same data, ``python -m tests.benchmarks.peers ../shared --n 1000``.

Prints one line of JSON: CPU seconds with compilation, and of a second run in which everything is compiled.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, init_to_value

from tests.benchmarks.survey import simulated

WARMUP = SAMPLES = 300
TARGET_ACCEPTANCE = 0.9


def hierarchy(x, y):
    """The same density as `tests.benchmarks.survey`, centred."""
    mu = numpyro.sample("mu", dist.TruncatedNormal(50.0, 10.0, low=0.0, high=100.0))
    tau = numpyro.sample("tau", dist.TruncatedNormal(10.0, 5.0, low=0.0, high=100.0))
    with numpyro.plate("datasets", len(y)):
        centre = numpyro.sample("centre", dist.Normal(mu, tau))
        normalization = numpyro.sample("normalization", dist.TruncatedNormal(25.0, 10.0, low=0.0))
        sigma = numpyro.sample("sigma", dist.TruncatedNormal(10.0, 5.0, low=0.0))
    z = (x - centre[:, None]) / sigma[:, None]
    profile = (normalization / (jnp.sqrt(2.0 * jnp.pi) * sigma))[:, None] * jnp.exp(-0.5 * z**2)
    numpyro.factor("log_likelihood", -0.5 * jnp.sum((y - profile) ** 2))


def start(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Where a user would start: each centre at the best match with a profile of width ten."""
    template = np.exp(-0.5 * ((x[:, None] - x) / 10.0) ** 2)
    centre = np.clip(x[np.argmax(y @ template, axis=1)], 20.0, 80.0)
    return {
        "mu": 50.0,
        "tau": 10.0,
        "centre": jnp.asarray(centre),
        "normalization": jnp.full(len(y), 25.0),
        "sigma": jnp.full(len(y), 10.0),
    }


def run(folder: Path, n: int) -> dict[str, Any]:
    data = simulated(folder, n, 7)
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y_hier"])
    strategy = init_to_value(values=start(data["x"], data["y_hier"]))
    kernel = NUTS(hierarchy, target_accept_prob=TARGET_ACCEPTANCE, init_strategy=strategy)
    sampler = MCMC(kernel, num_warmup=WARMUP, num_samples=SAMPLES, num_chains=1, progress_bar=False)
    seconds = []
    for seed in (0, 1):
        began = time.process_time()
        sampler.run(jax.random.PRNGKey(seed), x, y)
        draws = {name: np.asarray(sampler.get_samples()[name]) for name in ("mu", "tau")}
        seconds.append(time.process_time() - began)
    return {
        "n": n,
        "first": seconds[0],
        "steady": seconds[1],
        "mean": {name: float(values.mean()) for name, values in draws.items()},
        "scale": {name: float(values.std(ddof=1)) for name, values in draws.items()},
        "effective": {name: float(effective_sample_size(values[None])) for name, values in draws.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--n", type=int, default=1_000)
    asked = parser.parse_args()
    with jax.enable_x64(True):
        print(json.dumps(run(asked.shared, asked.n)))


if __name__ == "__main__":
    main()
