"""Kernels are compiled with an option of XLA where it is known, and all the same where it is not."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from factorgraph.propagation.kernel import kernel
from tests.compilations import count_compilations


def power(x, exponent):
    return x**exponent


@pytest.mark.parametrize("options", [None, {"xla_option_of_another_age": True}], ids=["known", "unknown"])
def test_a_second_call_compiles_nothing(options):
    compiled = kernel("exponent", **({} if options is None else {"options": options}))(power)
    np.testing.assert_array_equal(compiled(np.full(2, 3.0, np.float32), 2), 9.0)
    with count_compilations() as seen:
        np.testing.assert_array_equal(compiled(np.full(2, 4.0, np.float32), 2), 16.0)
    assert seen.count == 0


def test_other_errors_are_raised():
    def wrong(x):
        return jax.pure_callback(lambda x: 1 / 0, x, x)

    with pytest.raises(jax.errors.JaxRuntimeError, match="ZeroDivisionError"):
        kernel()(wrong)(jax.numpy.ones(()))
