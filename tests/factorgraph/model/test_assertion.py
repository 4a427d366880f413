"""Comparisons between unknowns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from factorgraph.errors import ModelError
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.prior import UniformPrior
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from tests.factorgraph.model.profiles import Gaussian


def satisfied(model, values):
    structure, _, constants = structure_of(model)
    assert structure.has_assertions
    return bool(structure.satisfied(values, constants))


def test_comparisons_with_numbers_variables_and_relations():
    model = Model(Gaussian)
    model.add_assertion(model.sigma > 5.0)
    model.add_assertion(model.centre <= 2.0 * model.intensity, name="order")
    assert satisfied(model, [1.0, 0.5, 6.0])
    assert not satisfied(model, [1.0, 0.5, 5.0])
    assert not satisfied(model, [1.1, 0.5, 6.0])
    assert not satisfied(model, [float("nan"), 0.5, 6.0])
    assert [assertion.name for assertion in model.assertions] == [None, "order"]


@pytest.mark.parametrize(
    ("values", "truth"), [([1, 2, 3], True), ([1, 3, 2], False), ([2, 1, 3], False), ([1, 1, 3], False)]
)
def test_chains(values, truth):
    model = Model(Gaussian)
    model.add_assertion((model.centre < model.intensity) < model.sigma)
    assert satisfied(model, values) is truth


def test_reversed_operands():
    model = Model(Gaussian)
    model.add_assertion(model.sigma > 5.0)
    assert satisfied(model, [0.0, 0.0, 6.0])
    assert not satisfied(model, [0.0, 0.0, 4.0])


def test_assertions_anywhere_in_the_tree_count_and_are_traced():
    inner = Model(Gaussian)
    inner.add_assertion(inner.sigma > 5)
    model = Collection(a=inner, b=Gaussian)
    model.add_assertion(model.b.centre < model.a.centre)
    structure, _, constants = structure_of(model)
    truth = jax.jit(lambda v: structure.satisfied(v, constants))
    assert truth(jnp.asarray([2.0, 0.0, 6.0, 1.0, 0.0, 0.0]))
    assert not truth(jnp.asarray([2.0, 0.0, 6.0, 3.0, 0.0, 0.0]))
    assert not truth(jnp.asarray([2.0, 0.0, 4.0, 1.0, 0.0, 0.0]))


def test_without_assertions_everything_is_satisfied():
    structure, _, constants = structure_of(Model(Gaussian))
    assert structure.satisfied([0.0, 0.0, 0.0], constants) is True
    assert not structure.has_assertions


def test_an_assertion_follows_a_replaced_parameter():
    model = Collection(g=Gaussian)
    model.add_assertion(2 * model.g.sigma > 5.0)
    twin = model.copy()
    twin.g.sigma = prior = UniformPrior(0.0, 10.0)
    assert twin.variables[-1] is prior
    assert twin.prior_count == 3
    assert satisfied(twin, [0.0, 0.0, 2.6])
    assert not satisfied(twin, [0.0, 0.0, 2.4])
    twin.g.sigma = 1.0
    assert twin.prior_count == 2
    assert not satisfied(twin, [0.0, 0.0])
    assert satisfied(model, [0.0, 0.0, 3.0])


def test_an_assertion_may_mention_a_variable_of_elsewhere():
    other = UniformPrior(0.0, 1.0)
    model = Model(Gaussian)
    model.add_assertion(model.sigma > other)
    assert model.variables[-1] is other
    assert satisfied(model, [0.0, 0.0, 2.0, 1.0])
    assert not satisfied(model, [0.0, 0.0, 2.0, 3.0])


def test_random_instances_satisfy_the_assertions():
    model = Model(Gaussian, **{name: UniformPrior(0.0, 10.0) for name in ("centre", "intensity", "sigma")})
    model.add_assertion(model.sigma > 9.0)
    assert all(model.random_instance(seed).sigma > 9.0 for seed in range(5))
    model.add_assertion(model.sigma < 8.0)
    with pytest.raises(ModelError, match="10000 draws"):
        model.random_instance(0)


def test_misuse_is_explained():
    a, b, c = Variable("a"), Variable("b"), Variable("c")
    with pytest.raises(ModelError, match=r"\(a < b\) < c"):
        _ = a < b < c
    with pytest.raises(ModelError, match="comparison"):
        Model(Gaussian).add_assertion("sigma > 5")
    with pytest.raises(ModelError, match="already False"):
        Model(Gaussian, sigma=1.0).add_assertion(1.0 > 5.0)
    with pytest.raises(ModelError):
        _ = a < "x"
    Model(Gaussian).add_assertion(True)
