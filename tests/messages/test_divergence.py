"""KL(q || p) = E_q[log q - log p], in this direction."""

import numpy as np
import pytest
import scipy.stats

from messages.beta import Beta
from messages.bijectors import Exp, Softplus
from messages.divergence import kl_divergence
from messages.gamma import Gamma
from messages.multivariate_normal import MultivariateNormal
from messages.normal import Normal
from messages.transformed import Transformed


@pytest.mark.parametrize(
    ("q", "p", "q_referee", "p_referee"),
    [
        (
            Normal.from_mean_variance(0.3, 0.5),
            Normal.from_mean_variance(-1.0, 4.0),
            scipy.stats.norm(0.3, np.sqrt(0.5)),
            scipy.stats.norm(-1.0, 2.0),
        ),
        (
            Gamma.from_shape_rate(3.0, 2.0),
            Gamma.from_shape_rate(1.5, 0.7),
            scipy.stats.gamma(3.0, scale=1 / 2.0),
            scipy.stats.gamma(1.5, scale=1 / 0.7),
        ),
        (
            Beta.from_alpha_beta(3.0, 2.0),
            Beta.from_alpha_beta(1.5, 4.0),
            scipy.stats.beta(3.0, 2.0),
            scipy.stats.beta(1.5, 4.0),
        ),
    ],
    ids=["normal", "gamma", "beta"],
)
def test_both_directions_against_quadrature(q, p, q_referee, p_referee):
    forward = q_referee.expect(lambda x: q_referee.logpdf(x) - p_referee.logpdf(x), epsabs=1e-12)
    backward = p_referee.expect(lambda x: p_referee.logpdf(x) - q_referee.logpdf(x), epsabs=1e-12)
    np.testing.assert_allclose(kl_divergence(q, p), forward, rtol=1e-8)
    np.testing.assert_allclose(kl_divergence(p, q), backward, rtol=1e-7)


def test_vector_of_independent_components_adds_up():
    q, p = (Normal.from_mean_variance(mean, variance) for mean, variance in [([0.3, 1.0], [0.5, 2.0]), (0.0, 1.0)])
    joint = [
        MultivariateNormal.from_mean_covariance(m, np.diag(v)) for m, v in [([0.3, 1.0], [0.5, 2.0]), ([0, 0], [1, 1])]
    ]
    np.testing.assert_allclose(kl_divergence(*joint), kl_divergence(q, p).sum(), rtol=1e-12)


def test_a_bijector_changes_nothing():
    q, p = Normal.from_mean_variance(0.3, 0.5), Normal.from_mean_variance(-1.0, 4.0)
    np.testing.assert_array_equal(kl_divergence(Transformed(q, Exp()), Transformed(p, Exp())), kl_divergence(q, p))


def test_far_from_zero_nothing_cancels():
    q = Normal.from_mean_variance(1e6, 1e-4)
    p = Normal.from_mean_variance(1e6 + 0.01, 1e-4)
    np.testing.assert_allclose(kl_divergence(q, p), 0.5 * 0.01**2 / 1e-4, rtol=1e-6)


def test_improper_is_nan():
    proper, improper = Normal(np.array([0.0, 1.0])), Normal(np.array([0.0, -1.0]))
    assert np.isnan(kl_divergence(proper, improper))
    assert np.isnan(kl_divergence(improper, proper))


def test_two_families_are_refused():
    normal = Normal.from_mean_variance(0.0, 1.0)
    with pytest.raises(TypeError, match="Normal and Gamma"):
        kl_divergence(normal, Gamma.from_shape_rate(1.0, 1.0))
    with pytest.raises(ValueError, match="bijector"):
        kl_divergence(Transformed(normal, Softplus(1.0)), Transformed(normal, Softplus(2.0)))
