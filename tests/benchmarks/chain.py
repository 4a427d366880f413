"""What a Markov chain found of the two hyper-parameters, and what it costs to have a thousand effective draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from blackjax.diagnostics import ess_bulk

TARGET_ACCEPTANCE = 0.9


def lengths(n: int) -> tuple[int, int]:
    """Draws of warm-up, and draws that are kept."""
    return (500, 1_000) if n < 1_000 else (300, 300)


def found(draws: dict[str, np.ndarray], num_gradients: tuple[int, int]) -> dict[str, Any]:
    """``draws`` (S,) by name; gradients of the whole density in the warm-up and after it, of a dataset each."""
    return {
        "mean": {name: float(values.mean()) for name, values in draws.items()},
        "scale": {name: float(values.std(ddof=1)) for name, values in draws.items()},
        "effective": {name: float(ess_bulk(values[None])) for name, values in draws.items()},
        "gradients": {"warmup": num_gradients[0], "sampling": num_gradients[1]},
    }
