"""Each bijector is its inverse's inverse, and its Jacobian is its derivative."""

import jax
import numpy as np
import pytest

from messages.bijectors import Affine, Exp, Logistic, NormalCdf, Softplus

BIJECTORS = {  # with their ranges
    "affine": (Affine(2.0, 3.0), (-np.inf, np.inf)),
    "affine, falling": (Affine(2.0, -0.5), (-np.inf, np.inf)),
    "exp": (Exp(), (0.0, np.inf)),
    "softplus": (Softplus(4.0), (0.0, np.inf)),
    "logistic": (Logistic(-2.0, 5.0), (-2.0, 5.0)),
    "normal_cdf": (NormalCdf(-2.0, 5.0), (-2.0, 5.0)),
}
X = np.array([-6.0, -1.0, 0.0, 0.3, 2.0, 6.0])


@pytest.fixture(params=BIJECTORS)
def row(request):
    return BIJECTORS[request.param]


def test_inverse(row):
    bijector, _ = row
    np.testing.assert_allclose(bijector.inverse(bijector.forward(X)), X, rtol=1e-7, atol=1e-12)


def test_range(row):
    bijector, expected = row
    assert bijector.range == expected


def test_log_jacobian_is_the_logarithm_of_the_derivative(row):
    bijector, _ = row
    with jax.enable_x64(True):
        value, slope = jax.jit(jax.vmap(jax.value_and_grad(bijector.forward)))(X)
    np.testing.assert_allclose(np.asarray(value), bijector.forward(X), rtol=1e-12)
    np.testing.assert_allclose(bijector.log_jacobian(X), np.log(np.abs(slope)), rtol=1e-9, atol=1e-9)


def test_monotone(row):
    bijector, _ = row
    steps = np.diff(bijector.forward(np.linspace(-8.0, 8.0, 200)))
    assert (steps > 0.0).all() or (steps < 0.0).all()


@pytest.mark.parametrize("bijector", [Exp(), Softplus(1e-3), Logistic(0.0, 1.0), NormalCdf(0.0, 1.0)])
def test_far_below_nothing_is_lost(bijector):
    x = np.array([-30.0, -20.0])
    np.testing.assert_allclose(bijector.inverse(bijector.forward(x)), x, rtol=1e-12)
    assert np.isfinite(bijector.log_jacobian(np.array([-1e3, 1e3]))).all()
