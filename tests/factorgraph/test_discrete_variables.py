"""Discrete variables: exact sums over their states, private to a dataset, drawn from a parent, or read by several."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import factorgraph as fg
from factorgraph.errors import GraphError, PriorError

BROAD = 10.0


class Reading:
    def __init__(self, x=0.0, is_outlier=0):
        self.x = x
        self.is_outlier = is_outlier


class Robust(fg.Analysis):
    """A reading of x, or of nothing."""

    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        error = jnp.where(instance.is_outlier, BROAD, self.error)
        return -0.5 * ((self.y - instance.x) / error) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi * error**2)


class Marginal(Robust):
    """The same with the sum over states written out, for a given fraction of outliers."""

    def __init__(self, y, error, fraction):
        super().__init__(y, error)
        self.fraction = fraction

    def log_likelihood_function(self, instance):
        parts = [
            jnp.log(weight) - 0.5 * ((self.y - instance.x) / error) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi * error**2)
            for weight, error in ((1.0 - self.fraction, self.error), (self.fraction, BROAD))
        ]
        return jnp.logaddexp(*parts)


Y = [0.3, -0.4, 0.9, 7.5, 0.1, -0.8]


def densities(y, x):
    """Of the two states, (2, ...)."""
    return np.stack([stats.norm.pdf(y, x, 0.5), stats.norm.pdf(y, x, BROAD)])


def test_an_indicator_for_each_reading():
    x = fg.GaussianPrior(0.0, 3.0)
    indicators = [fg.BernoulliPrior(0.2) for _ in Y]
    factors = [
        fg.AnalysisFactor(fg.Model(Reading, x=x, is_outlier=b), Robust(y, 0.5), name=f"r{k}")
        for k, (y, b) in enumerate(zip(Y, indicators))
    ]
    result = fg.FactorGraphModel(*factors).optimise(seed=0)

    grid = np.linspace(-12.0, 12.0, 8001)
    states = np.stack([densities(y, grid) * np.array([[0.8], [0.2]]) for y in Y])  # (reading, state, grid)
    p = stats.norm.pdf(grid, 0.0, 3.0) * states.sum(axis=1).prod(axis=0)
    log_evidence = np.log(p.sum() * (grid[1] - grid[0]))
    p /= p.sum()
    mean = p @ grid
    scale = np.sqrt(p @ (grid - mean) ** 2)
    assert abs(result.mean_field.mean[x] - mean) < 0.02 * scale
    assert result.mean_field.scale[x] == pytest.approx(scale, rel=0.02)
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.01)
    assert set(result.probabilities) == set(indicators)
    for b, state in zip(indicators, states):
        exact = (p * state[1] / state.sum(axis=0)).sum()
        np.testing.assert_allclose(result.probabilities[b], [1.0 - exact, exact], atol=0.01)
    assert result["r3"].instance.is_outlier == 1
    assert result["r0"].instance.is_outlier == 0
    assert result["r3"].max_log_likelihood_instance.is_outlier == 1

    written_out = [fg.AnalysisFactor(fg.Model(Reading, x=x, is_outlier=0), Marginal(y, 0.5, 0.2)) for y in Y]
    same = fg.FactorGraphModel(*written_out).optimise(seed=0)
    assert result.log_evidence == pytest.approx(same.log_evidence, abs=1e-3)


def drawn(y):
    """Readings of their own levels; the fraction of outliers is unknown."""
    fraction = fg.BetaPrior(2.0, 5.0)
    indicators = fg.HierarchicalFactor(fg.BernoulliPrior, probability=fraction)
    levels = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=0.7)
    factors = []
    for value in y:
        model = fg.Model(Reading)
        indicators.add_drawn_variable(model.is_outlier)
        levels.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, Robust(value, 0.5)))
    return fg.FactorGraphModel(*factors, indicators, levels), fraction, levels, indicators


def exact_drawn(y):
    mean = np.linspace(-8.0, 8.0, 801)[:, None]
    fraction = ((np.arange(400) + 0.5) / 400.0)[None, :]
    p = stats.norm.pdf(mean, 0.0, 2.0) * stats.beta.pdf(fraction, 2.0, 5.0)
    parts = []
    for value in y:
        core = (1.0 - fraction) * stats.norm.pdf(value, mean, np.hypot(0.5, 0.7))
        broad = fraction * stats.norm.pdf(value, mean, np.hypot(BROAD, 0.7))
        parts.append(broad / (core + broad))
        p = p * (core + broad)
    evidence = p.sum() * 0.02 / 400.0
    p /= p.sum()
    moments = [(np.sum(p * v), np.sqrt(np.sum(p * v**2) - np.sum(p * v) ** 2)) for v in (mean, fraction)]
    return moments, np.log(evidence), [np.sum(p * part) for part in parts]


def test_indicators_drawn_from_a_parent():
    graph, fraction, levels, indicators = drawn(Y)
    result = graph.optimise(seed=0)
    moments, log_evidence, probabilities = exact_drawn(Y)
    for variable, (mean, scale) in zip((levels.mean, fraction), moments):
        assert abs(result.mean_field.mean[variable] - mean) < 0.05 * scale
        assert result.mean_field.scale[variable] == pytest.approx(scale, rel=0.05)
    assert result.log_evidence == pytest.approx(log_evidence, abs=0.05)
    found = np.array([result.probabilities[b][1] for b in indicators.drawn_variables])
    error = np.array([result.probabilities.error(b)[1] for b in indicators.drawn_variables])
    assert np.all(error < 0.016)
    assert np.all(np.abs(found - probabilities) < 4.0 * error + 1e-3)
    with pytest.raises(KeyError, match="no discrete variable"):
        result.probabilities[fraction]
    assert result.names[fraction] == "parent_0.probability"
    assert {"x", "is_outlier"} <= set(result.names.values())


@pytest.mark.slow
def test_a_search_sums_over_the_states_too():
    graph, fraction, levels, indicators = drawn(Y)
    result = fg.SMC(num_particles=1000).fit(model=graph.global_prior_model, analysis=graph, seed=0)
    moments, log_evidence, probabilities = exact_drawn(Y)
    assert abs(result.log_evidence - log_evidence) < 4.0 * result.log_evidence_error
    for variable, (mean, scale) in zip((levels.mean, fraction), moments):
        assert abs(result.mean_field.mean[variable] - mean) < 0.15 * scale
    found = [result.probabilities[b][1] for b in indicators.drawn_variables]
    np.testing.assert_allclose(found, probabilities, atol=0.05)
    assert [child.instance.is_outlier for child in result] == [0, 0, 0, 1, 0, 0]


# --- a gate: does the treatment do anything? (Infer.NET's tutorial; ep.md B1) ---


class Trial:
    def __init__(self, is_effective=0, control=0.5, treated=0.5, both=0.5):
        self.is_effective = is_effective
        self.control = control
        self.treated = treated
        self.both = both


class Patients(fg.Analysis):
    def __init__(self, num_good, num, group):
        super().__init__()
        self.num_good = float(num_good)
        self.num = float(num)
        self.group = group

    def log_likelihood_function(self, instance):
        own = instance.treated if self.group == "treated" else instance.control
        p = jnp.where(instance.is_effective, own, instance.both)
        return self.num_good * jnp.log(p) + (self.num - self.num_good) * jnp.log1p(-p)


def test_clinical_trial():
    """One gate over two datasets: P(effective) from three Beta integrals."""
    gate = fg.BernoulliPrior(0.5)
    rates = {name: fg.UniformPrior(0.0, 1.0) for name in ("control", "treated", "both")}
    factors = [
        fg.AnalysisFactor(fg.Model(Trial, is_effective=gate, **rates), Patients(good, 5, group), name=group)
        for group, good in (("control", 1), ("treated", 4))
    ]
    graph = fg.FactorGraphModel(*factors)
    assert graph.dataset_names == ("control+treated",)
    result = graph.optimise(seed=0)
    log_effective = special.betaln(2, 5) + special.betaln(5, 2)
    log_same = special.betaln(6, 6)
    exact = special.expit(log_effective - log_same)
    assert exact == pytest.approx(0.754902, abs=1e-6)
    assert result.probabilities[gate][1] == pytest.approx(exact, abs=0.02)
    assert result.log_evidence == pytest.approx(np.logaddexp(log_effective, log_same) - np.log(2.0), abs=0.03)


class Kind:
    def __init__(self, kind=0):
        self.kind = kind


class Colour(fg.Analysis):
    """Each kind has a colour of its own."""

    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * (self.y - jnp.array([0.0, 1.5, 4.0])[instance.kind]) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi)


def test_fractions_of_three_kinds():
    """Categories with Dirichlet weights: every assignment of five objects is counted."""
    y = [0.2, 3.9, 1.2, 4.4, 0.6]
    weights = fg.DirichletPrior([1.0, 1.0, 2.0])
    parent = fg.HierarchicalFactor(fg.CategoricalPrior, probabilities=weights)
    factors = []
    for value in y:
        model = fg.Model(Kind)
        parent.add_drawn_variable(model.kind)
        factors.append(fg.AnalysisFactor(model, Colour(value)))
    result = fg.FactorGraphModel(*factors, parent).optimise(seed=0)
    likelihood = stats.norm.pdf(np.array(y)[:, None], [0.0, 1.5, 4.0])
    alpha = np.array([1.0, 1.0, 2.0])
    total, counts, first = 0.0, np.zeros(3), np.zeros(3)
    for kinds in itertools.product(range(3), repeat=5):
        n = np.bincount(kinds, minlength=3)
        weight = np.prod(likelihood[np.arange(5), kinds]) * np.exp(
            special.gammaln(alpha + n).sum()
            - special.gammaln((alpha + n).sum())
            - special.gammaln(alpha).sum()
            + special.gammaln(alpha.sum())
        )
        total += weight
        counts += weight * (alpha + n) / (alpha + n).sum()
        first[kinds[0]] += weight
    assert result.log_evidence == pytest.approx(np.log(total), abs=0.03)
    found = [result.mean_field.mean[w] for w in weights]
    np.testing.assert_allclose(found, counts / total, atol=0.01)
    np.testing.assert_allclose(result.probabilities[parent.drawn_variables[0]], first / total, atol=0.02)


def test_misuse_is_told():
    with pytest.raises(PriorError, match="in \\[0, 1\\]"):
        fg.BernoulliPrior(1.2)
    with pytest.raises(PriorError, match="must sum to 1"):
        fg.CategoricalPrior([0.5, 0.6])
    with pytest.raises(PriorError, match="two states"):
        fg.CategoricalPrior([1.0])
    with pytest.raises(PriorError, match="is discrete"):
        fg.BernoulliPrior(fg.BernoulliPrior(0.5))
    gate = fg.BernoulliPrior(0.5)
    x = fg.GaussianPrior(0.0, 1.0)
    many = [fg.AnalysisFactor(fg.Model(Reading, x=x, is_outlier=gate), Robust(y, 1.0)) for y in range(9)]
    with pytest.raises(GraphError, match="at most 8"):
        fg.FactorGraphModel(*many)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=2.0 * gate, sigma=1.0)
    model = fg.Model(Reading, is_outlier=0)
    parent.add_drawn_variable(model.x)
    with pytest.raises(GraphError, match="depend on the discrete variable"):
        fg.FactorGraphModel(fg.AnalysisFactor(model, Robust(0.0, 1.0)), parent)
    with pytest.raises(GraphError, match="joint states"):
        fg.FactorGraphModel(
            fg.AnalysisFactor(fg.Collection(*[fg.CategoricalPrior([0.2] * 5) for _ in range(3)]), Robust(0.0, 1.0))
        )
