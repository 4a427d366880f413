"""The table of datasets: what it counts is what happened, and poor weights are in it and in the summary."""

from __future__ import annotations

from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import factorgraph as fg

COLUMNS = {
    "status",
    "method",
    "is_escalated",
    "num_calls",
    "num_effective",
    "k_hat",
    "log_factor_error",
    "shift",
}


class Place:
    def __init__(self, x=0.0):
        self.x = x


class HeavyTailed(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -2.0 * jnp.log1p((self.y - instance.x) ** 2)


CALLS: Counter[float] = Counter()


class Counted(fg.Analysis):
    """Plain Python, so that every call is seen."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        CALLS[self.y] += 1
        return -2.0 * float(np.log1p((self.y - float(instance.x)) ** 2))


def graph_of(analysis, values):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(2.0, 2.0))
    factors = []
    for k, value in enumerate(values):
        model = fg.Model(Place)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, analysis(value), name=f"d{k}"))
    return fg.FactorGraphModel(*factors, parent)


@pytest.fixture(scope="module")
def traced():
    return graph_of(HeavyTailed, [0.0, 1.0, 2.5, 40.0]).optimise(seed=0)


def test_one_row_a_dataset(traced):
    table = traced.diagnostics
    assert set(table.data_vars) == COLUMNS
    assert table.dataset.values.tolist() == ["d0", "d1", "d2", "d3"]
    assert table.status.values.tolist() == [traced.status[name].name for name in table.dataset.values]
    assert set(table.method.values) == {"population"}
    assert np.all(table.num_calls.values >= 512)
    assert np.all((table.num_effective.values > 10.0) & (table.num_effective.values <= 256.0))
    assert np.all(table.k_hat.values < 0.7)
    assert "k-hat of the integral" not in traced.info
    assert float((table.log_factor_error**2).sum()) == pytest.approx(traced.log_evidence_error**2, abs=5e-3)


def test_it_is_in_the_file(traced, tmp_path):
    path = traced.to_netcdf(tmp_path / "result.nc")
    xarray.testing.assert_identical(
        xarray.open_datatree(path, engine="h5netcdf")["diagnostics"].to_dataset().load(), traced.diagnostics
    )


def test_what_is_exact_has_no_weights():
    class Measured(HeavyTailed):
        def log_likelihood_function(self, instance):
            return -0.5 * (self.y - instance.x) ** 2

    table = graph_of(Measured, [0.0, 1.0, 3.0]).optimise(seed=0).diagnostics
    assert set(table.method.values) == {"analytic"}
    assert np.all(np.isnan(table.k_hat.values))
    assert np.all(np.isnan(table.num_effective.values))
    assert np.all(table.log_factor_error.values == 0.0)


def test_every_plain_call_is_counted():
    values = [0.25, 1.25]
    graph = graph_of(Counted, values)
    assert graph.lanes[0].name == "host"  # the probes that find this out are no part of the solution
    CALLS.clear()
    table = graph.optimise(seed=0).diagnostics
    assert table.num_calls.values.tolist() == [CALLS[value] for value in values]


def test_draws_that_do_not_reach_the_population_are_named():
    random = np.random.default_rng(0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=0.5)
    factors = []
    for k in range(12):
        chain = {"x": random.normal(0.0 if k else 6.0, 1.0, 800)}
        factor = fg.SamplesFactor(chain, prior={"x": fg.GaussianPrior(0.0, 50.0)}, name=f"chain{k}")
        parent.add_drawn_variable(factor.prior_model.x)
        factors.append(factor)
    with pytest.warns(UserWarning, match="chain0"):
        result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    k_hat = result.diagnostics.k_hat
    assert float(k_hat.sel(dataset="chain0")) > 0.7
    assert np.all(k_hat.values[1:] < 0.7)
    assert "k-hat of the integral above 0.7: chain0" in result.info
