"""The rivals of the benchmark sample the density that we solve, and a row of the table is what it says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.benchmarks.hierarchy import bounded, from_cube, log_density, log_likelihood, unconstrained
from tests.benchmarks.page import cells, page
from tests.benchmarks.picture import draw
from tests.benchmarks.row import row

X = np.arange(20.0)
N = 2
EXACT = {"mean": {"mu": 50.0, "tau": 10.0}, "scale": {"mu": 2.0, "tau": 1.0}, "log_evidence": -100.0}


def truncated(mean, scale, lower, upper):
    return stats.truncnorm((lower - mean) / scale, (upper - mean) / scale, mean, scale)


PRIORS = {
    "mu": truncated(50.0, 10.0, 0.0, 100.0),
    "tau": truncated(10.0, 5.0, 0.0, 100.0),
    "normalization": truncated(25.0, 10.0, 0.0, np.inf),
    "sigma": truncated(10.0, 5.0, 0.0, np.inf),
}


def points():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(3):
        values = {"mu": PRIORS["mu"].rvs(random_state=rng), "tau": PRIORS["tau"].rvs(random_state=rng)}
        values["centre"] = rng.normal(values["mu"], values["tau"], N)
        values |= {name: PRIORS[name].rvs(N, random_state=rng) for name in ("normalization", "sigma")}
        found.append(values)
    return found


def log_joint(values, y):
    """By scipy: priors, the parent, and independent pixels."""
    total = sum(np.sum(prior.logpdf(values[name])) for name, prior in PRIORS.items())
    total += np.sum(stats.norm.logpdf(values["centre"], values["mu"], values["tau"]))
    profile = values["normalization"][:, None] * stats.norm.pdf(X, values["centre"][:, None], values["sigma"][:, None])
    return total + np.sum(stats.norm.logpdf(y, profile)), np.sum(stats.norm.logpdf(y, profile))


def flat(values):
    return np.concatenate([[values["mu"], values["tau"]], values["centre"], values["normalization"], values["sigma"]])


def test_chains_see_the_same_density_up_to_a_constant():
    y = np.random.default_rng(4).normal(size=(N, len(X)))
    differences = []
    with jax.enable_x64(True):
        for values in points():
            at = unconstrained(values)
            np.testing.assert_allclose(bounded(at["mu"]), values["mu"])
            jacobian = sum(np.log(values[k] * (1.0 - values[k] / 100.0)) for k in ("mu", "tau"))
            jacobian += sum(np.sum(np.log(values[k])) for k in ("normalization", "sigma"))
            differences.append(
                float(log_density(at, jnp.asarray(X), jnp.asarray(y))) - log_joint(values, y)[0] - jacobian
            )
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)


def test_the_nested_sampler_sees_the_same_likelihood_and_priors():
    y = np.random.default_rng(4).normal(size=(N, len(X)))
    for values in points():
        assert log_likelihood(flat(values), X, y) == pytest.approx(log_joint(values, y)[1], abs=1e-8)
        cube = flat(
            {name: prior.cdf(values[name]) for name, prior in PRIORS.items()}
            | {"centre": stats.norm.cdf(values["centre"], values["mu"], values["tau"])}
        )
        np.testing.assert_allclose(from_cube(cube), flat(values), rtol=1e-9)


def chain(effective):
    return {
        "mean": {"mu": 51.0, "tau": 9.0},
        "scale": {"mu": 2.0, "tau": 1.1},
        "effective": {"mu": 2.0 * effective, "tau": effective},
        "seconds": {"warmup": 3.0, "sampling": 4.0},
        "gradients": {"warmup": 100, "sampling": 200},
        "first": 9.0,
        "compile": 2.0,
        "peak_memory": 1e9,
    }


def test_a_chain_pays_its_warm_up_once_and_its_draws_by_their_worth():
    found = row(chain(250.0), EXACT)
    assert found["seconds"] == 3.0 + 4.0 * 4.0
    assert found["raw_seconds"] == 7.0
    assert found["gradient_equivalents"] == 100 + 4 * 200
    assert found["shift"] == {"mu": 0.5, "tau": -1.0}
    assert found["spread"]["tau"] == pytest.approx(1.1)
    assert found["log_evidence_error"] is None


def test_the_page_and_the_picture_have_every_row_also_of_what_did_not_end(tmp_path):
    machine = "x86_64, 2 cores, load 1.0, Python 3.11.7"
    ended = {"method": "numpyro", "n": 10, "machine": machine, **row(chain(250.0), EXACT)}
    late = {"method": "dynesty", "n": 10, "machine": machine, "unfinished": 200.0}
    assert cells(ended)[2:4] == ("19.00", "7.00")
    assert cells(late)[2] == "unfinished at 200"
    text = page([ended, late])
    assert "| NumPyro NUTS | 10 | 19.00 |" in text
    assert "Not run here: factorgraph EP" in text
    draw([ended, late], tmp_path / "speed.svg")
    assert (tmp_path / "speed.svg").stat().st_size > 0
