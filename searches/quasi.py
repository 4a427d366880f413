"""Quasi-random points: scrambled Sobol sequences in the unit cube and through the normal quantile.

To split points into random halves take *consecutive* halves: the parity of the index is the first bit of the first
coordinate, so every second point is half of the space, not half of the sample.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

_BITS = 30  # resolution of the sequence; points are moved to the middle of their cell, so that 0 and 1 never occur


def uniform_points(num_points: int, dimension: int, seed: int) -> np.ndarray:
    """Scrambled Sobol points.

    Parameters
    ----------
    num_points : the first ``num_points`` of the sequence are taken; a power of two is balanced best.
    dimension : from 0 to 21,201.
    seed : the same seed gives the same points.

    Returns
    -------
    (num_points, dimension) array in the open interval (0, 1).
    """
    if dimension == 0:
        return np.zeros((num_points, 0))
    sequence = qmc.Sobol(dimension, scramble=True, bits=_BITS, rng=np.random.default_rng(seed))
    log2_points = max(int(num_points) - 1, 0).bit_length()
    return sequence.random_base2(log2_points)[:num_points] + 0.5 ** (_BITS + 1)


def normal_points(num_points: int, dimension: int, seed: int, *, whiten: bool = False) -> np.ndarray:
    """Quasi-random standard normal points, (num_points, dimension).

    Parameters
    ----------
    whiten : make the sample mean exactly 0 and the sample covariance (divided by ``num_points``) exactly the identity.

    Raises
    ------
    ValueError : too few points to be whitened.
    """
    points = ndtri(uniform_points(num_points, dimension, seed))
    return whitened(points) if whiten else points


def whitened(points: np.ndarray) -> np.ndarray:
    """The affine image of ``points`` (n, d) with mean 0 and covariance (divided by n) the identity."""
    num_points, dimension = points.shape
    if num_points <= dimension:
        raise ValueError(
            f"{num_points} points in {dimension} dimensions cannot be whitened: take more than {dimension}."
        )
    for _ in range(2):  # the second round removes the rounding error of the first
        points = points - points.mean(axis=0)
        cholesky = np.linalg.cholesky(points.T @ points / num_points)
        points = np.linalg.solve(cholesky, points.T).T
    return points
