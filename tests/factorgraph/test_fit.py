"""Searches over whole graphs against closed forms, quadrature and the truth of simulated data."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from searches.errors import SettingError, TargetError
from searches.status import Status

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)
NOISE = 0.3


class Level:
    def __init__(self, level):
        self.level = level


class Measurement(fg.Analysis):
    """One number with a known error."""

    def __init__(self, y, error):
        self.y = y
        self.error = error

    def log_likelihood_function(self, model):
        return -0.5 * ((self.y - model.level) / self.error) ** 2 - jnp.log(self.error) - LOG_SQRT_2PI


class Nothing(fg.Analysis):
    """Data without information."""

    def log_likelihood_function(self, model):
        return 0.0 * model.level


def fit(search, graph, seed=0):
    return search.fit(model=graph.global_prior_model, analysis=graph, seed=seed)


def profile(centre, normalization, sigma, seed):
    data = fg.ex.Gaussian(centre, normalization, sigma).model_data_from(np.arange(100))
    noise = NOISE * np.random.default_rng(seed).normal(size=100)
    return fg.ex.Analysis(data=data + noise, noise_map=np.full(100, NOISE))


def profile_model():
    return fg.Model(
        fg.ex.Gaussian,
        centre=fg.UniformPrior(lower_limit=0.0, upper_limit=100.0),
        normalization=fg.LogUniformPrior(lower_limit=1e-2, upper_limit=1e2),
        sigma=fg.GaussianPrior(mean=10.0, sigma=5.0, lower_limit=0.0, upper_limit=np.inf),
    )


def assert_recovered(result, truth):
    """``truth``, in the order of the variables, within three posterior standard deviations, which are not wide."""
    sd = result.samples.standard_deviation
    assert np.all(np.abs(result.samples.mean - truth) < 3.0 * sd)
    assert np.all(sd < 0.2 * np.abs(truth) + 1.0)


# --- the cookbook of several datasets ---


def test_three_datasets_of_one_signal():
    model = profile_model()
    factors = [fg.AnalysisFactor(prior_model=model, analysis=profile(50.0, 25.0, 10.0, seed)) for seed in range(3)]
    graph = fg.FactorGraphModel(*factors)
    search = fg.DynestyStatic(path_prefix="features", sample="rwalk", name="multiple_datasets_simple", nlive=60)
    assert (search.path_prefix, search.name, search.unique_tag) == ("features", "multiple_datasets_simple", None)
    result = fit(search, graph)
    assert result.samples.names == ("centre", "normalization", "sigma")
    assert_recovered(result, [50.0, 25.0, 10.0])
    assert len(result) == len(list(result)) == 3
    best = result.samples.parameters[np.argmax(result.samples.log_likelihood)]
    for child in result:
        instance = child.max_log_likelihood_instance
        assert [instance.centre, instance.normalization, instance.sigma] == best.tolist()
        assert child.instance.centre == pytest.approx(result.mean_field.quantile(model.centre, 0.5), rel=1e-2)
    assert result["dataset_1"].samples.names == ("centre", "normalization", "sigma")
    assert "multiple_datasets_simple" in result.info


@pytest.mark.slow
def test_one_centre_and_profiles_of_their_own():
    model, truth, factors = profile_model(), [50.0], []
    for index, (normalization, sigma) in enumerate([(50.0, 6.0), (40.0, 10.0), (30.0, 14.0)]):
        own = model.copy()
        own.normalization = fg.LogUniformPrior(lower_limit=1e-2, upper_limit=1e2)
        own.sigma = fg.GaussianPrior(mean=10.0, sigma=5.0, lower_limit=0.0, upper_limit=np.inf)
        factors.append(fg.AnalysisFactor(prior_model=own, analysis=profile(50.0, normalization, sigma, index)))
        truth += [normalization, sigma]
    result = fit(fg.DynestyStatic(sample="rwalk", nlive=100), fg.FactorGraphModel(*factors))
    assert result.samples.names[:3] == ("centre", "dataset_0.normalization", "dataset_0.sigma")
    assert_recovered(result, truth)
    sigmas = [child.max_log_likelihood_instance.sigma for child in result]
    assert sigmas == sorted(sigmas)
    assert len({child.max_log_likelihood_instance.centre for child in result}) == 1


def test_a_relation_across_datasets():
    model = fg.Collection(gaussian=profile_model())
    sigma_m = fg.UniformPrior(lower_limit=-10.0, upper_limit=10.0)
    sigma_c = fg.UniformPrior(lower_limit=-10.0, upper_limit=10.0)
    factors = []
    for index, x in enumerate([1.0, 2.0, 3.0]):
        own = model.copy()
        own.gaussian.sigma = sigma_m * x + sigma_c
        factors.append(fg.AnalysisFactor(prior_model=own, analysis=profile(50.0, 50.0, 4.0 * x + 2.0, index)))
    graph = fg.FactorGraphModel(*factors)
    result = fit(fg.DynestyStatic(sample="rwalk", nlive=60), graph)
    assert_recovered(result, [50.0, 50.0, 4.0, 2.0])
    slope, offset = (result.max_log_likelihood_vector[result.variables.index(v)] for v in (sigma_m, sigma_c))
    found = [child.max_log_likelihood_instance.gaussian.sigma for child in result]
    np.testing.assert_allclose(found, slope * np.array([1.0, 2.0, 3.0]) + offset, rtol=1e-12)


# --- exact answers ---


def test_one_analysis_and_its_model_are_a_graph_of_one():
    model = fg.Model(Level, level=fg.GaussianPrior(1.0, 3.0))
    result = fg.Laplace().fit(model=model, analysis=Measurement(y=4.0, error=2.0), info={"run": "first"})
    variance = 1.0 / (1.0 / 9.0 + 1.0 / 4.0)
    assert result.mean_field.mean[model.level] == pytest.approx(variance * (1.0 / 9.0 + 4.0 / 4.0), abs=0.02)
    assert result.mean_field.scale[model.level] == pytest.approx(np.sqrt(variance), rel=0.02)
    assert result.log_evidence == pytest.approx(stats.norm.logpdf(4.0, 1.0, np.sqrt(13.0)), abs=0.01)
    assert result.max_log_likelihood_instance.level == pytest.approx(4.0, abs=0.05)
    assert result[0].instance.level == result.instance.level
    assert "run: first" in result.info
    assert result.status == Status.ok


@pytest.mark.parametrize(
    "search",
    [fg.DynestyDynamic(nlive=60, n_effective=600), fg.UltraNest(min_num_live_points=60)],
    ids=["dynamic", "ultranest"],
)
def test_other_nested_samplers_take_the_same_graph(search):
    model = fg.Model(Level, level=fg.GaussianPrior(1.0, 3.0))
    result = search.fit(model=model, analysis=Measurement(y=4.0, error=2.0))
    assert result.log_evidence == pytest.approx(stats.norm.logpdf(4.0, 1.0, np.sqrt(13.0)), abs=0.4)


def test_a_flat_prior_leaves_the_likelihood_and_no_evidence():
    model = fg.Model(Level, level=fg.FlatPrior())
    graph = fg.FactorGraphModel(*(fg.AnalysisFactor(model, Measurement(y, 1.0)) for y in (1.0, 2.0, 6.0)))
    result = fit(fg.Laplace(), graph)
    assert result.mean_field.mean[model.level] == pytest.approx(3.0, abs=0.03)
    assert result.mean_field.scale[model.level] == pytest.approx(np.sqrt(1.0 / 3.0), rel=0.03)
    assert np.isnan(result.log_evidence)
    assert "flat" in result.info
    with pytest.raises(TargetError, match="FlatPrior"):
        fit(fg.DynestyStatic(nlive=20), graph)


EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])  # Rubin (1981), eight schools
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def population(analyses, mean, sigma):
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=mean, sigma=sigma)
    factors = []
    for analysis in analyses:
        model = fg.Model(Level)
        parent.add_drawn_variable(model.level)
        factors.append(fg.AnalysisFactor(model, analysis))
    return fg.FactorGraphModel(*factors, parent), parent


def eight_schools():
    analyses = [Measurement(y, error) for y, error in zip(EFFECTS, ERRORS, strict=True)]
    return population(analyses, fg.GaussianPrior(0.0, 5.0), fg.HalfCauchyPrior(5.0))


def exact_eight_schools():
    """log evidence, means and sds of (mu, tau), mean of the first effect; the effects are integrated in closed form."""
    mu = np.linspace(-30.0, 30.0, 601)[:, None]
    tau = stats.halfcauchy(scale=5.0).ppf((np.arange(4000) + 0.5) / 4000)[None]
    log_density = stats.norm.logpdf(mu, 0.0, 5.0) + np.log(0.1 / 4000)
    log_density = log_density + sum(
        stats.norm.logpdf(y, mu, np.hypot(e, tau)) for y, e in zip(EFFECTS, ERRORS, strict=True)
    )
    log_evidence = np.logaddexp.reduce(log_density, axis=None)
    weight = np.exp(log_density - log_evidence)
    shrunk = (mu * ERRORS[0] ** 2 + EFFECTS[0] * tau**2) / (ERRORS[0] ** 2 + tau**2)
    means = [np.sum(weight * value) for value in (mu, tau)]
    sds = [np.sqrt(np.sum(weight * (value - mean) ** 2)) for value, mean in zip((mu, tau), means, strict=True)]
    return log_evidence, means, sds, np.sum(weight * shrunk)


@pytest.mark.parametrize("search", [fg.DynestyStatic(nlive=200, sample="rwalk"), fg.SMC()], ids=["dynesty", "smc"])
def test_eight_schools(search):
    graph, parent = eight_schools()
    log_evidence, means, sds, first = exact_eight_schools()
    result = fit(search, graph)
    for variable, mean, sd in zip((parent.mean, parent.sigma), means, sds, strict=True):
        assert result.mean_field.mean[variable] == pytest.approx(mean, abs=0.15 * sd)
        assert result.mean_field.scale[variable] == pytest.approx(sd, rel=0.15)
    level = graph.factors[0].prior_model.level
    assert result[0].mean_field.mean[level] == pytest.approx(first, abs=0.15 * result.mean_field.scale[level])
    assert result.log_evidence == pytest.approx(log_evidence, abs=max(0.1, 3.0 * result.log_evidence_error))


def test_laplace_says_that_it_does_not_cover_a_scatter():
    graph, _ = eight_schools()
    with pytest.warns(UserWarning, match="k-hat"):
        result = fit(fg.Laplace(num_draws=2048), graph)
    assert result.status == Status.poor_proposal
    assert result.samples.diagnostics["k_hat"] > 0.7


@pytest.mark.parametrize("search", [fg.DynestyStatic(nlive=400), fg.Laplace()], ids=["dynesty", "laplace"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:dynesty", "ignore::UserWarning:dynesty")
def test_datasets_without_information_leave_the_population_as_it_was(search):
    graph, parent = population([Nothing() for _ in range(3)], fg.GaussianPrior(0.0, 100.0), fg.UniformPrior(0.0, 10.0))
    result = fit(search, graph)
    assert result.mean_field.mean[parent.mean] == pytest.approx(0.0, abs=15.0)
    assert result.mean_field.scale[parent.mean] == pytest.approx(100.0, rel=0.1)
    assert result.log_evidence == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("search", "error"),
    [(fg.DynestyStatic(nlive=250, sample="rwalk"), 4.0), (fg.SMC(num_particles=4000), 1.0)],
    ids=["dynesty", "smc"],
)
def test_a_population_of_three_against_quadrature(search, error):
    y = np.array([1.0, 4.0, 9.0])
    analyses = [Measurement(value, error) for value in y]
    graph, parent = population(analyses, fg.GaussianPrior(0.0, 10.0), fg.UniformPrior(0.0, 20.0))
    mu, tau = np.linspace(-60.0, 60.0, 1201)[:, None], (np.arange(400)[None] + 0.5) / 20.0
    log_density = stats.norm.logpdf(mu, 0.0, 10.0) + np.log(0.1 / 400)
    log_density = log_density + sum(stats.norm.logpdf(value, mu, np.hypot(error, tau)) for value in y)
    log_evidence = np.logaddexp.reduce(log_density, axis=None)
    weight = np.exp(log_density - log_evidence)
    result = fit(search, graph)
    for variable, value in ((parent.mean, mu), (parent.sigma, tau)):
        mean = np.sum(weight * value)
        sd = np.sqrt(np.sum(weight * (value - mean) ** 2))
        assert result.mean_field.mean[variable] == pytest.approx(mean, abs=0.15 * sd)
        assert result.mean_field.scale[variable] == pytest.approx(sd, rel=0.15)
    assert result.log_evidence == pytest.approx(log_evidence, abs=3.0 * result.log_evidence_error)


class PlainMeasurement(Measurement):
    """It cannot be traced."""

    def log_likelihood_function(self, model):
        return -0.5 * ((self.y - float(model.level)) / self.error) ** 2 - float(np.log(self.error)) - LOG_SQRT_2PI


@pytest.mark.parametrize("search", [fg.Laplace(), fg.DynestyStatic(nlive=100)], ids=["laplace", "dynesty"])
def test_a_likelihood_that_is_no_jax_is_called_plainly(search):
    model = fg.Model(Level, level=fg.GaussianPrior(0.0, 2.0))
    factors = [fg.AnalysisFactor(model, PlainMeasurement(1.0, 1.0)), fg.AnalysisFactor(model, Measurement(2.0, 1.0))]
    result = fit(search, fg.FactorGraphModel(*factors))
    variance = 1.0 / (0.25 + 2.0)
    assert result.mean_field.mean[model.level] == pytest.approx(3.0 * variance, abs=0.15 * np.sqrt(variance))
    assert result.mean_field.scale[model.level] == pytest.approx(np.sqrt(variance), rel=0.1)


# --- the contract ---


def test_the_same_seed_gives_the_same_result():
    model = fg.Model(Level, level=fg.GaussianPrior(0.0, 1.0))
    runs = [fg.DynestyStatic(nlive=30).fit(model, Measurement(1.0, 1.0), seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].samples.parameters, runs[1].samples.parameters)
    assert runs[0].log_evidence == runs[1].log_evidence != runs[2].log_evidence


def test_a_model_that_is_not_the_graphs_is_refused():
    model = fg.Model(Level, level=fg.GaussianPrior(0.0, 1.0))
    graph = fg.FactorGraphModel(fg.AnalysisFactor(model, Measurement(1.0, 1.0)))
    with pytest.raises(fg.GraphError, match="global_prior_model"):
        fg.DynestyStatic().fit(model=model, analysis=graph)


@pytest.mark.parametrize("search", [fg.DynestyStatic, fg.DynestyDynamic, fg.Laplace, fg.SMC, fg.LaplaceOptimiser])
def test_an_unknown_setting_is_refused(search):
    with pytest.raises(SettingError, match="It has"):
        search(name="fit", number_of_live_point=3)
    with pytest.raises(SettingError, match="nlive"):
        fg.DynestyStatic(nlives=10)


def test_an_unknown_dataset_is_named():
    model = fg.Model(Level, level=fg.GaussianPrior(0.0, 1.0))
    result = fg.Laplace(num_draws=64).fit(model, Measurement(1.0, 1.0))
    with pytest.raises(KeyError, match="dataset_0"):
        result["dataset_7"]
