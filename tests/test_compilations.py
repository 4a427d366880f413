"""The counter that bounds compilations in other tests must itself count right."""

import jax
import numpy as np

from tests.compilations import count_compilations


def test_a_jitted_function_compiles_once_per_shape():
    double = jax.jit(lambda x: 2.0 * x + 0.25)
    with count_compilations() as seen:
        double(np.ones(3))
        double(np.zeros(3))
    assert seen.count == 1
    with count_compilations() as again:
        double(np.ones(3))
    assert again.count == 0
    with count_compilations() as other_shape:
        double(np.ones(4))
    assert other_shape.count == 1
    assert other_shape.seconds > 0.0


def test_blocks_nest_and_stop_listening_at_their_end():
    with count_compilations() as outer:
        with count_compilations() as inner:
            jax.jit(lambda x: x - 0.125)(np.ones(5))
        jax.jit(lambda x: x - 0.375)(np.ones(5))
    assert (inner.count, outer.count) == (1, 2)
