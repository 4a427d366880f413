"""Collections keep everything, and their instances are read by name, position and in order."""

from __future__ import annotations

import numpy as np
import pytest

from factorgraph.errors import ModelError, UnknownAttribute
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.prior import UniformPrior
from tests.factorgraph.model.profiles import Gaussian, GaussianKurtosis


def test_nothing_is_dropped():
    m = UniformPrior(0.0, 1.0)
    model = Collection(Gaussian, GaussianKurtosis, m=m, label="x", nothing=None)
    assert model.keys() == ["0", "1", "m", "label", "nothing"]
    assert model.m is m
    assert model.prior_count == 3 + 4 + 1
    instance = model.instance_from_vector(np.arange(8.0))
    assert instance.m == 7.0
    assert (instance.label, instance.nothing) == ("x", None)


@pytest.mark.parametrize(
    "model",
    [Collection([Gaussian, Gaussian]), Collection(Gaussian, Gaussian), Collection({"0": Gaussian, "1": Gaussian})],
)
def test_from_a_list_a_dict_or_arguments(model):
    assert len(model) == 2
    assert [type(member) for member in model] == [Model, Model]
    instance = model.instance_from_vector(np.arange(6.0))
    assert [member.centre for member in instance] == [0.0, 3.0]
    assert instance[1].sigma == instance["1"].sigma == 5.0
    assert len(instance) == 2


def test_nested_collections():
    model = Collection(a={"b": Gaussian, "c": [Gaussian, 2.0]}, d=Collection(Gaussian))
    assert model.paths[model.a.c[0].centre] == ("a", "c", "0", "centre")
    instance = model.instance_from_vector(np.arange(9.0))
    assert instance.a.c[0].sigma == 5.0
    assert instance.a.c[1] == 2.0
    assert instance.d[0].centre == 6.0


def test_members_can_be_set_and_appended():
    model = Collection(Gaussian)
    model.append(Gaussian)
    model.extra = 3.0
    model[0] = GaussianKurtosis
    assert model.keys() == ["0", "1", "extra"]
    assert model[0].cls is GaussianKurtosis
    assert model["extra"] == 3.0
    assert "extra" in model
    assert model[0] in model


def test_mistakes_raise():
    with pytest.raises(UnknownAttribute, match="Did you mean 'gaussian'"):
        _ = Collection(gaussian=Gaussian).gausian
    with pytest.raises(ModelError, match="method"):
        Collection(info=Gaussian)
    with pytest.raises(ModelError, match="twice"):
        Collection({"a": Gaussian}, a=Gaussian)
