"""The hashable shape of trees: what is equal, what is built, and how fast."""

from __future__ import annotations

import time
from collections import OrderedDict, namedtuple

import jax
import numpy as np
import pytest

from factorgraph.errors import ModelError
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior, UniformPrior
from factorgraph.model.structure import paths_of, structure_of
from factorgraph.model.variable import Variable
from tests.factorgraph.model.profiles import Gaussian, GaussianKurtosis, MassIsothermal

Pair = namedtuple("Pair", ["first", "second"])


def relational(x, sigma_m, sigma_c):
    model = Collection(gaussian=Model(Gaussian, intensity=UniformPrior(0.0, 1.0)))
    model.gaussian.sigma = sigma_m * x + sigma_c
    return model


def assert_like(one, two):
    assert structure_of(one)[0] == structure_of(two)[0]
    assert hash(structure_of(one)[0]) == hash(structure_of(two)[0])


def test_like_trees_have_equal_structures():
    shared = Variable(), Variable()
    assert_like(relational(1.0, *shared), relational(2.5, *shared))
    assert_like(relational(1.0, *shared), relational(2, Variable(), Variable()))
    assert_like(Model(Gaussian, sigma=1.0), Model(Gaussian, sigma=2.0))
    assert_like({"data": np.zeros(3)}, {"data": np.ones(3)})
    assert_like(Model(MassIsothermal), Model(MassIsothermal).copy())


A, B = Variable("a"), Variable("b")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (Model(Gaussian), Model(GaussianKurtosis, kurtosis=1.0)),
        (Model(Gaussian), Model(Gaussian, sigma=1.0)),
        ([A, A], [A, B]),
        ([A, B], (A, B)),
        ({"x": A}, {"y": A}),
        (A + B, A - B),
        (A + B, B + B),
        (A**2, A**3),
        ([1], [2]),
        ([1], [True]),
        ([1], [1.0]),
        (["x"], ["y"]),
        ([np.zeros(3)], [np.zeros(4)]),
        ([object()], [object()]),
        (Collection(a=A), Collection(b=A)),
        (Model(Gaussian, extra=Gaussian), Model(Gaussian, other=Gaussian)),
    ],
)
def test_unlike_trees_differ(one, two):
    assert structure_of(one)[0] != structure_of(two)[0]


def test_assertions_belong_to_the_structure():
    def with_limit(symbol_is_less, limit):
        model = Model(Gaussian)
        model.add_assertion(model.sigma < limit if symbol_is_less else model.sigma > limit)
        return model

    assert_like(with_limit(True, 1.0), with_limit(True, 2))
    assert structure_of(with_limit(True, 1.0))[0] != structure_of(with_limit(False, 1.0))[0]
    assert structure_of(with_limit(True, 1.0))[0] != structure_of(Model(Gaussian))[0]


def test_variables_come_once_and_in_order_of_first_appearance():
    model = Model(Gaussian)
    tree = {"z": [B, model], "a": A * B, "m": model}
    structure, variables, constants = structure_of(tree)
    assert variables == (B, *model.variables, A)
    assert structure.num_variables == 5
    assert constants == ()
    assert paths_of(tree)[A] == ("a", "a")
    assert paths_of(tree)[model.sigma] == ("z", "1", "sigma")


def test_build_gives_back_the_kind_of_tree_it_got():
    tree = {
        "mean": A + 2.0 * B,
        "sigma": 3.0,
        "list": [A, (1, "x", None)],
        "pair": Pair(A, 2.0),
        "ordered": OrderedDict(k=B),
        "array": np.arange(3.0),
        "call": np.exp,
    }
    structure, variables, constants = structure_of(tree)
    built = structure.build([10.0, 20.0], constants)
    assert variables == (A, B)
    assert type(built) is dict
    assert built["mean"] == 50.0
    assert built["list"] == [10.0, (1, "x", None)]
    assert built["pair"] == Pair(10.0, 2.0)
    assert built["ordered"] == OrderedDict(k=20.0)
    assert type(built["ordered"]) is OrderedDict
    assert built["array"].tolist() == [0.0, 1.0, 2.0]
    assert built["call"] is np.exp
    assert structure_of(A)[0].build([4.0], ()) == 4.0
    assert structure_of(A * 3)[0].build([4.0], structure_of(A * 3)[2]) == 12.0


@jax.tree_util.register_pytree_node_class
class Registered:
    def __init__(self, numbers, kind):
        self.numbers, self.kind = numbers, kind

    def tree_flatten(self):
        return (self.numbers,), self.kind

    @classmethod
    def tree_unflatten(cls, kind, children):
        return cls(*children, kind)


def test_objects_registered_with_jax_are_taken_apart():
    assert_like(Registered(np.zeros(2), "k"), Registered(np.ones(2), "k"))
    assert structure_of(Registered(np.zeros(2), "k"))[0] != structure_of(Registered(np.zeros(2), "other"))[0]
    structure, _, constants = structure_of(Registered(np.ones(2), "k"))
    assert structure.build((), constants).numbers.sum() == 2.0


def test_constants_are_traced():
    structure, _, constants = structure_of({"x": A * 2.0, "data": np.ones(3)})
    total = jax.jit(lambda v, c: (structure.build(v, c)["x"] * structure.build(v, c)["data"]).sum())
    assert total(np.asarray([3.0]), constants) == 18.0
    assert total(np.asarray([3.0]), (4.0, np.ones(3))) == 36.0


def test_a_set_of_unknowns_is_refused():
    with pytest.raises(ModelError, match="Use a list"):
        structure_of([{A, B}])


def test_ten_thousand_like_models_take_less_than_a_tenth_of_a_millisecond_each():
    sigma_m, sigma_c = GaussianPrior(0.0, 1.0), GaussianPrior(0.0, 1.0)
    models = [relational(float(x), sigma_m, sigma_c) for x in range(100)]
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        structures = {structure_of(model)[0] for model in models}
        best = min(best, (time.process_time() - start) / len(models))
    assert len(structures) == 1
    assert best < 100e-6
