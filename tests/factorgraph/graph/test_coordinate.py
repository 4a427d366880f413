"""Coordinates: one real number an unknown, there and back, and the Jacobian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from factorgraph.graph.coordinate import (
    KINDS,
    coordinate_from_value,
    kind_for_support,
    log_jacobian,
    unit_coordinate,
    value_from_coordinate,
)

PARAMETERS = {
    "real": np.array([0.0, 0.0, 3.0, 0.5]),
    "softplus": np.array([1.0, 1.0, 0.3, 2.0]),
    "log": np.array([-2.0, 1.0, 0.3, 0.7]),
    "interval": np.array([2.0, 5.0, 0.2, 1.3]),
}
T = np.linspace(-8.0, 8.0, 33)


def test_every_kind_is_tested():
    assert set(PARAMETERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind):
    value = value_from_coordinate(kind, T, PARAMETERS[kind])
    np.testing.assert_allclose(coordinate_from_value(kind, value, PARAMETERS[kind]), T, rtol=1e-6, atol=1e-8)
    assert np.all(np.diff(value) > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_is_the_derivative(kind):
    step = 1e-5
    low, high = (value_from_coordinate(kind, T + d, PARAMETERS[kind]) for d in (-step, step))
    derivative = (high - low) / (2 * step)
    np.testing.assert_allclose(log_jacobian(kind, T, PARAMETERS[kind]), np.log(np.abs(derivative)), atol=1e-5)


@pytest.mark.parametrize("kind", ["softplus", "log"])
def test_half_lines_that_end_above(kind):
    parameters = np.array([4.0, -1.0, 0.1, 1.5])
    value = value_from_coordinate(kind, T, parameters)
    assert np.all(value < 4.0)
    assert np.all(np.diff(value) < 0)
    np.testing.assert_allclose(coordinate_from_value(kind, value, parameters), T, rtol=1e-6, atol=1e-8)


def test_limits_are_respected():
    value = value_from_coordinate("interval", T, PARAMETERS["interval"])
    assert np.all((value > 2.0) & (value < 5.0))
    assert np.all(value_from_coordinate("softplus", T, PARAMETERS["softplus"]) > 1.0)
    assert np.all(value_from_coordinate("log", T, PARAMETERS["log"]) > -2.0)


def test_traced_and_plain_agree():
    """One program for all kinds: eager operations of JAX would each be compiled."""

    @jax.jit
    def everything(t, parameters):
        return [
            (value_from_coordinate(kind, t, parameters[kind]), log_jacobian(kind, t, parameters[kind]))
            for kind in KINDS
        ]

    with jax.enable_x64(True):
        traced = everything(jnp.asarray(T), {kind: jnp.asarray(p) for kind, p in PARAMETERS.items()})
    for kind, (value, jacobian) in zip(KINDS, traced):
        np.testing.assert_allclose(value, value_from_coordinate(kind, T, PARAMETERS[kind]), rtol=1e-12)
        np.testing.assert_allclose(jacobian, log_jacobian(kind, T, PARAMETERS[kind]), rtol=1e-12)


@pytest.mark.parametrize(
    ("support", "decades", "kind"),
    [
        ("real", False, "real"),
        ("real", True, "real"),
        ("lower", False, "softplus"),
        ("lower", True, "log"),
        ("upper", False, "softplus"),
        ("upper", True, "log"),
        ("interval", False, "interval"),
        ("interval", True, "interval"),
    ],
)
def test_kind_for_a_support(support, decades, kind):
    assert kind_for_support(support, decades) == kind
    parameters = unit_coordinate(support, 1.0, 3.0, 2.0)
    value = value_from_coordinate(kind, np.array([-1.0, 0.0, 1.0]), parameters)
    assert parameters.shape == (4,)
    if support in ("lower", "interval"):
        assert np.all(value > 1.0)
    if support == "upper":
        assert np.all(value < 3.0)
    if support == "interval":
        assert np.all(value < 3.0)
