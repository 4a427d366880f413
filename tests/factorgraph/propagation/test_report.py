"""Equal-weight draws of a corrected posterior stand for its weighted ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from factorgraph.propagation.correction import Correction
from factorgraph.propagation.report import posterior_draws
from searches.importance import student_draws, student_log_density

NUM_DRAWS = 2048


def weighted_draws(dimension, seed):
    """A standard normal, by weighted draws of a t-distribution that is nearly as good: weights that are nearly equal."""
    mean, factor = np.zeros(dimension), np.eye(dimension)
    phi, log_proposal = student_draws(mean, factor, num_draws=NUM_DRAWS, seed=seed, df=200.0)
    log_weight = student_log_density(phi, mean, factor, df=np.inf) - log_proposal
    log_weight -= logsumexp(log_weight)
    return Correction(
        phi=phi,
        log_weight=log_weight,
        log_gaussian_weight=log_weight,
        log_evidence=0.0,
        k_hat=0.0,
        effective_sample_size=1.0 / np.sum(np.exp(2.0 * log_weight)),
        num_rounds=1,
        num_modes=1,
        log_factors=[],
        inner_errors=[],
        log_evidence_error=0.0,
    )


@pytest.mark.parametrize("seed", range(4))
def test_equal_weight_draws_are_as_good_as_independent_ones(seed):
    correction = weighted_draws(dimension=5, seed=seed)
    draws = posterior_draws(None, correction, seed=seed)
    num = len(draws)
    assert np.max(np.abs(draws.mean(axis=0))) < 3.5 / np.sqrt(num)
    assert np.max(np.abs(draws.std(axis=0) - 1.0)) < 3.5 / np.sqrt(2 * num)
    correlation = np.corrcoef(draws, rowvar=False) - np.eye(5)
    assert np.max(np.abs(correlation)) < 4.0 / np.sqrt(num)
    quarter = np.mean(np.all(draws[:, :2] > 0.0, axis=1))
    assert abs(quarter - 0.25) < 3.5 * np.sqrt(0.25 * 0.75 / num)
