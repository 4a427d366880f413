"""Arithmetic on unknowns, every operator on both sides, in NumPy and in JAX."""

from __future__ import annotations

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from factorgraph.errors import ModelError
from factorgraph.model import relation as relations
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior
from factorgraph.model.relation import Relation
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from tests.factorgraph.model.profiles import Gaussian

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]


def value_of(relation, *values):
    structure, _, constants = structure_of(relation)
    return structure.build(values, constants)


@pytest.mark.parametrize("apply", BINARY, ids=lambda f: f.__name__)
def test_operators_with_a_number_on_either_side(apply):
    a, b = Variable("a"), Variable("b")
    assert isinstance(apply(a, b), Relation)
    assert value_of(apply(a, b), 7.5, 2.0) == apply(7.5, 2.0)
    assert value_of(apply(a, 2.0), 7.5) == apply(7.5, 2.0)
    assert value_of(apply(7.5, a), 2.0) == apply(7.5, 2.0)
    assert value_of(apply(a, np.float64(2.0)), 7.5) == apply(7.5, 2.0)
    assert value_of(apply(np.float64(7.5), a), 2.0) == apply(7.5, 2.0)


def test_unary_operators_and_functions():
    a = Variable("a")
    assert value_of(-a, 2.0) == -2.0
    assert value_of(abs(a), -2.0) == 2.0
    for name in (
        "Log",
        "Log10",
        "Log2",
        "Log1p",
        "Exp",
        "Expm1",
        "Sqrt",
        "Square",
        "Sin",
        "Cos",
        "Tan",
        "Tanh",
        "Arctan",
    ):
        expected = getattr(np, name.lower())(0.7)
        assert value_of(getattr(relations, name)(a), 0.7) == expected
    assert value_of(relations.Arctan2(a, 2.0), 1.0) == np.arctan2(1.0, 2.0)
    assert value_of(relations.Maximum(a, 2), 1.0) == 2.0
    assert relations.Log(a, name="log_a").name == "log_a"


def test_relations_of_relations_and_their_gradient():
    a, b = Variable("a"), Variable("b")
    relation = relations.Log(a**2 + 3 * b) / 2
    structure, variables, constants = structure_of(relation)
    assert variables == (a, b)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(lambda v: structure.build(v, constants)))(jnp.asarray([-1.0, 2.0]))
    np.testing.assert_allclose(gradient, [-1.0 / 7.0, 1.5 / 7.0])


def test_a_parameter_may_be_a_relation():
    sigma_m, sigma_c = GaussianPrior(0.0, 1.0), GaussianPrior(0.0, 1.0)
    model = Model(Gaussian, centre=1.0, intensity=1.0)
    model.sigma = (sigma_m * 2.0) + sigma_c
    assert model.variables == (sigma_m, sigma_c)
    assert model.instance_from_vector([3.0, 4.0]).sigma == 10.0


def test_outside_its_domain_a_relation_is_nan_without_a_warning(recwarn):
    assert np.isnan(value_of(relations.Log(Variable("a")), -1.0))
    assert np.isinf(value_of(1.0 / Variable("a"), 0.0))
    assert not recwarn.list


def test_arrays_of_numbers_may_be_operands():
    a = Variable("a")
    np.testing.assert_array_equal(value_of(np.arange(3.0) * a, 2.0), [0.0, 2.0, 4.0])


def test_a_sum_of_thousands_of_terms():
    variables = [Variable() for _ in range(3000)]
    assert value_of(sum(variables), *np.ones(3000)) == 3000.0


def test_what_is_no_number_is_refused():
    with pytest.raises(ModelError, match="'x'"):
        _ = Variable("a") + "x"
    with pytest.raises(ModelError):
        _ = Variable("a") * True
    with pytest.raises(ModelError, match="fg.Log"):
        float(Variable("a"))
