"""Composition: classes, tuples, sharing, fixing, children, copies, instances, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Annotated, Optional

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from factorgraph.errors import ModelError, PriorError, UnknownArgument, UnknownAttribute
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior, LogUniformPrior, UniformPrior
from factorgraph.model.tuple_prior import TuplePrior
from factorgraph.model.variable import Variable
from tests.factorgraph.model.profiles import (
    Galaxy,
    Gaussian,
    GaussianKurtosis,
    LightDeVaucouleurs,
    LightExponential,
    MassIsothermal,
)


def uniform() -> UniformPrior:
    return UniformPrior(0.0, 1.0)


def test_constructor_arguments_are_the_parameters():
    model = Model(Gaussian)
    assert [variable.name for variable in model.variables] == ["centre", "intensity", "sigma"]
    assert all(type(variable) is Variable for variable in model.variables)
    assert list(model.paths.values()) == [("centre",), ("intensity",), ("sigma",)]
    instance = model.instance_from_vector([1.0, 2.0, 3.0])
    assert isinstance(instance, Gaussian)
    assert (instance.centre, instance.intensity, instance.sigma) == (1.0, 2.0, 3.0)
    assert [v.name for v in Model(GaussianKurtosis).variables] == ["centre", "intensity", "sigma", "kurtosis"]


def test_set_fix_and_link():
    gaussian_0, gaussian_1 = Model(Gaussian), Model(Gaussian)
    gaussian_0.centre = UniformPrior(lower_limit=0.0, upper_limit=100.0)
    gaussian_0.sigma = GaussianPrior(mean=10.0, sigma=5.0, lower_limit=0.0, upper_limit=np.inf)
    gaussian_0.sigma = 0.5
    assert gaussian_0.prior_count == 2
    gaussian_0.centre = gaussian_1.centre
    model = Collection(gaussian_0=gaussian_0, gaussian_1=gaussian_1)
    assert model.prior_count == 4
    instance = model.instance_from_vector([1.0, 2.0, 3.0, 4.0])
    assert instance.gaussian_0.centre == instance.gaussian_1.centre == 1.0
    assert instance.gaussian_0.sigma == 0.5
    assert (instance.gaussian_1.intensity, instance.gaussian_1.sigma) == (3.0, 4.0)


def test_tuples():
    model = Model(MassIsothermal)
    assert isinstance(model.centre, TuplePrior)
    assert model.centre[1] is model.centre_1 is model.centre.centre_1
    assert list(model.paths.values())[:2] == [("centre", "centre_0"), ("centre", "centre_1")]
    model.centre_0 = 0.5
    model.centre[1] = prior = uniform()
    model.centre.centre_1 = prior
    assert model.prior_count == 4
    assert model.instance_from_vector([1.0, 2.0, 3.0, 4.0]).centre == (0.5, 1.0)
    light = Model(LightDeVaucouleurs, centre=model.centre)  # shares the elements
    assert light.centre_1 is prior
    light.centre = (1.0, 2.0)
    assert model.centre_1 is prior
    assert light.instance_from_vector(np.zeros(4)).centre == (1.0, 2.0)
    with pytest.raises(ModelError, match="3 values for the 2"):
        light.centre = (1.0, 2.0, 3.0)
    with pytest.raises(UnknownAttribute, match="Did you mean"):
        light.centre.centre_2 = 3.0
    with pytest.raises(UnknownAttribute):
        _ = light.centre_2


class Offset:
    def __init__(self, centre=(0.0, 0.0), centre_offset=0.1, centre_0_error=0.2):
        self.centre, self.centre_offset, self.centre_0_error = centre, centre_offset, centre_0_error


def test_a_tuple_captures_only_its_own_elements():
    model = Model(Offset)
    model.centre_offset = 3.0
    assert model.prior_count == 3
    instance = model.instance_from_vector([0.1, 0.2, 0.3])
    assert (instance.centre, instance.centre_offset, instance.centre_0_error) == ((0.1, 0.2), 3.0, 0.3)


def test_children_that_the_constructor_does_not_know():
    lens = Model(Galaxy, redshift=0.5, bulge=LightDeVaucouleurs, mass=MassIsothermal)
    source = Model(Galaxy, redshift=1.0, disk=LightExponential)
    model = Collection(lens=lens, source=source)
    assert model.prior_count == 6 + 5 + 6
    instance = model.instance_from_vector(np.arange(17.0))
    assert isinstance(instance.lens, Galaxy)
    assert isinstance(instance.lens.bulge, LightDeVaucouleurs)
    assert instance.lens.bulge.centre == (0.0, 1.0)
    assert instance.source.disk.effective_radius == 16.0
    assert (instance.lens.redshift, instance.lens.light_profiles) == (0.5, None)
    lens.extra = Gaussian(1.0, 2.0, 3.0)
    lens.many = [Gaussian, Model(Gaussian)]
    assert lens.prior_count == 11 + 6
    built = lens.instance_from_vector(np.zeros(17))
    assert built.extra.sigma == 3.0
    assert [type(member) for member in built.many] == [Gaussian, Gaussian]


def test_lists_in_constructor_arguments():
    model = Model(Galaxy, redshift=0.5, light_profiles=[LightExponential, LightDeVaucouleurs])
    model.light_profiles[0].centre = (0.0, 0.0)
    instance = model.instance_from_vector(np.arange(10.0))
    assert [type(profile) for profile in instance.light_profiles] == [LightExponential, LightDeVaucouleurs]
    assert instance.light_profiles[0].centre == (0.0, 0.0)


class Declared:
    priors = {"a": UniformPrior(0.0, 2.0)}

    def __init__(
        self,
        a: float,
        b: Annotated[float, UniformPrior(4.0, 6.0)],
        c: GaussianPrior(7.0, 1.0),  # noqa: F821
        child: Gaussian,
        maybe: Optional[Gaussian] = None,  # noqa: UP045
        label: str = "x",
        flag: bool = True,
    ):
        self.a, self.b, self.c, self.child, self.maybe, self.label, self.flag = a, b, c, child, maybe, label, flag


class Inherits(Declared):
    priors = {"b": 3.0}


def test_declared_priors_defaults_and_annotations():
    model = Model(Declared)
    assert model.a.parameters == (0.0, 2.0)
    assert model.b.parameters == (4.0, 6.0)
    assert model.c.mean == 7.0
    assert model.a is not Declared.priors["a"]
    assert Model(Declared).a is not model.a
    assert isinstance(model.child, Model)
    assert (model.maybe, model.label, model.flag) == (None, "x", True)
    assert Model(Inherits).a.parameters == (0.0, 2.0)
    assert Model(Inherits).b == 3.0
    assert model.prior_count == 6


class Centred:
    def __init__(self, centre=UniformPrior(0.0, 3.0)):
        self.centre = centre


def test_a_prior_as_default_is_an_unknown_of_each_model():
    """Python evaluates a default once; two datasets would share the unknown."""
    first, second = Model(Centred), Model(Centred)
    assert first.centre.parameters == (0.0, 3.0)
    assert first.centre is not second.centre
    assert Model(Centred, centre=first.centre).centre is first.centre


class Wrong:
    priors = {"centr": UniformPrior(0.0, 1.0)}

    def __init__(self, centre=0.0):
        self.centre = centre


@dataclasses.dataclass
class Fields:
    x: float
    y: float = 1.0
    z: list = dataclasses.field(default_factory=list)


class OpenEnded:
    def __init__(self, first, /, *rest, width=1.0, **more):
        self.first, self.width, self.more = first, width, more


def test_dataclasses_positional_and_open_ended_constructors():
    assert Model(Fields).instance_from_vector([1.0, 2.0]) == Fields(1.0, 2.0)
    instance = Model(OpenEnded, depth=uniform()).instance_from_vector([1.0, 2.0, 3.0])
    assert (instance.first, instance.width, instance.more) == (1.0, 2.0, {"depth": 3.0})


@pytest.mark.parametrize(
    ("attempt", "error", "words"),
    [
        (lambda: Model(Gaussian, centr=uniform()), UnknownArgument, ["'centr'", "Did you mean 'centre'", "'sigma'"]),
        (lambda: Model(Gaussian, radius=1.0), UnknownArgument, ["radius", "Allowed"]),
        (lambda: Model(Gaussian, mode="fast"), UnknownArgument, ["mode"]),
        (lambda: setattr(Model(Gaussian), "sigm", 1.0), UnknownAttribute, ["Did you mean 'sigma'"]),
        (lambda: setattr(Model(Gaussian), "sigm", uniform()), UnknownAttribute, ["Did you mean 'sigma'"]),
        (lambda: Model(Gaussian).sigm, UnknownAttribute, ["Did you mean 'sigma'"]),
        (lambda: setattr(Model(Gaussian), "copy", Gaussian), ModelError, ["method"]),
        (lambda: Model(Gaussian()), ModelError, ["must be a class"]),
        (lambda: Model(Wrong), UnknownArgument, ["centr", "Did you mean 'centre'"]),
        (lambda: Model(Gaussian).instance_from_vector([1.0]), ModelError, ["(1,)", "(3,)", "centre, intensity, sigma"]),
        (lambda: Model(Gaussian, centre=uniform()).random_instance(1), PriorError, ["intensity, sigma"]),
    ],
)
def test_mistakes_raise_at_once(attempt, error, words):
    with pytest.raises(error) as raised:
        attempt()
    assert all(word in str(raised.value) for word in words), raised.value


def test_unknown_names_are_errors_of_the_python_kind_too():
    assert issubclass(UnknownArgument, TypeError)
    assert not hasattr(Model(Gaussian), "sigm")


def test_a_name_that_every_model_has_is_read_as_an_item():
    class Named:
        def __init__(self, info="x", label="y"):
            self.info, self.label = info, label

    model = Model(Named)
    assert model["info"] == "x"
    assert model.label == "y"
    assert model.instance_from_vector([]).info == "x"


def test_copy_shares_variables_and_nothing_else():
    inner = Model(Gaussian)
    model = Collection(gaussian=inner, again=inner, light=LightDeVaucouleurs, numbers=[1.0, 2.0])
    twin = model.copy()
    assert twin.variables == model.variables
    assert twin.gaussian is twin.again
    twin.gaussian.sigma = 1.0
    twin.light.centre_0 = 2.0
    twin.numbers.append(3.0)
    assert model.prior_count == 9
    assert twin.prior_count == 7
    assert len(model.numbers) == 2
    clone = copy.deepcopy(model)
    assert [v.token for v in clone.variables] == [v.token for v in model.variables]
    assert [v.token for v in pickle.loads(pickle.dumps(model)).variables] == [v.token for v in model.variables]


def test_whole_numbers_become_floats_where_the_class_expects_floats():
    model = Model(Gaussian, sigma=2)
    assert isinstance(model.sigma, float)


def test_instances_from_the_unit_cube_medians_and_at_random():
    model = Model(
        Gaussian,
        centre=UniformPrior(0.0, 100.0),
        intensity=LogUniformPrior(1e-2, 1e2),
        sigma=GaussianPrior(10.0, 5.0),
    )
    instance = model.instance_from_unit_vector([0.25, 0.75, 0.5])
    np.testing.assert_allclose([instance.centre, instance.intensity, instance.sigma], [25.0, 10.0, 10.0])
    median = model.instance_from_prior_medians()
    np.testing.assert_allclose([median.centre, median.intensity, median.sigma], [50.0, 1.0, 10.0])
    one, two = model.random_instance(7), model.random_instance(7)
    assert vars(one) == vars(two)
    assert vars(one) != vars(model.random_instance(8))


def test_instances_are_traceable_by_jax():
    model = Collection(gaussian=Model(Gaussian, centre=UniformPrior(0.0, 100.0), intensity=2.0))
    slope = GaussianPrior(0.0, 1.0)
    model.gaussian.sigma = 3.0 * slope + 1.0
    seen = []

    @jax.jit
    def total(vector):
        instance = model.instance_from_vector(vector).gaussian
        seen.append(type(instance))
        return instance.centre + instance.sigma * instance.intensity

    with jax.enable_x64(True):
        assert total(jnp.asarray([5.0, 2.0])) == 5.0 + 7.0 * 2.0
        assert jax.grad(total)(jnp.asarray([5.0, 2.0])).tolist() == [1.0, 6.0]
        units = jax.jit(lambda u: model.instance_from_unit_vector(u).gaussian.centre)(jnp.asarray([0.25, 0.5]))
        assert units == pytest.approx(25.0)
    assert seen[0] is Gaussian


class HasDefaultClass:
    def __init__(self, profile=Gaussian, weight=1.0):
        self.profile, self.weight = profile, weight


def test_a_class_as_default_becomes_its_model():
    instance = Model(HasDefaultClass).instance_from_vector([1.0, 2.0, 3.0, 4.0])
    assert (instance.profile.sigma, instance.weight) == (3.0, 4.0)
