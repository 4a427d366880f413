"""Two planets of HD 164922 seen by three instruments (Fulton et al. 2016): ten orbital elements are shared.

Every instrument has a zero point and a jitter of its own. Velocities are in m/s, times in days (BJD - 2450000). The
elements of a planet are its period, the time of its inferior conjunction, the logarithm of its velocity amplitude, and
h = sqrt(e) cos w, k = sqrt(e) sin w with eccentricity e and argument of periastron w.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, known, reference, table

_KEPLER_STEPS = 7
_LARGEST_ECCENTRICITY = 0.99


class Planet:
    def __init__(self, period, conjunction, log_amplitude, h, k):
        self.period = period
        self.conjunction = conjunction
        self.log_amplitude = log_amplitude
        self.h = h
        self.k = k

    @property
    def eccentricity(self):
        return self.h**2 + self.k**2

    def velocity(self, time):
        """K [cos(f + w) + e cos w] at times (n,), f the true anomaly; in longitudes, which are smooth at e = 0."""
        root = jnp.sqrt(self.eccentricity + 1e-16)
        x, y = root * self.h, root * self.k  # the vector of eccentricity
        axis_ratio = jnp.sqrt(jnp.maximum(1.0 - self.eccentricity**2, 1e-4))
        beta = 1.0 / (1.0 + axis_ratio)
        # at conjunction the true longitude is a right angle
        radius = axis_ratio**2 / (1.0 + y)
        cosine = x - beta * x * y * radius / axis_ratio
        sine = y + (1.0 - beta * y**2) * radius / axis_ratio
        eccentric = jnp.arctan2(sine, cosine)
        start = eccentric - x * jnp.sin(eccentric) + y * jnp.cos(eccentric)
        longitude = start + 2.0 * jnp.pi * (time - self.conjunction) / self.period
        eccentric = longitude + 0.85 * self.eccentricity * jnp.sign(x * jnp.sin(longitude) - y * jnp.cos(longitude))

        def closer(_, eccentric):
            cosine, sine = jnp.cos(eccentric), jnp.sin(eccentric)
            error = eccentric - x * sine + y * cosine - longitude
            return eccentric - error / (1.0 - x * cosine - y * sine)

        eccentric = jax.lax.fori_loop(0, _KEPLER_STEPS, closer, eccentric)
        cosine, sine = jnp.cos(eccentric), jnp.sin(eccentric)
        along = (1.0 - beta * y**2) * cosine + beta * x * y * sine - x
        return jnp.exp(self.log_amplitude) * (along / (1.0 - x * cosine - y * sine) + x)


class Instrument:
    def __init__(self, outer, inner, zero_point, log_jitter):
        self.planets = (outer, inner)
        self.zero_point = zero_point
        self.log_jitter = log_jitter


class Velocities(fg.Analysis):
    """The velocities of one instrument; those of weight zero are padding."""

    def __init__(self, time, velocity, error, length):
        missing = (0, length - len(time))
        self.time, self.velocity = np.pad(time, missing), np.pad(velocity, missing)
        self.error = np.pad(error, missing, constant_values=1.0)
        self.weight = np.pad(np.ones(len(time)), missing)

    def log_likelihood_function(self, instance):
        expected = instance.zero_point + sum(planet.velocity(self.time) for planet in instance.planets)
        variance = self.error**2 + jnp.exp(2.0 * instance.log_jitter)
        squares = (self.velocity - expected) ** 2 / variance + jnp.log(2.0 * jnp.pi * variance)
        log_likelihood = -0.5 * jnp.sum(self.weight * squares)
        largest = jnp.maximum(*(planet.eccentricity for planet in instance.planets))
        return jnp.where(largest < _LARGEST_ECCENTRICITY, log_likelihood, -jnp.inf)


def hd_164922(data: Path) -> Case:
    rows = table(data / "hd164922_rv" / "rv.csv")
    outer = fg.Model(
        Planet,
        period=fg.GaussianPrior(1200.0, 50.0),
        conjunction=fg.GaussianPrior(6779.0, 100.0),
        log_amplitude=fg.GaussianPrior(np.log(7.0), 1.0),
        h=fg.UniformPrior(-1.0, 1.0),
        k=fg.UniformPrior(-1.0, 1.0),
    )
    inner = fg.Model(
        Planet,
        period=fg.GaussianPrior(75.77, 0.3),
        conjunction=fg.GaussianPrior(6277.6, 10.0),
        log_amplitude=fg.GaussianPrior(np.log(2.0), 1.0),
        h=fg.UniformPrior(-1.0, 1.0),
        k=fg.UniformPrior(-1.0, 1.0),
    )
    groups: dict[str, list[list[float]]] = {}
    for row in rows:
        values = [float(row[column]) for column in ("bjd_minus_2450000", "rv_m_s", "err_m_s")]
        groups.setdefault(row["instrument"], []).append(values)
    length = max(map(len, groups.values()))
    factors, private = [], {}
    for name, group in groups.items():
        model = fg.Model(
            Instrument,
            outer=outer,
            inner=inner,
            zero_point=fg.GaussianPrior(0.0, 10.0),
            log_jitter=fg.GaussianPrior(np.log(2.5), 0.5),
        )
        private |= {f"gamma_{name}": model.zero_point, f"ln_jit_{name}": model.log_jitter}
        factors.append(fg.AnalysisFactor(model, Velocities(*np.array(group).T, length), name=name))
    shared = {}
    for number, planet in ((1, outer), (2, inner)):
        shared |= {
            f"P{number}": planet.period,
            f"tc{number}": planet.conjunction,
            f"lnK{number}": planet.log_amplitude,
            f"h{number}": planet.h,
            f"k{number}": planet.k,
            f"e{number}": planet.h**2 + planet.k**2,
        }
    return Case(
        title="HD 164922",
        graph=fg.FactorGraphModel(*factors),
        known=known(reference(data / "hd164922_rv" / "reference.json"), shared, private),
        search=fg.DynestyStatic(nlive=1000),
        contracted=False,
    )
