"""BlackJAX NUTS on the same data, ``python -m tests.benchmarks.blackjax_nuts SHARED --n 1000``: one line of JSON.

One chain with window adaptation; all datasets in one log density. Warm-up and sampling are compiled apart and called
twice, so that the difference of the two calls is what compilation cost.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.chain import TARGET_ACCEPTANCE, found, lengths
from tests.benchmarks.hierarchy import bounded, log_density, start, unconstrained
from tests.benchmarks.process import peak_memory
from tests.benchmarks.survey import simulated


def run(folder: Path, n: int) -> dict[str, Any]:
    data = simulated(folder, n, 7)
    arrays = jnp.asarray(data["x"]), jnp.asarray(data["y_hier"])
    position = unconstrained(start(data["x"], data["y_hier"]))
    num_warmup, num_samples = lengths(n)

    @jax.jit
    def warm(key, position, arrays):
        adaptation = blackjax.window_adaptation(
            blackjax.nuts, lambda at: log_density(at, *arrays), target_acceptance_rate=TARGET_ACCEPTANCE
        )
        (state, parameters), run = adaptation.run(key, position, num_steps=num_warmup)
        return state, parameters, run.info.num_integration_steps

    @jax.jit
    def sample(key, state, parameters, arrays):
        kernel = blackjax.nuts(lambda at: log_density(at, *arrays), **parameters)

        def step(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position["mu"], state.position["tau"], info.num_integration_steps)

        return jax.lax.scan(step, state, jax.random.split(key, num_samples))[1]

    keys = jax.random.split(jax.random.key(0))
    seconds = []
    for _ in ("compiled on the way", "steady"):
        began = time.process_time()
        state, parameters, warmup = jax.block_until_ready(warm(keys[0], position, arrays))
        warmed = time.process_time()
        mu, tau, sampling = jax.block_until_ready(sample(keys[1], state, parameters, arrays))
        seconds.append({"warmup": warmed - began, "sampling": time.process_time() - warmed})
    first, steady = (sum(times.values()) for times in seconds)
    draws = {"mu": np.asarray(bounded(mu)), "tau": np.asarray(bounded(tau))}
    return {
        "n": n,
        "first": first,
        "steady": steady,
        "seconds": seconds[1],
        "compile": first - steady,
        "peak_memory": peak_memory(),
        **found(draws, (int(jnp.sum(warmup)), int(jnp.sum(sampling)))),
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
