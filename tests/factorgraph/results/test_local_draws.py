import numpy as np

from factorgraph.results import datatree, local_draws
from factorgraph.results.result import Result


def test_the_same_seed_gives_the_same_draws(solved):
    again = Result(solved.schools.graph, solved.result._solution)
    np.testing.assert_array_equal(again.posterior["theta"], solved.result.posterior["theta"])


def test_large_plates_keep_their_draws_out_of_the_posterior(solved, monkeypatch):
    for module in (local_draws, datatree):
        monkeypatch.setattr(module, "LARGE_PLATE", 7)
    result = Result(solved.schools.graph, solved.result._solution)
    assert list(result.posterior.data_vars) == ["parent.mean", "parent.sigma"]
    assert result.datatree["local"]["theta"].shape == (8, 8)
    stored = solved.result._solution.local[0].draws
    np.testing.assert_array_equal(result[3].draws[:, 0], stored[3, :, 0])
    assert np.isfinite(result[3].max_log_likelihood_instance.theta)
