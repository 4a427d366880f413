"""Draws that exist already as factors: the population posterior of the data themselves, with an error that covers it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import factorgraph as fg
from factorgraph.errors import GraphError, LikelihoodError
from tests.factorgraph.test_scatter import Measurement, Object

PRIOR = (2.0, 5.0)  # mean and sd of the prior that the draws are made with


def survey(num, seed=3):
    random = np.random.default_rng(seed)
    errors = random.uniform(0.5, 2.0, num)
    return random.normal(4.0, 1.5, num) + errors * random.standard_normal(num), errors


def chains(y, errors, num_draws, seed=0):
    """Posterior draws (N, S) of each object, and the log evidence (N,) of each fit."""
    precision = 1.0 / errors**2 + 1.0 / PRIOR[1] ** 2
    mean = (y / errors**2 + PRIOR[0] / PRIOR[1] ** 2) / precision
    noise = np.random.default_rng(seed).standard_normal((len(y), num_draws))
    return mean[:, None] + noise / np.sqrt(precision)[:, None], stats.norm.logpdf(
        y, PRIOR[0], np.hypot(errors, PRIOR[1])
    )


def graph_of(draws, log_evidences, widest=10.0):
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 10.0), sigma=fg.UniformPrior(0.0, widest)
    )
    factors = []
    for chain, log_evidence in zip(draws, log_evidences, strict=True):
        factor = fg.SamplesFactor({"x": chain}, prior={"x": fg.GaussianPrior(*PRIOR)}, log_evidence=log_evidence)
        parent.add_drawn_variable(factor.prior_model.x)
        factors.append(factor)
    return fg.FactorGraphModel(*factors, parent), parent


def exact(y, errors):
    """Means and sds of the population's mean and scatter, and log evidence, by quadrature."""
    means, sigmas = np.linspace(0.0, 8.0, 401), (np.arange(400) + 0.5) * 5.0 / 400
    mean, sigma = np.meshgrid(means, sigmas, indexing="ij")
    log_joint = stats.norm.logpdf(mean, 0.0, 10.0) - np.log(10.0)
    for one, error in zip(y, errors, strict=True):
        log_joint = log_joint + stats.norm.logpdf(one, mean, np.hypot(error, sigma))
    weight = np.exp(log_joint - logsumexp(log_joint))
    found = [float(np.sum(weight * a)) for a in (mean, sigma)]
    scales = [float(np.sqrt(np.sum(weight * (a - m) ** 2))) for a, m in zip((mean, sigma), found, strict=True)]
    return found, scales, logsumexp(log_joint) + np.log((means[1] - means[0]) * (sigmas[1] - sigmas[0]))


@pytest.mark.parametrize("num", [30, 300])
def test_population(num):
    """Within the stated error of the integrals, which are as good as a thousand draws."""
    y, errors = survey(num)
    graph, parent = graph_of(*chains(y, errors, 1000))
    result = graph.optimise(seed=0)
    means, scales, log_evidence = exact(y, errors)
    for i, variable in enumerate((parent.mean, parent.sigma)):
        stated = result._solution.inner_error[i]
        shift = (result.mean_field.mean[variable] - means[i]) / scales[i]
        assert stated < 0.25
        assert abs(shift) < 0.1 + 2.0 * stated
        assert result.mean_field.scale[variable] == pytest.approx(scales[i], rel=0.1)
    assert abs(result.log_evidence - log_evidence) < 0.1 + 3.0 * result.log_evidence_error
    assert result.log_evidence_error < 1.0
    child = result[0]
    (x,) = child.local_variables
    precision = 1.0 / errors[0] ** 2 + 1.0 / means[1] ** 2
    shrunken = (y[0] / errors[0] ** 2 + means[0] / means[1] ** 2) / precision
    assert abs(child.mean_field.mean[x] - shrunken) < 0.2 / np.sqrt(precision)


def test_every_form_of_the_samples(tmp_path):
    """The same draws as a mapping, an array, a DataTree, a CSV file and the result of a search."""
    (chain,), _ = chains(*survey(1), 200)
    np.savetxt(
        tmp_path / "chain.csv", np.stack([np.arange(200), chain], axis=1), delimiter=",", header="step,x", comments=""
    )
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"x": (("chain", "draw"), chain.reshape(4, 50))})})
    prior = {"x": fg.GaussianPrior(*PRIOR)}
    forms = [{"x": chain}, chain, chain[:, None], tree, tmp_path / "chain.csv"]
    thetas = [fg.SamplesFactor(form, prior=prior).analysis.theta[:200, 0] for form in forms]
    for theta in thetas:
        np.testing.assert_allclose(theta, chain)
    model = fg.Model(Object, x=fg.GaussianPrior(*PRIOR))
    found = fg.Laplace().fit(model=model, analysis=Measurement(1.0, 0.5))
    factor = fg.SamplesFactor(found, prior=model, log_evidence=found.log_evidence)
    weights, theta = factor.analysis.weight, factor.analysis.theta[:, 0]
    assert np.sum(weights) == pytest.approx(1.0)
    assert weights @ theta == pytest.approx(found.mean_field.mean[model.x], abs=0.02)


def test_too_few_draws_where_the_parent_is():
    """An object whose prior was so wide that a handful of its draws lie near the population: its k-hat says so."""
    y, errors = survey(40)
    draws, log_evidences = chains(y, errors, 1000)
    draws[7] = 30.0 + 7.0 * np.random.default_rng(1).standard_normal(1000)
    graph, _ = graph_of(draws, log_evidences, widest=2.0)
    with pytest.warns(UserWarning, match="dataset_7"):
        graph.optimise(seed=0)


def test_misuse():
    chain = np.random.default_rng(0).normal(size=100)
    prior = {"x": fg.GaussianPrior(0.0, 1.0)}
    with pytest.raises(GraphError, match="no draws of 'x'.*'X'"):
        fg.SamplesFactor({"X": chain}, prior=prior)
    with pytest.raises(GraphError, match="too few"):
        fg.SamplesFactor({"x": chain[:5]}, prior=prior)
    with pytest.raises(GraphError, match="nan or infinite"):
        fg.SamplesFactor({"x": np.append(chain, np.nan)}, prior=prior)
    with pytest.raises(GraphError, match="vanishes"):
        fg.SamplesFactor({"x": chain}, prior={"x": fg.UniformPrior(0.0, 1.0)})
    with pytest.raises(GraphError, match="weights"):
        fg.SamplesFactor({"x": chain}, prior=prior, weights=-np.ones(100))
    with pytest.raises(GraphError, match="shape"):
        fg.SamplesFactor(chain.reshape(50, 2), prior=prior)
    shared = fg.GaussianPrior(0.0, 1.0)
    factors = [fg.SamplesFactor({"x": chain}, prior={"x": shared}) for _ in range(2)]
    with pytest.raises(GraphError, match="reads a shared variable"):
        fg.FactorGraphModel(*factors).optimise(seed=0)
    with pytest.raises(LikelihoodError, match="optimise"):
        factors[0].analysis.log_likelihood_function(None)
