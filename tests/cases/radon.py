"""Radon in houses of many counties: log_radon ~ N(alpha_county + ..., sigma_y), alpha_county ~ N(mu_alpha, sigma_alpha).

One dataset a county. Radon is in log pCi/L, uranium in log ppm; floor 0 is the basement.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, known, reference, table
from tests.cases.mixed_model import exact


class County:
    """The expected log radon of a house is alpha + beta floor + gamma uranium."""

    def __init__(self, alpha, sigma_y, beta, gamma=0.0):
        self.alpha = alpha
        self.sigma_y = sigma_y
        self.beta = beta
        self.gamma = gamma


class Houses(fg.Analysis):
    """The houses of one county; those of weight zero are padding, to one number of houses in every county."""

    def __init__(self, floor, uranium, radon, length):
        missing = (0, length - len(radon))
        self.floor, self.uranium, self.radon = (np.pad(column, missing) for column in (floor, uranium, radon))
        self.weight = np.pad(np.ones(len(radon)), missing)

    def log_likelihood_function(self, instance):
        expected = instance.alpha + instance.beta * self.floor + instance.gamma * self.uranium
        residual = (self.radon - expected) / instance.sigma_y
        return jnp.sum(self.weight * (-0.5 * residual**2 - jnp.log(instance.sigma_y) - 0.5 * jnp.log(2.0 * jnp.pi)))


def houses_of(path: Path) -> dict[str, np.ndarray]:
    """Floor, uranium and radon of the houses of each county, (3, n)."""
    groups = defaultdict(list)
    for row in table(path):
        groups[row["county"]].append([float(row[name]) for name in ("floor", "log_uppm", "log_radon")])
    return {county: np.array(rows).T for county, rows in groups.items()}


def radon(data: Path, title: str, name: str, *, uranium: bool, slopes: bool = False) -> Case:
    """Every county has an intercept of its own and, where asked, a slope; with or without uranium."""
    counties = houses_of(data / "radon" / f"{name.split('-')[0]}.csv")
    length = max(houses.shape[1] for houses in counties.values())
    mean = {key: fg.GaussianPrior(0.0, 10.0) for key in ("mu_alpha", "beta", "gamma")}
    scatter = {key: fg.HalfNormalPrior(1.0) for key in ("sigma_alpha", "sigma_beta", "sigma_y")}
    parents = [fg.HierarchicalFactor(fg.GaussianPrior, mean=mean["mu_alpha"], sigma=scatter["sigma_alpha"])]
    if slopes:
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=mean["beta"], sigma=scatter["sigma_beta"]))
    factors, private = [], {}
    for county, houses in counties.items():
        model = fg.Model(County, sigma_y=scatter["sigma_y"], gamma=mean["gamma"] if uranium else 0.0)
        parents[0].add_drawn_variable(model.alpha)
        private[f"alpha[{county}]"] = model.alpha
        if slopes:
            parents[1].add_drawn_variable(model.beta)
            private[f"beta[{county}]"] = model.beta
        else:
            model.beta = mean["beta"]
        factors.append(fg.AnalysisFactor(model, Houses(*houses, length), name=f"county {county}"))
    shared = {"mu_alpha": mean["mu_alpha"], "sigma_alpha": scatter["sigma_alpha"], "sigma_y": scatter["sigma_y"]}
    shared |= {"mu_beta": mean["beta"], "sigma_beta": scatter["sigma_beta"]} if slopes else {}
    shared |= (
        {"beta[1]": mean["gamma"], "beta[2]": mean["beta"]} if uranium else {} if slopes else {"beta": mean["beta"]}
    )
    return Case(
        title=title,
        graph=fg.FactorGraphModel(*factors, *parents),
        known=known(
            reference(data / "radon" / f"reference_{name}.json"),
            shared,
            private,
            by_quantiles=["sigma_alpha", "sigma_beta"] if slopes else ["sigma_alpha"],
        ),
        log_evidence=exact(list(counties.values()), uranium=uranium, slopes=slopes).log_evidence,
        search=_search(len(counties)),
    )


def _search(num_counties: int) -> Any:
    return fg.DynestyStatic(nlive=300) if num_counties < 100 else fg.Laplace(num_draws=4096)


def radon_minnesota(data: Path) -> Case:
    return radon(data, "radon, Minnesota", "radon_mn-variable_intercept", uranium=False)


def radon_minnesota_uranium(data: Path) -> Case:
    """The scatter of the counties has mass down to zero."""
    return radon(data, "radon, Minnesota, uranium", "radon_mn-hierarchical_intercept", uranium=True)


def radon_minnesota_slopes(data: Path) -> Case:
    """The scatter of the slopes has mass down to zero."""
    return radon(data, "radon, Minnesota, slopes", "radon_mn-variable_intercept_slope", uranium=False, slopes=True)


def radon_states(data: Path) -> Case:
    """386 counties, 12,573 houses."""
    return radon(data, "radon, all states", "radon_all-hierarchical_intercept", uranium=True)


def radon_states_pooled(data: Path) -> Case:
    """386 counties that differ in their intercepts alone: the reference is exact."""
    counties = houses_of(data / "radon" / "radon_all.csv")
    length = max(houses.shape[1] for houses in counties.values())
    mu, sigma_alpha, sigma_y = fg.GaussianPrior(0.0, 10.0), fg.HalfNormalPrior(1.0), fg.HalfNormalPrior(1.0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=mu, sigma=sigma_alpha)
    factors = []
    for county, houses in counties.items():
        model = fg.Model(County, sigma_y=sigma_y, beta=0.0)
        parent.add_drawn_variable(model.alpha)
        factors.append(fg.AnalysisFactor(model, Houses(*houses, length), name=f"county {county}"))
    posterior = exact(list(counties.values()), uranium=False, slopes=False, floors=False)
    means = [*posterior.fixed_mean, *posterior.scale_mean]
    sds = [*posterior.fixed_sd, *posterior.scale_sd]
    shared = {"mu_alpha": mu, "sigma_alpha": sigma_alpha, "sigma_y": sigma_y}
    entries = {name: {"mean": mean, "sd": sd} for name, mean, sd in zip(shared, means, sds, strict=True)}
    return Case(
        title="radon, all states, no covariates",
        graph=fg.FactorGraphModel(*factors, parent),
        known=known({"parameters": entries}, shared),
        log_evidence=posterior.log_evidence,
        search=_search(len(counties)),
    )
