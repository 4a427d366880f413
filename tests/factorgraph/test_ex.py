"""The objects of the documentation's example, and the reader of its data."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats

from factorgraph import ex, util
from factorgraph.errors import FactorGraphError
from factorgraph.model.collection import Collection
from factorgraph.model.model import Model

XVALUES = np.arange(100)


def test_the_profile_is_a_scaled_normal_density():
    gaussian = ex.Gaussian(centre=50.0, normalization=25.0, sigma=10.0)
    expected = 25.0 * stats.norm.pdf(XVALUES, 50.0, 10.0)
    np.testing.assert_allclose(gaussian.model_data_from(xvalues=XVALUES), expected)
    np.testing.assert_allclose(gaussian(range(100)), expected)


def test_the_likelihood_is_that_of_independent_normal_noise_and_is_traceable():
    generator = np.random.default_rng(1)
    data, noise_map = generator.normal(size=100), generator.uniform(0.5, 2.0, size=100)
    analysis = ex.Analysis(data=data, noise_map=noise_map)
    one, two = ex.Gaussian(50.0, 25.0, 10.0), ex.Gaussian(20.0, 5.0, 3.0)
    expected = stats.norm.logpdf(data, one(XVALUES), noise_map).sum()
    assert analysis.log_likelihood_function(one) == pytest.approx(expected)
    both = Collection(Model(ex.Gaussian), Model(ex.Gaussian))
    vector = np.asarray([50.0, 25.0, 10.0, 20.0, 5.0, 3.0])
    expected = stats.norm.logpdf(data, one(XVALUES) + two(XVALUES), noise_map).sum()

    def log_likelihood(vector):
        return analysis.log_likelihood_function(both.instance_from_vector(vector))

    assert log_likelihood(vector) == pytest.approx(expected)
    with jax.enable_x64(True):
        assert float(jax.jit(log_likelihood)(jnp.asarray(vector))) == pytest.approx(expected)


def test_a_model_of_the_profile_has_its_declared_priors():
    model = Model(ex.Gaussian)
    assert [type(variable).__name__ for variable in model.variables] == [
        "UniformPrior",
        "LogUniformPrior",
        "UniformPrior",
    ]


def test_plot(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    ex.plot_profile_1d(xvalues=range(3), profile_1d=np.ones(3), errors=np.ones(3), file_path=tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 0


def test_arrays_from_json(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([1, 2.5]))
    array = util.numpy_array_from_json(file_path=path)
    assert array.dtype == float
    assert array.tolist() == [1.0, 2.5]
    for content in ({"a": 1}, [[1], [1, 2]], ["x"]):
        path.write_text(json.dumps(content))
        with pytest.raises(FactorGraphError, match="data.json"):
            util.numpy_array_from_json(path)
