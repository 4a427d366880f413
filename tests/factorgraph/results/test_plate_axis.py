"""Datasets of two lengths make two plates on one axis; one of another kind, without private variables, has its own."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from factorgraph.analysis import Analysis
from factorgraph.factor_graph_model import FactorGraphModel
from factorgraph.graph.factors import AnalysisFactor
from factorgraph.model.model import Model
from factorgraph.model.prior import GaussianPrior
from factorgraph.results.plate_axis import unused_name

LENGTHS = (2, 3, 2)
PRIOR_SD, LOCAL_SD, NOISE = 10.0, 3.0, 1.0


class Level:
    def __init__(self, base=0.0, offset=0.0):
        self.base = base
        self.offset = offset


class Base:
    def __init__(self, base=0.0):
        self.base = base


class Readings(Analysis):
    def __init__(self, data):
        self.data = data

    def log_likelihood_function(self, instance):
        residual = self.data - instance.base - getattr(instance, "offset", 0.0)
        return jnp.sum(-0.5 * (residual / NOISE) ** 2 - jnp.log(NOISE) - 0.5 * jnp.log(2.0 * jnp.pi))


class Calibration(Readings):
    pass


@pytest.fixture(scope="module")
def levels():
    """Models, data and result; everything is Gaussian."""
    base = GaussianPrior(0.0, PRIOR_SD, name="level/base")
    models = [Model(Level, base=base, offset=GaussianPrior(0.0, LOCAL_SD)) for _ in LENGTHS]
    generator = np.random.default_rng(5)
    data = [generator.normal(4.0, 2.0, length) for length in (*LENGTHS, 4)]
    factors = [AnalysisFactor(model, Readings(d)) for model, d in zip(models, data)]
    factors.append(AnalysisFactor(Model(Base, base=base), Calibration(data[-1]), name="calibration"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return base, models, data, FactorGraphModel(*factors).optimise()


@pytest.fixture(scope="module")
def closed_form(levels):
    """Posterior mean and covariance of (base, offsets)."""
    data = levels[2]
    design = np.zeros((sum(map(len, data)), 1 + len(LENGTHS)))
    design[:, 0] = 1.0
    start = 0
    for number, length in enumerate(LENGTHS):
        design[start : start + length, 1 + number] = 1.0
        start += length
    precision = design.T @ design / NOISE**2 + np.diag([PRIOR_SD**-2] + [LOCAL_SD**-2] * len(LENGTHS))
    covariance = np.linalg.inv(precision)
    return covariance @ design.T @ np.concatenate(data) / NOISE**2, covariance


def test_axes_hold_the_datasets_in_the_users_order(levels):
    tree = levels[3].datatree
    assert tree["posterior"]["offset"].dims == ("chain", "draw", "dataset")
    assert list(tree["posterior"]["dataset"].values) == ["dataset_0", "dataset_1", "dataset_2"]
    assert list(tree["ep"]["dataset_1"].values) == ["calibration"]
    assert tree["leave_one_out"]["log_density_1"].dims == ("dataset_1",)
    assert "level_base" in tree["posterior"]  # a slash is a path in a file


def test_values_stand_beside_their_datasets(levels, closed_form):
    base, models, _, result = levels
    mean, covariance = closed_form
    local = result.datatree["local"]["offset"]
    np.testing.assert_allclose(local.sel(statistic="mean"), mean[1:], rtol=1e-8)
    np.testing.assert_allclose(local.sel(statistic="sd"), np.sqrt(np.diag(covariance)[1:]), rtol=1e-8)
    assert result.mean_field.mean[base] == pytest.approx(mean[0], rel=1e-8)
    assert [result.mean_field.mean[m.offset] for m in models] == pytest.approx(list(mean[1:]), rel=1e-8)
    for name, value in result.leave_one_out.items():
        axis = "dataset_1" if name == "calibration" else "dataset"
        table = result.datatree["leave_one_out"]["log_density_1" if axis == "dataset_1" else "log_density"]
        assert float(table.sel({axis: name})) == value


def test_draws_are_joint_over_plates(levels, closed_form):
    _, _, _, result = levels
    covariance = closed_form[1]
    posterior = result.posterior
    table = np.column_stack([posterior["level_base"].values[0], posterior["offset"].values[0]])
    scale = np.sqrt(np.diag(covariance))
    found, expected = np.cov(table.T) / np.outer(scale, scale), covariance / np.outer(scale, scale)
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(2 / len(table)))


def test_exact_answer_is_said_to_be_exact(levels):
    result = levels[3]
    assert result.is_exact
    assert not result.is_corrected
    assert np.isnan(result.k_hat)
    assert "exact, every factor is Gaussian" in result.info
    assert "3 datasets of Readings in 2 plates\n    private variables: offset" in result.info
    assert "1 dataset of Calibration\n    private variables: none" in result.info
    assert "sample_stats" not in result.datatree.children


def test_children_have_shared_and_private_variables(levels):
    base, models, _, result = levels
    assert result[1].mean_field.variables == (base, models[1].offset)
    assert result[1].local_variables == (models[1].offset,)
    assert result["calibration"].local_variables == ()
    assert result["calibration"].instance.base == result.mean_field.mean[base]


def test_unused_names():
    taken = {"a", "a_1"}
    assert unused_name("a", taken) == "a_2"
    assert unused_name("km/s", taken) == "km_s"
    assert taken == {"a", "a_1", "a_2", "km_s"}
