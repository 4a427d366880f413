"""Adaptive importance sampling integrates sharp, broad and two-peaked likelihoods, in a kernel and on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from searches import mixture as mixtures
from searches.adaptive_importance import adapt, adapt_on_host, point_table, proposal_of, shifted, unexplored
from searches.quasi import uniform_points


def peak(width):
    return lambda z: -0.5 * ((z - 1.5) ** 2).sum(-1) / width**2


def two_peaks(z):
    far = -0.5 * ((z + 2.0) ** 2).sum(-1) / 0.1**2
    near = -0.5 * ((z - 2.0) ** 2).sum(-1) / 0.1**2
    return jnp.logaddexp(far, near) if isinstance(z, jax.Array) else np.logaddexp(far, near)


def log_mass(width, dimension, at=1.5):
    """log of the integral of exp(-(z - at)^2 / 2 width^2) N(z; 0, 1) over all coordinates."""
    return dimension * (-0.5 * at**2 / (1.0 + width**2) + np.log(width) - 0.5 * np.log(1.0 + width**2))


CASES = {
    "sharp": (peak(0.01), 2, log_mass(0.01, 2)),
    "very sharp": (peak(1e-6), 3, log_mass(1e-6, 3)),
    "broad": (peak(3.0), 3, log_mass(3.0, 3)),
    "two peaks": (two_peaks, 2, np.log(2.0) + log_mass(0.1, 2, 2.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lane", ["kernel", "host"])
def test_integral(name, lane):
    log_likelihood, dimension, known = CASES[name]
    reference = mixtures.isotropic(np.ones(1), dimension)
    table = point_table(256, dimension, 48, 0)
    with jax.enable_x64(True):
        if lane == "kernel":
            run = jax.jit(
                lambda t: adapt(
                    log_likelihood, mixtures.isotropic(jnp.ones(1), dimension), t, 0.3, unexplored(5, dimension)
                )
            )
            adaptation = jax.tree.map(np.asarray, run(table))
        else:
            adaptation = adapt_on_host(log_likelihood, reference, table, 0.3, num_components=5)
    assert float(adaptation.temperature) == 1.0
    assert float(adaptation.ess_fraction) > 0.2
    proposal = proposal_of(reference, adaptation.fitted)
    z = mixtures.draws(proposal, shifted(uniform_points(4096, 1 + dimension, 1), np.full(1 + dimension, 0.3)))
    log_weight = log_likelihood(z) + mixtures.log_density(reference, z) - mixtures.log_density(proposal, z)
    assert logsumexp(log_weight) - np.log(len(z)) == pytest.approx(known, abs=0.03)
