import logging
import os
import warnings

import numpy as np
import pytest
import xarray

from tests.factorgraph.results.schools import NAMES


def test_groups_dims_and_coordinates(solved):
    tree = solved.result.datatree
    assert list(tree.children) == ["posterior", "sample_stats", "local", "leave_one_out", "diagnostics", "ep"]
    posterior = solved.result.posterior
    assert posterior["parent.mean"].dims == ("chain", "draw")
    assert posterior["theta"].dims == ("chain", "draw", "dataset")
    assert posterior["theta"].attrs == {"joint": 1}
    assert list(posterior["dataset"].values) == list(NAMES)
    np.testing.assert_array_equal(posterior["parent.sigma"].values[0], solved.result.draws[:, 1])
    history = tree["ep"]
    np.testing.assert_array_equal(history["log_evidence"], [info.log_evidence for info in solved.result.ep_history])
    assert float(tree["leave_one_out"]["log_density"].sel(dataset="A")) == solved.result.leave_one_out["A"]
    assert int(history["status"].sel(dataset="A")) == 0


def test_root_attributes(solved):
    attributes = solved.result.datatree.attrs
    assert attributes["inference_library"] == "factorgraph"
    assert {"created_at", "inference_library_version", "sampling_time", "seed"} <= set(attributes)
    assert attributes["log_evidence"] == solved.result.log_evidence


def test_local_group_has_moments_and_quantiles(solved):
    local = solved.result.datatree["local"]["theta"]
    for name, model in zip(NAMES, solved.schools.models):
        assert float(local.sel(statistic="mean", dataset=name)) == solved.result.mean_field.mean[model.theta]
        median = solved.result.mean_field.quantile(model.theta, 0.5)
        assert float(local.sel(statistic="50%", dataset=name)) == pytest.approx(median, rel=1e-12)


def test_draws_of_locals_follow_the_draws_of_their_parent(solved):
    """Given (mu, tau), theta is Gaussian with known moments, so its standardised draws have mean 0 and variance 1."""
    posterior = solved.result.posterior
    mu, tau = posterior["parent.mean"].values[0], posterior["parent.sigma"].values[0]
    for name, factor in zip(NAMES, solved.schools.graph.factors):
        precision = 1 / tau**2 + 1 / factor.analysis.error**2
        mean = (mu / tau**2 + factor.analysis.effect / factor.analysis.error**2) / precision
        white = (posterior["theta"].sel(dataset=name).values[0] - mean) * np.sqrt(precision)
        assert abs(white.mean()) < 4 / np.sqrt(len(white))
        assert white.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(white)))


def test_draws_of_different_datasets_are_independent_given_the_parent(solved):
    draws = solved.result.posterior["theta"].values[0]
    correlation = np.corrcoef(draws.T)
    np.testing.assert_allclose(correlation, solved.exact.correlation, atol=5 / np.sqrt(len(draws)))


def test_lp_is_the_log_joint_density_up_to_the_coordinates(solved):
    """The coordinate of mu is mu / 5; that of tau is softplus with scale 5: tau = 5 log(1 + e^t)."""
    tree = solved.result.datatree
    mu, tau = tree["posterior"]["parent.mean"].values[0], tree["posterior"]["parent.sigma"].values[0]
    log_joint = -0.5 * (mu / 5) ** 2 - 0.5 * np.log(2 * np.pi)
    log_joint += np.log(2 / (5 * np.pi)) - np.log1p((tau / 5) ** 2)
    log_joint += np.log(5) + np.log(-np.expm1(-tau / 5))  # d tau / d t = 5 (1 - exp(-tau / 5))
    for factor in solved.schools.graph.factors:
        variance = tau**2 + factor.analysis.error**2
        log_joint += -0.5 * (factor.analysis.effect - mu) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(tree["sample_stats"]["lp"].values[0], log_joint, atol=1e-8)


def test_file_is_read_back_whole(solved, tmp_path):
    path = solved.result.to_netcdf(tmp_path / "result.nc")
    assert os.listdir(tmp_path) == ["result.nc"]
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        xarray.testing.assert_identical(tree.load(), solved.result.datatree)


def test_a_failed_write_leaves_the_old_file(solved, tmp_path, monkeypatch):
    path = tmp_path / "result.nc"
    path.write_text("old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        solved.result.to_netcdf(path)
    assert os.listdir(tmp_path) == ["result.nc"]
    assert path.read_text() == "old"


def test_arviz_reads_it(solved, tmp_path):
    logging.disable(logging.WARNING)  # about a single chain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz")
        table = arviz.summary(solved.result.posterior.to_dataset(), kind="stats")
        groups = arviz.from_netcdf(solved.result.to_netcdf(tmp_path / "result.nc")).groups()
    logging.disable(logging.NOTSET)
    assert list(table.index) == ["parent.mean", "parent.sigma", *(f"theta[{name}]" for name in NAMES)]
    assert table.loc["parent.mean", "mean"] == pytest.approx(solved.result.draws[:, 0].mean(), abs=1e-3)
    assert {"posterior", "sample_stats", "ep"} <= set(groups)
