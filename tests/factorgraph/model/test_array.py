"""Arrays of unknowns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from factorgraph.errors import ModelError
from factorgraph.model.array import Array
from factorgraph.model.collection import Collection
from factorgraph.model.prior import GaussianPrior


def test_elements_are_unknowns_of_their_own():
    array = Array(shape=(2, 3), prior=GaussianPrior(1.0, 2.0))
    assert array.prior_count == 6
    array[0, 1] = 5.0
    array[1, -1] = array[0, 0]
    assert array.prior_count == 4
    np.testing.assert_array_equal(array.instance_from_vector([1.0, 2.0, 3.0, 4.0]), [[1.0, 5.0, 2.0], [3.0, 4.0, 1.0]])
    assert array.copy().variables == array.variables
    assert "element_0_1" in Collection(a=array).info


def test_arrays_are_traceable():
    model = Collection(a=Array(2), b=3.0)
    with jax.enable_x64(True):
        total = float(jax.jit(lambda v: (model.instance_from_vector(v).a ** 2).sum())(jnp.asarray([3.0, 4.0])))
    assert total == 25.0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Array(()),
        lambda: Array((2, 0)),
        lambda: Array(2, prior=3.0),
        lambda: Array(2)[2],
        lambda: Array((2, 2))[0],
        lambda: Array(2).__setitem__(0, "x"),
    ],
)
def test_mistakes_raise(attempt):
    with pytest.raises(ModelError):
        attempt()
