"""Draws of the local variables that belong to the draws of the shared ones, made when they are first asked for.

A solution stores few draws of the locals, which are enough for their moments. Where it is affordable they are drawn
again, one for each draw of the shared variables, so that rows of the two make joint draws.
"""

from __future__ import annotations

import jax
import numpy as np

from factorgraph.propagation.host import HostPlate
from factorgraph.propagation.solution import Solution

LARGE_PLATE = 2000  # datasets; beyond, the stored draws are used


def are_joint(solution: Solution, plate: int) -> bool:
    """Whether row m of `local_draws` belongs to row m of ``solution.draws``."""
    contracted = solution.plates[plate]
    calls_likelihood = isinstance(contracted, HostPlate) and contracted.method == "joint"
    return contracted.plate.size <= LARGE_PLATE and not calls_likelihood


def local_draws(solution: Solution, plate: int) -> np.ndarray:
    """Equal-weight draws (N, M, local) of one plate's local variables, in the user's coordinates.

    M is that of ``solution.draws`` where `are_joint`, otherwise as many as the solution has stored.
    """
    stored = solution.local[plate]
    if stored is None:
        return np.zeros((solution.plates[plate].plate.size, len(solution.phi), 0))
    stored_draws = np.asarray(stored.draws)
    if not are_joint(solution, plate):
        return stored_draws
    num = stored_draws.shape[1]  # in chunks of the size that was used before, so that nothing is compiled again
    with jax.enable_x64(True):
        parts = [_chunk(solution, plate, solution.phi[i : i + num], i) for i in range(0, len(solution.phi), num)]
    return np.concatenate(parts, axis=1)


def _chunk(solution: Solution, plate: int, phi: np.ndarray, first: int) -> np.ndarray:
    """Draws (N, n, local) for the rows of ``phi`` (n, D); every dataset meets them with chances of its own."""
    contracted = solution.plates[plate]
    return np.asarray(contracted.local_posterior(phi, contracted.chances(len(phi), first)).draws)
