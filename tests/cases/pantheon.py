"""Supernova magnitudes in forty bins of redshift (Pantheon, Scolnic et al. 2018), with and without their covariance.

The bins share systematic errors, so that all of them are one dataset. Magnitudes are in mag; the offset M absorbs the
Hubble constant and has a flat prior.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, known, reference, table

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


class Cosmology:
    """A flat universe of matter and dark energy, whose pressure is ``w`` times its density."""

    def __init__(self, omega_m, offset, w=-1.0):
        self.omega_m = omega_m
        self.offset = offset
        self.w = w

    def magnitudes(self, z):
        """M + 5 log10[(1 + z) int_0^z dz' / E(z')] at redshifts ``z`` (n,); the integral by Gauss and Legendre."""
        one_plus = 1.0 + 0.5 * z[:, None] * (_NODES + 1.0)
        dark_energy = (1.0 - self.omega_m) * one_plus ** (3.0 * (1.0 + self.w))
        expansion = jnp.sqrt(self.omega_m * one_plus**3 + dark_energy)
        distance = 0.5 * z * ((1.0 / expansion) @ _WEIGHTS)
        return self.offset + 5.0 * jnp.log10((1.0 + z) * distance)


class Supernovae(fg.Analysis):
    """Correlated magnitudes; ``inverse_root`` (n, n) whitens their residuals."""

    def __init__(self, z, magnitudes, covariance):
        self.z = z
        self.magnitudes = magnitudes
        self.inverse_root = np.linalg.inv(np.linalg.cholesky(covariance))

    def log_likelihood_function(self, instance):
        residual = self.inverse_root @ (self.magnitudes - instance.magnitudes(self.z))
        log_normalizer = jnp.sum(jnp.log(jnp.diagonal(self.inverse_root))) - 0.5 * len(self.z) * jnp.log(2.0 * jnp.pi)
        return log_normalizer - 0.5 * residual @ residual


def pantheon(
    data: Path, title: str, block: str, model: fg.Model, *, systematics: bool = True, search: Any = None
) -> Case:
    folder = data / "pantheon2018_binned"
    z, magnitudes, errors = np.array(
        [[float(row[name]) for name in ("z", "m_b", "m_b_stat_err")] for row in table(folder / "bins.csv")]
    ).T
    covariance = np.diag(errors**2)
    if systematics:
        covariance += np.loadtxt(folder / "cov_sys.csv", delimiter=",")
    names = {"Omega_m": model.omega_m, "M": model.offset, "w": model.w}
    graph = fg.FactorGraphModel(fg.AnalysisFactor(model, Supernovae(z, magnitudes, covariance), name="Pantheon"))
    answer = reference(folder / "reference.json")[block]
    return Case(
        title=title,
        graph=graph,
        known=known(answer, {name: names[name] for name in answer["parameters"]}),
        search=search or fg.Laplace(num_draws=4096),
        contracted=False,
    )


def pantheon_lcdm(data: Path) -> Case:
    model = fg.Model(Cosmology, omega_m=fg.UniformPrior(0.0, 1.0), offset=fg.FlatPrior(), w=-1.0)
    return pantheon(data, "Pantheon, flat LCDM", "flat_LCDM", model)


def pantheon_statistical(data: Path) -> Case:
    """Without the systematic covariance."""
    model = fg.Model(Cosmology, omega_m=fg.UniformPrior(0.0, 1.0), offset=fg.FlatPrior(), w=-1.0)
    return pantheon(data, "Pantheon, flat LCDM, no systematics", "flat_LCDM_stat_only", model, systematics=False)


def pantheon_wcdm(data: Path) -> Case:
    """Matter density and pressure are degenerate along a banana.

    Nested sampling needs proper priors: the limits of the offset are fifty standard deviations away.
    """
    model = fg.Model(
        Cosmology,
        omega_m=fg.UniformPrior(0.0, 0.7),
        offset=fg.UniformPrior(23.0, 24.6),
        w=fg.UniformPrior(-2.5, -0.3),
    )
    return pantheon(data, "Pantheon, flat wCDM", "flat_wCDM", model, search=fg.DynestyStatic(nlive=500))
