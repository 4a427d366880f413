"""Every family against scipy.stats, and its normal score against its own definition."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as special
import scipy.stats as stats

from factorgraph.errors import PriorError
from factorgraph.model import family as families
from factorgraph.model.families import normal_tail

INF = math.inf

# family, parameters, the same distribution of scipy.stats
MEMBERS = [
    (families.Gaussian(), (1.0, 2.0), stats.norm(1.0, 2.0)),
    (families.TruncatedGaussian(True, True), (10.0, 5.0, 0.0, 100.0), stats.truncnorm(-2.0, 18.0, 10.0, 5.0)),
    (families.TruncatedGaussian(True, False), (-3.0, 1.0, 0.0, INF), stats.truncnorm(3.0, INF, -3.0, 1.0)),
    (families.TruncatedGaussian(False, True), (3.0, 1.0, -INF, 4.0), stats.truncnorm(-INF, 1.0, 3.0, 1.0)),
    (families.Uniform(), (-1.0, 3.0), stats.uniform(-1.0, 4.0)),
    (families.LogUniform(), (1e-2, 1e2), stats.loguniform(1e-2, 1e2)),
    (families.LogGaussian(), (1.0, 0.5), stats.lognorm(0.5, scale=math.exp(1.0))),
    (families.HalfNormal(), (2.0,), stats.halfnorm(0.0, 2.0)),
    (families.HalfCauchy(), (2.0,), stats.halfcauchy(0.0, 2.0)),
    (families.Cauchy(), (1.0, 2.0), stats.cauchy(1.0, 2.0)),
    (families.StudentT(), (3.0, 1.0, 2.0), stats.t(3.0, 1.0, 2.0)),
    (families.Gamma(), (0.7, 2.0), stats.gamma(0.7, scale=2.0)),
    (families.InverseGamma(), (2.0, 3.0), stats.invgamma(2.0, scale=3.0)),
    (families.Beta(), (2.0, 3.0), stats.beta(2.0, 3.0)),
    (families.Exponential(), (2.0,), stats.expon(0.0, 2.0)),
]
# the same code under another name is traced once
TRACED = [
    m
    for m in MEMBERS
    if not isinstance(m[0], (families.HalfNormal, families.InverseGamma)) and INF not in map(abs, m[1])
]
SCORES = np.linspace(-8.0, 8.0, 33)

members = pytest.mark.parametrize(("family", "parameters", "reference"), MEMBERS, ids=lambda m: type(m).__name__)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def resolved(value: np.ndarray, reference) -> np.ndarray:
    """Where one rounding of the value moves its normal score by less than 1e-11 (near an upper limit it does not)."""
    smaller = np.minimum(reference.sf(value), reference.cdf(value))
    density = stats.norm.pdf(stats.norm.ppf(np.maximum(smaller, 1e-300)))
    return np.spacing(np.abs(value)) * reference.pdf(value) < 1e-11 * density


@members
def test_log_density_is_that_of_scipy_and_integrates_to_one(family, parameters, reference):
    values = reference.ppf(np.linspace(0.01, 0.99, 25))
    np.testing.assert_allclose(
        family.log_density(values, *parameters), reference.logpdf(values), rtol=1e-12, atol=1e-12
    )
    # in the score, the density is normal if and only if it integrates to one and from_normal is its quantile
    scores = SCORES[np.abs(SCORES) <= 5.0]
    step = 1e-5
    slope = (family.from_normal(scores + step, *parameters) - family.from_normal(scores - step, *parameters)) / (
        2 * step
    )
    density = np.exp(family.log_density(family.from_normal(scores, *parameters), *parameters)) * slope
    np.testing.assert_allclose(density, stats.norm.pdf(scores), rtol=2e-4)


@members
def test_from_normal_is_the_quantile(family, parameters, reference):
    scores = SCORES[np.abs(SCORES) <= 3.0]  # scipy.stats' own truncnorm loses digits beyond
    expected = np.where(scores < 0, reference.ppf(stats.norm.cdf(scores)), reference.isf(stats.norm.cdf(-scores)))
    np.testing.assert_allclose(family.from_normal(scores, *parameters), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(family.quantile(0.25, *parameters), reference.ppf(0.25), rtol=1e-11)


@members
def test_to_normal_inverts_from_normal_in_both_tails(family, parameters, reference):
    values = family.from_normal(SCORES, *parameters)
    assert np.all(np.isfinite(values))
    assert np.all(np.diff(values) >= 0)
    scores = family.to_normal(values, *parameters)
    keep = resolved(values, reference)
    assert keep.sum() >= 15
    np.testing.assert_allclose(scores[keep], SCORES[keep], atol=1e-10)
    np.testing.assert_allclose(family.from_normal(scores, *parameters), values, rtol=1e-10)


@pytest.mark.parametrize(("family", "parameters", "reference"), TRACED, ids=lambda m: type(m).__name__)
def test_jax_agrees_and_differentiates(family, parameters, reference):
    def everything(scores, *parameters):
        def value(x):
            return family.from_normal(x, *parameters)

        ones = jnp.ones_like(scores)
        (values, slope), (_, curvature) = jax.jvp(lambda x: jax.jvp(value, (x,), (ones,)), (scores,), (ones,))
        log_density, density_slope = jax.jvp(lambda v: family.log_density(v, *parameters), (values,), (ones,))
        score = family.to_normal(values, *parameters)
        gradient = jax.jacfwd(lambda *p: family.from_normal(0.7, *p), argnums=tuple(range(len(parameters))))(
            *parameters
        )
        return values, score, log_density, slope, curvature, density_slope, gradient

    result = jax.jit(everything)(jnp.asarray(SCORES), *parameters)
    values, score, log_density, slope, curvature, density_slope = map(np.asarray, result[:6])
    expected = family.from_normal(SCORES, *parameters)
    keep = resolved(expected, reference)
    np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(score[keep], SCORES[keep], atol=1e-10)
    np.testing.assert_allclose(log_density[keep], family.log_density(expected, *parameters)[keep], rtol=1e-9, atol=1e-9)
    assert np.all(np.isfinite(slope))
    assert np.all(np.isfinite(curvature))
    # d value / dx = phi(x) / f(value), and once more: -x slope - (log f)' slope^2
    inner = keep & (np.abs(SCORES) < 4)
    np.testing.assert_allclose(slope[inner], (stats.norm.pdf(SCORES) / np.exp(log_density))[inner], rtol=1e-9)
    terms = np.stack([SCORES * slope, density_slope * slope**2])
    scale = np.abs(terms).sum(0) + np.abs(slope)
    np.testing.assert_allclose((curvature / scale)[inner], (-terms.sum(0) / scale)[inner], atol=1e-8)
    for index, derivative in enumerate(result[6]):
        step = 1e-5 * max(1.0, abs(parameters[index]))
        low, high = (
            family.from_normal(0.7, *(p + sign * step * (i == index) for i, p in enumerate(parameters)))
            for sign in (-1, 1)
        )
        np.testing.assert_allclose(derivative, (high - low) / (2 * step), rtol=1e-6, atol=1e-9)


@members
def test_edges_and_nonsense_give_no_nan(family, parameters, reference):
    lower, upper = family.support(*parameters)
    np.testing.assert_allclose([lower, upper], reference.support())
    assert family.quantile(0.0, *parameters) == pytest.approx(lower, abs=1e-200)
    assert family.quantile(1.0, *parameters) == pytest.approx(upper)
    outside = [value for value in (lower - 1.0, upper + 1.0) if math.isfinite(value)]
    for value in [*outside, -INF, INF, math.nan]:
        assert family.log_density(value, *parameters) == -INF
    positive = [i for i, name in enumerate(family.parameter_names) if name in family.positive_parameters]
    for index in positive:
        wrong = tuple(-1.0 if i == index else p for i, p in enumerate(parameters))
        assert family.log_density(float(reference.median()), *wrong) == -INF
        with pytest.raises(PriorError, match=family.parameter_names[index]):
            family.check(*wrong)


@pytest.mark.parametrize(("family", "parameters", "reference"), TRACED, ids=lambda m: type(m).__name__)
def test_gradients_of_the_density_are_finite_where_it_vanishes(family, parameters, reference):
    lower, upper = family.support(*parameters)
    gradient = jax.jit(jax.value_and_grad(family.log_density, argnums=tuple(range(1 + len(parameters)))))
    for value in (lower - 1.0, upper + 1.0, math.nan):
        density, slopes = gradient(value, *parameters)
        assert density == -INF
        assert np.all(np.isfinite(slopes))
    wrong = [-1.0 if name in family.positive_parameters else p for name, p in zip(family.parameter_names, parameters)]
    if family.positive_parameters:
        density, slopes = gradient(float(reference.median()), *wrong)
        assert density == -INF
        assert np.all(np.isfinite(slopes))


def test_far_truncation_keeps_its_digits():
    # mean 30 sd below the limit: the density above it is exponential with rate 30 up to a known correction
    family, parameters = families.TruncatedGaussian(True, False), (-30.0, 1.0, 0.0, INF)
    value = family.from_normal(0.5, *parameters)
    survival = stats.norm.logsf(30.0 + value) - stats.norm.logsf(30.0)
    np.testing.assert_allclose(survival, stats.norm.logsf(0.5), rtol=1e-12)
    # data that pull a truncated scale 198 of its sds out
    np.testing.assert_allclose(
        families.TruncatedGaussian(True, False).to_normal(1000.0, 10.0, 5.0, 0.0, INF), 198.0, rtol=1e-5
    )


def test_normal_tails_agree_with_scipy_from_end_to_end():
    x = np.concatenate([-np.logspace(5, -3, 60), [0.0], np.logspace(-3, 1.5, 40)])
    log_cdf = special.log_ndtr(x)
    np.testing.assert_allclose(jax.jit(normal_tail.log_normal_cdf)(jnp.asarray(x)), log_cdf, rtol=1e-13)
    score = jax.jit(normal_tail.normal_from_log_cdf)(jnp.asarray(log_cdf))
    keep = x < 5  # above, log Phi is rounded too close to 0
    np.testing.assert_allclose(score[keep], special.ndtri_exp(log_cdf)[keep], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(score[keep], x[keep], rtol=1e-9, atol=1e-12)


def test_gaussian_is_affine():
    assert families.Gaussian().from_normal(200.0, 3.0, 2.0) == 403.0
    assert families.Gaussian().to_normal(403.0, 3.0, 2.0) == 200.0


def test_flat():
    flat = families.Flat(True, False)
    assert flat.log_density(3.0, 0.0, INF) == 0.0
    assert flat.log_density(-3.0, 0.0, INF) == -INF
    assert not flat.is_whitened
    with pytest.raises(PriorError, match="both limits"):
        flat.from_normal(0.0, 0.0, INF)
    assert families.Flat(True, True).from_normal(0.0, 0.0, 4.0) == 2.0


def test_families_are_hashable_values():
    assert families.TruncatedGaussian(True, False) == families.TruncatedGaussian(True, False)
    assert (
        len({families.TruncatedGaussian(True, False), families.TruncatedGaussian(True, True), families.Gaussian()}) == 3
    )
    others = {type(family).__name__ for family, _, _ in MEMBERS if not family.is_whitened}
    assert others == {"StudentT", "Cauchy", "HalfCauchy", "InverseGamma", "Gamma", "Beta"}


@pytest.mark.parametrize(
    ("family", "parameters", "kind"),
    [
        (families.TruncatedGaussian(True, True), (0.0, 1.0, 0.0, 1.0), "interval"),
        (families.TruncatedGaussian(True, False), (0.0, 1.0, 0.0, INF), "lower"),
        (families.TruncatedGaussian(False, True), (0.0, 1.0, -INF, 0.0), "upper"),
        (families.Gaussian(), (0.0, 1.0), "real"),
        (families.Flat(False, False), (-INF, INF), "real"),
    ],
)
def test_support_kind(family, parameters, kind):
    assert family.support_kind == kind
    lower, upper = family.support(*parameters)
    assert (math.isfinite(lower), math.isfinite(upper)) == {
        "interval": (True, True),
        "lower": (True, False),
        "upper": (False, True),
        "real": (False, False),
    }[kind]
