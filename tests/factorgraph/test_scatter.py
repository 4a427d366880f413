"""The scatter of a population neither collapses nor grows, whatever its family: posteriors against quadrature.

With y_i measuring x_i and x_i drawn from p(x | a, b), the exact posterior of (a, b) is a product of sums over x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg

slow = pytest.mark.slow
NUM_SIGMAS = 8.0


class Object:
    def __init__(self, x=0.0):
        self.x = x


class Measurement(fg.Analysis):
    def __init__(self, y, error):
        super().__init__()
        self.y = y
        self.error = error

    def log_likelihood_function(self, instance):
        return -0.5 * ((self.y - instance.x) / self.error) ** 2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class Counts(fg.Analysis):
    """Binomial, without its constant coefficient: ``successes`` of ``trials`` with probability x."""

    def __init__(self, successes, trials):
        super().__init__()
        self.successes = successes
        self.trials = trials

    def log_likelihood_function(self, instance):
        return self.successes * jnp.log(instance.x) + (self.trials - self.successes) * jnp.log1p(-instance.x)


class Flux(fg.Analysis):
    """A flux is measured, x is its logarithm."""

    def __init__(self, flux, error):
        super().__init__()
        self.flux = flux
        self.error = error

    def log_likelihood_function(self, instance):
        residual = (self.flux - jnp.exp(instance.x)) / self.error
        return -0.5 * residual**2 - jnp.log(self.error) - 0.5 * jnp.log(2.0 * jnp.pi)


class Moments(NamedTuple):
    """Of the parent's two parameters: means (2,), standard deviations (2,)."""

    mean: np.ndarray
    scale: np.ndarray


def quadrature(
    log_prior: Callable[[np.ndarray, np.ndarray], np.ndarray],
    density: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    likelihoods: np.ndarray,
    x: np.ndarray,
    box: tuple[tuple[float, float], tuple[float, float]],
    points: int = 41,
) -> Moments:
    """Exact moments of two parameters a, b on midpoint grids that close in on the posterior three times.

    Parameters
    ----------
    log_prior
        Of arrays a, b.
    density
        p(x | a, b), broadcasting.
    likelihoods
        (N, len(x)) of every dataset on the evenly spaced midpoints ``x``.
    box
        Limits of a and of b that hold the whole posterior and lie inside the support of the prior.
    """
    width = x[1] - x[0]
    limits = np.array(box)
    likelihoods = likelihoods / likelihoods.max(axis=1, keepdims=True)
    for _ in range(3):
        step = (limits[:, 1] - limits[:, 0]) / points
        axes = limits[:, :1] + (np.arange(points) + 0.5) * step[:, None]
        a, b = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
        with np.errstate(divide="ignore"):
            log_factors = np.log(likelihoods @ (density(x[:, None], a, b) * width))
        log_joint = log_factors.sum(axis=0) + log_prior(a, b)
        weight = np.exp(log_joint - log_joint.max())
        weight /= weight.sum()
        values = np.stack([a, b])
        mean = values @ weight
        scale = np.sqrt((values - mean[:, None]) ** 2 @ weight)
        reach = NUM_SIGMAS * np.maximum(scale, step)
        limits = np.stack([np.maximum(limits[:, 0], mean - reach), np.minimum(limits[:, 1], mean + reach)], axis=1)
    return Moments(mean, scale)


def midpoints(lower: float, upper: float, num: int) -> np.ndarray:
    return lower + (np.arange(num) + 0.5) * (upper - lower) / num


def population(parent: fg.HierarchicalFactor, analyses: list[list[Any]]) -> fg.FactorGraphModel:
    """One object a row; its analyses are one dataset."""
    factors = []
    for number, row in enumerate(analyses):
        model = fg.Model(Object)
        parent.add_drawn_variable(model.x)
        dataset = {"dataset": f"object {number}"} if len(row) > 1 else {}
        factors += [fg.AnalysisFactor(model, analysis, **dataset) for analysis in row]
    return fg.FactorGraphModel(*factors, parent)


def assert_close(result: fg.Result, variables: list[Any], known: Moments, *, shift: float, spread: float) -> None:
    mean = np.array([result.mean_field.mean[v] for v in variables])
    scale = np.array([result.mean_field.scale[v] for v in variables])
    assert np.max(np.abs(mean - known.mean) / known.scale) < shift, f"found {mean}, exact {known}"
    assert np.max(np.abs(scale / known.scale - 1.0)) < spread, f"found {scale}, exact {known}"


# --- five measurements of a Gaussian population ---


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[slow] * (seed >= 5)) for seed in range(30)])
def test_no_scatter_collapse(seed):
    """Five measurements; priors mu ~ N(50, 10), tau ~ TN(10, 5; 0, 100)."""
    random = np.random.default_rng(seed)
    errors = random.uniform(0.5, 2.0, 5)
    y = random.normal(50.0, 10.0, 5) + errors * random.standard_normal(5)
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(50.0, 10.0), sigma=fg.TruncatedGaussianPrior(10.0, 5.0, 0.0, 100.0)
    )
    result = population(parent, [[Measurement(*pair)] for pair in zip(y.tolist(), errors.tolist())]).optimise(seed=0)

    mu, tau = np.meshgrid(midpoints(-20.0, 120.0, 700), midpoints(0.0, 60.0, 600), indexing="ij")
    log_joint = stats.norm.logpdf(mu, 50.0, 10.0) + stats.norm.logpdf(tau, 10.0, 5.0)
    log_joint += sum(stats.norm.logpdf(value, mu, np.hypot(tau, error)) for value, error in zip(y, errors))
    weight = np.exp(log_joint - log_joint.max())
    weight /= weight.sum()
    mean = np.array([np.sum(weight * mu), np.sum(weight * tau)])
    scale = np.sqrt([np.sum(weight * (mu - mean[0]) ** 2), np.sum(weight * (tau - mean[1]) ** 2)])
    assert_close(result, [parent.mean, parent.sigma], Moments(mean, scale), shift=0.1, spread=0.1)


def test_twenty_datasets_without_information():
    """Nothing is learned from nothing."""
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 100.0), sigma=fg.TruncatedGaussianPrior(10.0, 5.0, 0.0, 100.0)
    )
    result = population(parent, [[Measurement(0.0, 1e12)] for _ in range(20)]).optimise(seed=0)
    scatter = stats.truncnorm(-2.0, 18.0, 10.0, 5.0)
    known = Moments(np.array([0.0, scatter.mean()]), np.array([100.0, scatter.std()]))
    assert_close(result, [parent.mean, parent.sigma], known, shift=0.01, spread=0.01)


# --- parents of other families ---


class Case(NamedTuple):
    """A parent family with two unknown parameters.

    ``parameters`` are its arguments, given the unknown ones, a and b; ``density`` is p(x | a, b) by scipy.
    """

    parent: type
    priors: Callable[[], tuple[Any, Any]]
    arguments: Callable[[Any, Any], dict[str, Any]]
    log_prior: Callable[[np.ndarray, np.ndarray], np.ndarray]
    density: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    truth: tuple[float, float]
    box: tuple[tuple[float, float], tuple[float, float]]
    x: np.ndarray
    errors: tuple[float, float] | None  # range of the measurement errors; None: counts


def _location_and_scale() -> tuple[Any, Any]:
    return fg.GaussianPrior(0.0, 5.0), fg.GammaPrior(2.0, 1.0)


def _log_location_and_scale(a, b):
    return stats.norm.logpdf(a, 0.0, 5.0) + stats.gamma.logpdf(b, 2.0, scale=1.0)


def _two_gammas() -> tuple[Any, Any]:
    return fg.GammaPrior(3.0, 1.0), fg.GammaPrior(3.0, 1.0)


def _log_two_gammas(a, b):
    return stats.gamma.logpdf(a, 3.0) + stats.gamma.logpdf(b, 3.0)


CASES = {
    "truncated": Case(
        parent=fg.TruncatedGaussianPrior,
        priors=_location_and_scale,
        arguments=lambda a, b: {"mean": a, "sigma": b, "lower_limit": 0.0, "upper_limit": np.inf},
        log_prior=_log_location_and_scale,
        density=lambda x, a, b: np.exp(stats.norm.logpdf(x, a, b) - stats.norm.logcdf(a / b)),
        truth=(1.0, 1.5),
        box=((-30.0, 15.0), (0.0, 15.0)),
        x=midpoints(0.0, 12.0, 400),
        errors=(0.2, 0.6),
    ),
    "log-normal": Case(
        parent=fg.LogGaussianPrior,
        priors=_location_and_scale,
        arguments=lambda a, b: {"mean": a, "sigma": b},
        log_prior=_log_location_and_scale,
        density=lambda x, a, b: stats.norm.pdf(np.log(x), a, b) / x,
        truth=(1.0, 0.5),
        box=((-5.0, 6.0), (0.0, 6.0)),
        x=midpoints(0.0, 25.0, 600),
        errors=(0.2, 0.6),
    ),
    "student-t": Case(
        parent=fg.StudentTPrior,
        priors=_location_and_scale,
        arguments=lambda a, b: {"df": 4.0, "loc": a, "scale": b},
        log_prior=_log_location_and_scale,
        density=lambda x, a, b: stats.t.pdf(x, 4.0, a, b),
        truth=(2.0, 1.0),
        box=((-8.0, 12.0), (0.0, 12.0)),
        x=midpoints(-30.0, 34.0, 600),
        errors=(0.2, 0.6),
    ),
    "gamma": Case(
        parent=fg.GammaPrior,
        priors=_two_gammas,
        arguments=lambda a, b: {"shape": a, "scale": b},
        log_prior=_log_two_gammas,
        density=lambda x, a, b: stats.gamma.pdf(x, a, scale=b),
        truth=(3.0, 1.0),
        box=((0.0, 20.0), (0.0, 20.0)),
        x=midpoints(0.0, 25.0, 600),
        errors=(0.2, 0.6),
    ),
    "beta": Case(
        parent=fg.BetaPrior,
        priors=_two_gammas,
        arguments=lambda a, b: {"alpha": a, "beta": b},
        log_prior=_log_two_gammas,
        density=lambda x, a, b: stats.beta.pdf(x, a, b),
        truth=(4.0, 2.0),
        box=((0.0, 25.0), (0.0, 25.0)),
        x=midpoints(0.0, 1.0, 600),
        errors=None,
    ),
}


def drawn(case: Case, num: int, seed: int) -> np.ndarray:
    """``num`` values of the population at the true parameters, by its distribution function on the grid."""
    distribution = np.cumsum(case.density(case.x, *case.truth))
    return np.interp(np.random.default_rng(seed).uniform(size=num), distribution / distribution[-1], case.x)


def measured(case: Case, values: np.ndarray, seed: int) -> tuple[list[list[Any]], np.ndarray]:
    """One analysis an object, and its likelihood on the grid."""
    random = np.random.default_rng([seed, 1])
    if case.errors is None:
        trials = random.integers(10, 40, len(values))
        successes = random.binomial(trials, values)
        analyses = [[Counts(float(k), float(n))] for k, n in zip(successes, trials)]
        return analyses, stats.binom.pmf(successes[:, None], trials[:, None], case.x)
    errors = random.uniform(*case.errors, len(values))
    y = values + errors * random.standard_normal(len(values))
    return [[Measurement(*pair)] for pair in zip(y.tolist(), errors.tolist())], stats.norm.pdf(
        y[:, None], case.x, errors[:, None]
    )


@pytest.mark.parametrize(
    ("family", "num"),
    [
        pytest.param("truncated", 15, marks=slow),
        pytest.param("log-normal", 15, marks=slow),
        pytest.param("student-t", 15, marks=slow),
        pytest.param("gamma", 15, marks=slow),
        pytest.param("beta", 15, marks=slow),
    ],
)
def test_population_of_another_family(family, num):
    case = CASES[family]
    analyses, likelihoods = measured(case, drawn(case, num, seed=3), seed=3)
    priors = case.priors()
    result = population(fg.HierarchicalFactor(case.parent, **case.arguments(*priors)), analyses).optimise(seed=0)
    known = quadrature(case.log_prior, case.density, likelihoods, case.x, case.box)
    assert_close(result, list(priors), known, shift=0.15, spread=0.15)


# --- an image and a spectrum of every object ---


def test_image_and_spectrum():
    """Two analyses of one dataset, of different classes, read the same private variable."""
    random = np.random.default_rng(5)
    x = random.normal(1.0, 0.5, 12)
    flux_error, error = random.uniform(0.3, 1.0, 12), random.uniform(0.2, 0.5, 12)
    flux = np.exp(x) + flux_error * random.standard_normal(12)
    y = x + error * random.standard_normal(12)
    analyses = [
        [Flux(f, s), Measurement(v, e)] for f, s, v, e in zip(*map(np.ndarray.tolist, (flux, flux_error, y, error)))
    ]
    a, b = _location_and_scale()
    graph = population(fg.HierarchicalFactor(fg.GaussianPrior, mean=a, sigma=b), analyses)
    result = graph.optimise(seed=0)

    grid = midpoints(-5.0, 5.0, 600)
    likelihoods = stats.norm.pdf(flux[:, None], np.exp(grid), flux_error[:, None])
    likelihoods = likelihoods * stats.norm.pdf(y[:, None], grid, error[:, None])
    known = quadrature(_log_location_and_scale, stats.norm.pdf, likelihoods, grid, ((-5.0, 6.0), (0.01, 6.0)))
    assert sum(plate.size for plate in graph.plates if plate.signature.analyses) == 12
    assert_close(result, [a, b], known, shift=0.15, spread=0.15)
