"""RR Lyrae stars of Stripe 82 (Sesar et al. 2010): one frequency a star, a Fourier series in each of five filters.

Times are in days, frequencies in cycles a day, brightness in mag. Given the frequency everything is linear.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import special

import factorgraph as fg
from tests.cases.case import Case, Known, reference, table

_EPOCH = 53_500.0  # days
_FLOOR = 0.03  # mag, of the errors
_FREQUENCY_SD = 1e-5  # cycles a day
_HARMONICS = np.arange(1, 6)


class Pulsation:
    def __init__(self, frequency, mean, cosine, sine):
        self.frequency = frequency
        self.mean = mean
        self.cosine = cosine
        self.sine = sine

    def __call__(self, time):
        phase = 2.0 * jnp.pi * self.frequency * time[:, None] * _HARMONICS
        return self.mean + jnp.cos(phase) @ self.cosine + jnp.sin(phase) @ self.sine


class LightCurve(fg.Analysis):
    """One star in one filter; points of weight zero are padding."""

    def __init__(self, time, magnitude, variance, length):
        missing = (0, length - len(time))
        self.time, self.magnitude = np.pad(time, missing), np.pad(magnitude, missing)
        self.weight = np.pad(1.0 / variance, missing)
        self.log_normalizer = -0.5 * np.sum(np.log(2.0 * np.pi * variance))

    def log_likelihood_function(self, instance):
        residual = self.magnitude - instance(self.time)
        return self.log_normalizer - 0.5 * jnp.sum(self.weight * residual**2)


def light_curves_of(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """Time since the epoch, magnitude and variance by star and filter, (3, n)."""
    groups = defaultdict(list)
    for row in table(path):
        time, magnitude, error = (float(row[name]) for name in ("mjd", "mag", "err"))
        groups[row["star"], row["band"]].append([time - _EPOCH, magnitude, error**2 + _FLOOR**2])
    return {key: np.array(rows).T for key, rows in groups.items()}


def rr_lyrae(data: Path) -> Case:
    folder = data / "s82_rrlyrae"
    stars = reference(folder / "reference.json")["stars"]
    curves = light_curves_of(folder / "lightcurves.csv")
    length = max(curve.shape[1] for curve in curves.values())
    frequency = {star: fg.GaussianPrior(answer["prior_f_mean"], _FREQUENCY_SD) for star, answer in stars.items()}
    factors = []
    for (star, band), curve in curves.items():
        cosine, sine = fg.Array(len(_HARMONICS)), fg.Array(len(_HARMONICS))
        for i, harmonic in enumerate(_HARMONICS.tolist()):
            cosine[i], sine[i] = fg.GaussianPrior(0.0, 1.0 / harmonic), fg.GaussianPrior(0.0, 1.0 / harmonic)
        model = fg.Model(
            Pulsation, frequency=frequency[star], mean=fg.GaussianPrior(17.0, 5.0), cosine=cosine, sine=sine
        )
        factors.append(fg.AnalysisFactor(model, LightCurve(*curve, length), name=f"{star} {band}"))
    by_star = {star: [curve for (other, _), curve in curves.items() if other == star] for star in stars}
    return Case(
        title="RR Lyrae",
        graph=fg.FactorGraphModel(*factors),
        known=tuple(
            Known(name=f"f[{star}]", quantity=frequency[star], **answer["f"]) for star, answer in stars.items()
        ),
        log_evidence=sum(evidence_of(by_star[star], answer["prior_f_mean"]) for star, answer in stars.items()),
        search=fg.DynestyStatic(nlive=500),
    )


def evidence_of(curves: list[np.ndarray], frequency: float, num: int = 2001) -> float:
    """Log evidence of one star, nats: a grid over six prior sds of its frequency, the coefficients in closed form."""
    offsets = np.linspace(-6.0, 6.0, num)
    log_density = -0.5 * offsets**2 - 0.5 * np.log(2.0 * np.pi)
    prior_variance = np.array([25.0, *2 * [*1.0 / _HARMONICS**2]])
    for time, magnitude, variance in curves:
        phase = 2.0 * np.pi * (frequency + offsets[:, None, None] * _FREQUENCY_SD) * time[:, None] * _HARMONICS
        design = np.concatenate([np.ones((num, len(time), 1)), np.cos(phase), np.sin(phase)], axis=2)
        residual = magnitude - 17.0
        precision = np.einsum("kna,n,knb->kab", design, 1.0 / variance, design) + np.diag(1.0 / prior_variance)
        linear = np.einsum("kna,n->ka", design, residual / variance)
        explained = np.einsum("ka,ka->k", linear, np.linalg.solve(precision, linear[..., None])[..., 0])
        log_determinant = np.linalg.slogdet(precision)[1] + np.sum(np.log(prior_variance))
        total = np.sum(residual**2 / variance) + np.sum(np.log(2.0 * np.pi * variance))
        log_density += 0.5 * (explained - log_determinant - total)
    return float(special.logsumexp(log_density) + np.log(offsets[1] - offsets[0]))
