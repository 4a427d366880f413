"""Draws that exist already as factors: the population posterior of the data themselves, with an error that covers it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import factorgraph as fg
from factorgraph.errors import GraphError, LikelihoodError
from searches.status import Status
from tests.factorgraph.test_known_populations import exact_ladder, ladder
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


# --- B20: the ladder, amortised ---


def amortised(y, errors, reference, num_draws=200):
    """Every object by stratified draws of its posterior under N(reference), in random order."""
    precision = errors**-2.0 + reference[1] ** -2.0
    mean = (y * errors**-2.0 + reference[0] * reference[1] ** -2.0) / precision
    strata = stats.norm.ppf((np.arange(num_draws) + 0.5) / num_draws)
    draws = np.random.default_rng(0).permuted(np.tile(strata, (len(y), 1)), axis=1)
    log_evidence = stats.norm.logpdf(y, reference[0], np.hypot(errors, reference[1]))
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.LogGaussianPrior(float(np.log(10.0)), 1.0)
    )
    factors = []
    for chain, log_z in zip(mean[:, None] + draws / np.sqrt(precision)[:, None], log_evidence, strict=True):
        factor = fg.SamplesFactor({"x": chain}, prior={"x": fg.GaussianPrior(*reference)}, log_evidence=log_z)
        parent.add_drawn_variable(factor.prior_model.x)
        factors.append(factor)
    return fg.FactorGraphModel(*factors, parent).optimise(seed=0), (parent.mean, parent.sigma)


def kappa(y, errors):
    """The reference of the second pass: the population as the objects' own fits have it, 1.5 times as wide."""
    return y.mean(), 1.5 * np.sqrt(y.var() - np.mean(errors**2))


def compared(result, variables, known):
    """Shifts in exact sds, and ratios of sds."""
    scale = np.sqrt(known.variance)
    mean = np.array([result.mean_field.mean[variable] for variable in variables])
    return (mean - known.mean) / scale, np.array([result.mean_field.scale[variable] for variable in variables]) / scale


FLAT = (50.0, 1000.0)


@pytest.mark.parametrize("num", [100, 300])
@pytest.mark.parametrize("wide", [False, True], ids=["kappa", "flat"])
def test_amortised_ladder(num, wide):
    """B20: where measurements are sharper than the population is wide, either reference will do."""
    y, errors = ladder(num)
    result, variables = amortised(y, errors, FLAT if wide else kappa(y, errors))
    known = exact_ladder(y, errors)
    shift, ratio = compared(result, variables, known)
    assert np.max(np.abs(shift)) < 0.05
    assert np.max(np.abs(ratio - 1.0)) < 0.01
    assert abs(result.log_evidence - known.log_evidence) < 0.05 + result.log_evidence_error
    assert set(result.status.values()) == {Status.ok}
    assert result.converged


def noisy_ladder(num):
    """B17 with errors of 10 to 15: each measurement is worse than the population is wide."""
    random = np.random.default_rng(1)
    theta, errors = 50.0 + 10.0 * random.standard_normal(num), random.uniform(10.0, 15.0, num)
    return theta + errors * random.standard_normal(num), errors


@pytest.mark.filterwarnings("ignore:.*uncertain by up to.*:UserWarning")
def test_amortised_ladder_of_noisy_measurements():
    """B20: draws under a reference near the population serve where a flat one does not."""
    y, errors = noisy_ladder(300)
    result, variables = amortised(y, errors, kappa(y, errors))
    shift, ratio = compared(result, variables, exact_ladder(y, errors, reach=3.0))
    assert np.max(np.abs(shift)) < 0.05
    assert np.max(np.abs(ratio - 1.0)) < 0.02
    assert set(result.status.values()) == {Status.ok}


def test_a_flat_reference_for_noisy_measurements_is_told():
    """B20: few of two hundred draws lie where the population is. The answer is off by more than the other reference's,
    and says so three times: by its errors, by the datasets' status, and by a warning."""
    y, errors = noisy_ladder(300)
    with pytest.warns(UserWarning, match=r"uncertain by up to.*dataset\(s\) may be wrong"):
        result, variables = amortised(y, errors, FLAT)
    shift, _ = compared(result, variables, exact_ladder(y, errors, reach=3.0))
    stated = result._solution.inner_error
    assert np.max(np.abs(shift)) > 0.05
    assert np.all(np.abs(shift) < 3.0 * stated)
    assert Status.poor_proposal in result.status.values()
    assert "inner error" in result.info


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
