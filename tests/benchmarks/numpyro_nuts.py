"""The method to beat: NumPyro NUTS on the same data, ``python -m tests.benchmarks.numpyro_nuts SHARED --n 1000``.

Prints one line of JSON. The same chain is run twice, so that the difference of the two is what compilation cost.
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
from numpyro.infer import MCMC, NUTS, init_to_value

from tests.benchmarks.chain import TARGET_ACCEPTANCE, found, lengths
from tests.benchmarks.hierarchy import start
from tests.benchmarks.process import peak_memory
from tests.benchmarks.survey import simulated


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


def run(folder: Path, n: int) -> dict[str, Any]:
    data = simulated(folder, n, 7)
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y_hier"])
    num_warmup, num_samples = lengths(n)
    kernel = NUTS(
        hierarchy,
        target_accept_prob=TARGET_ACCEPTANCE,
        init_strategy=init_to_value(values=start(data["x"], data["y_hier"])),
    )
    sampler = MCMC(kernel, num_warmup=num_warmup, num_samples=num_samples, num_chains=1, progress_bar=False)
    seconds = []
    for _ in ("compiled on the way", "steady"):
        began = time.process_time()
        sampler.warmup(jax.random.PRNGKey(0), x, y, extra_fields=("num_steps",), collect_warmup=True)
        warmup = int(np.sum(sampler.get_extra_fields()["num_steps"]))
        warmed = time.process_time()
        sampler.run(sampler.post_warmup_state.rng_key, x, y, extra_fields=("num_steps",))
        draws = {name: np.asarray(sampler.get_samples()[name]) for name in ("mu", "tau")}
        sampling = int(np.sum(sampler.get_extra_fields()["num_steps"]))
        seconds.append({"warmup": warmed - began, "sampling": time.process_time() - warmed})
    first, steady = (sum(times.values()) for times in seconds)
    return {
        "n": n,
        "first": first,
        "steady": steady,
        "seconds": seconds[1],
        "compile": first - steady,
        "peak_memory": peak_memory(),
        **found(draws, (warmup, sampling)),
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
