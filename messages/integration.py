"""Nodes for one-dimensional expectations, on a line where the density has one peak and falls at least exponentially.

The trapezoidal rule in u with t = centre + scale sinh(u) resolves the peak and reaches tails hundreds of scales away
with few nodes; for an analytic integrand its error falls exponentially (Trefethen and Weideman 2014, SIAM Review 56,
385).
"""

from __future__ import annotations

import numpy as np

from messages.array_namespace import Array, namespace

NUM_NODES = 201
LOG_TAIL = 700.0  # how far the log density falls before the nodes end: just above underflow


def sinh_displacements(scale: Array, below: Array, above: Array) -> tuple[Array, Array]:
    """Displacements from the peak, ``(n, *plate)``, from -``below`` to ``above``, and the logs of their spacing.

    ``scale`` is the width of the peak; all arguments are positive and broadcast.
    """
    xp = namespace(scale, below, above)
    start, stop = -xp.arcsinh(below / scale), xp.arcsinh(above / scale)
    fraction = np.linspace(0.0, 1.0, NUM_NODES).reshape((-1,) + (1,) * np.ndim(start + stop))
    u = start + (stop - start) * fraction
    return scale * xp.sinh(u), xp.log(scale * xp.cosh(u))


def normalised(log_weights: Array) -> Array:
    """Weights that sum to one over the first axis; nan and -inf count as zero, all of them zero gives nan."""
    xp = namespace(log_weights)
    log_weights = xp.where(xp.isnan(log_weights), -xp.inf, log_weights)
    largest = log_weights.max(axis=0)
    weights = xp.exp(log_weights - xp.where(xp.isfinite(largest), largest, 0.0))
    total = xp.sum(weights, axis=0)
    return weights / xp.where(total > 0.0, total, xp.nan)
