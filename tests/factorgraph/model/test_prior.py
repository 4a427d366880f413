"""Priors: signatures, limits, identity, and what is refused."""

from __future__ import annotations

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
import scipy.stats as stats

from factorgraph.errors import PriorError, UnknownArgument
from factorgraph.model import family as families
from factorgraph.model import prior as priors
from factorgraph.model.model import Model
from factorgraph.model.scipy_priors import prior_from_scipy
from factorgraph.model.variable import Variable
from tests.factorgraph.model.profiles import Gaussian

ARGUMENTS = {
    "UniformPrior": {"lower_limit": 0.0, "upper_limit": 2.0},
    "LogUniformPrior": {"lower_limit": 1e-2, "upper_limit": 1e2},
    "GaussianPrior": {"mean": 50.0, "sigma": 30.0},
    "TruncatedGaussianPrior": {"mean": 1.0, "sigma": 2.0, "lower_limit": 0.0, "upper_limit": 3.0},
    "LogGaussianPrior": {"mean": 0.0, "sigma": 1.0},
    "HalfNormalPrior": {"scale": 2.0},
    "HalfCauchyPrior": {"scale": 2.0},
    "CauchyPrior": {"loc": 0.0, "scale": 1.0},
    "StudentTPrior": {"df": 3.0, "loc": 0.0, "scale": 1.0},
    "GammaPrior": {"shape": 2.0, "scale": 3.0},
    "InverseGammaPrior": {"shape": 2.0, "scale": 3.0},
    "BetaPrior": {"alpha": 2.0, "beta": 3.0},
    "ExponentialPrior": {"scale": 2.0},
    "FlatPrior": {"lower_limit": 0.0},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_prior_by_keyword_and_by_position(name):
    cls, arguments = getattr(priors, name), ARGUMENTS[name]
    prior = cls(**arguments, name="p")
    assert prior.parameters == cls(*arguments.values()).parameters
    assert len(prior.parameters) == len(prior.family.parameter_names)
    assert all(getattr(prior, key) == value for key, value in arguments.items())
    assert repr(prior).startswith(f"{name}(")
    assert "name='p'" in repr(prior)
    assert list(inspect.signature(cls).parameters)[-1] == "name"
    with pytest.raises(AttributeError):
        setattr(prior, next(iter(arguments)), 3.0)
    with pytest.raises(UnknownArgument, match="Did you mean"):
        cls(**{next(iter(arguments)) + "s": 1.0})


def test_no_prior_is_forgotten_in_this_file():
    defined = {n for n, c in vars(priors).items() if isinstance(c, type) and issubclass(c, priors.Prior)} - {"Prior"}
    assert defined == set(ARGUMENTS)


def test_a_gaussian_prior_with_a_limit_is_truncated():
    prior = priors.GaussianPrior(mean=10.0, sigma=5.0, lower_limit=0.0, upper_limit=np.inf)
    assert prior.family == families.TruncatedGaussian(True, False)
    assert prior.parameters == (10.0, 5.0, 0.0, math.inf)
    assert priors.GaussianPrior(10.0, 5.0).family == families.Gaussian()
    assert prior.median == pytest.approx(stats.truncnorm(-2.0, np.inf, 10.0, 5.0).median())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: priors.UniformPrior(2.0, 1.0), ["lower_limit = 2.0", "upper_limit = 1.0", "Swap"]),
        (lambda: priors.UniformPrior(1.0, 1.0), ["must be below"]),
        (lambda: priors.UniformPrior(math.nan, 1.0), ["nan"]),
        (lambda: priors.UniformPrior(0.0, math.inf), ["FlatPrior"]),
        (
            lambda: priors.LogUniformPrior(lower_limit=0.0, upper_limit=1e2),
            ["lower_limit", "0.0", "1e-6", "UniformPrior"],
        ),
        (lambda: priors.LogUniformPrior(2.0, 1.0), ["Swap"]),
        (lambda: priors.GaussianPrior(0.0, -1.0), ["sigma = -1.0", "greater than 0"]),
        (lambda: priors.GaussianPrior(0.0, 1.0, 3.0, 2.0), ["Swap"]),
        (lambda: priors.GaussianPrior(math.nan, 1.0), ["mean"]),
        (lambda: priors.GaussianPrior("a", 1.0), ["mean = 'a'", "number"]),
        (lambda: priors.GaussianPrior(Variable("m"), 1.0), ["HierarchicalFactor"]),
        (lambda: priors.GaussianPrior(np.zeros(3), 1.0), ["number"]),
        (lambda: priors.FlatPrior(1.0, 0.0), ["Swap"]),
        (lambda: priors.Prior(), ["UniformPrior"]),
    ],
)
def test_numbers_that_define_no_distribution_are_refused(make, words):
    with pytest.raises(PriorError) as error:
        make()
    assert all(word in str(error.value) for word in words), error.value


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(UnknownArgument, match="upper_limit"):
        priors.UniformPrior(0.0)
    with pytest.raises(UnknownArgument, match="3 positional"):
        priors.UniformPrior(0.0, 1.0, 2.0)
    with pytest.raises(UnknownArgument, match="twice|by position and by keyword"):
        priors.UniformPrior(0.0, 1.0, lower_limit=0.0)


def test_identity_is_the_object():
    one, two = priors.UniformPrior(0.0, 1.0), priors.UniformPrior(0.0, 1.0)
    assert one != two
    assert len({one, two, one}) == 2
    assert one.token != two.token
    assert pickle.loads(pickle.dumps(one)).token == copy.deepcopy(one).token == one.token
    fresh = one.renewed()
    assert fresh.parameters == one.parameters
    assert fresh.token != one.token


def test_what_a_prior_can_do():
    prior = priors.UniformPrior(1.0, 3.0)
    assert prior.value_for(0.25) == 1.5
    assert prior.median == 2.0
    assert prior.log_density(2.0) == pytest.approx(-math.log(2.0))
    assert prior.random(3) == prior.random(3) == 1.0 + 2.0 * np.random.default_rng(3).uniform()


def test_family_of_takes_unknowns():
    mean, scatter = priors.GaussianPrior(50.0, 10.0), priors.UniformPrior(0.0, 30.0)
    family, parameters = priors.GaussianPrior.family_of(mean=mean, sigma=2.0 * scatter)
    assert family == families.Gaussian()
    assert parameters[0] is mean
    family, parameters = priors.TruncatedGaussianPrior.family_of(mean=mean, sigma=scatter, lower_limit=0.0)
    assert family == families.TruncatedGaussian(True, False)
    assert parameters[3] == math.inf
    with pytest.raises(UnknownArgument, match="sigma"):
        priors.GaussianPrior.family_of(mean=mean)
    with pytest.raises(UnknownArgument, match="'scale'.*Allowed"):
        priors.GaussianPrior.family_of(mean=mean, scale=scatter)
    with pytest.raises(PriorError, match="sigma"):
        priors.GaussianPrior.family_of(mean=0.0, sigma=-1.0)
    with pytest.raises(PriorError, match="relation"):
        priors.GaussianPrior.family_of(mean="x", sigma=1.0)


@pytest.mark.parametrize(
    "frozen",
    [
        stats.norm(1.0, 2.0),
        stats.norm(loc=1.0, scale=2.0),
        stats.uniform(1.0, 2.0),
        stats.loguniform(0.1, 10.0),
        stats.truncnorm(-1.0, 2.0, loc=3.0, scale=2.0),
        stats.lognorm(0.5, scale=3.0),
        stats.halfnorm(scale=2.0),
        stats.halfcauchy(scale=2.0),
        stats.cauchy(1.0, 2.0),
        stats.t(3.0, 1.0, 2.0),
        stats.gamma(2.0, scale=3.0),
        stats.invgamma(2.0, scale=3.0),
        stats.beta(2.0, 3.0),
        stats.expon(scale=2.0),
    ],
    ids=lambda frozen: frozen.dist.name,
)
def test_frozen_scipy_distributions_are_priors(frozen):
    prior = prior_from_scipy(frozen)
    values = frozen.ppf([0.1, 0.5, 0.9])
    np.testing.assert_allclose(prior.log_density(values), frozen.logpdf(values), rtol=1e-10)
    assert isinstance(Model(Gaussian, centre=frozen).centre, type(prior))


def test_scipy_distributions_without_counterpart_are_refused():
    with pytest.raises(PriorError, match="weibull_min.*accepted.*norm"):
        prior_from_scipy(stats.weibull_min(2.0))
    with pytest.raises(PriorError, match="loc"):
        prior_from_scipy(stats.gamma(2.0, loc=1.0))
