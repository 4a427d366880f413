"""The simulated survey of ``shared/benchmarks`` as graphs, and its exact posterior by quadrature.

Two problems: ``hier`` (every centre is drawn from a population) and ``shared`` (one centre for all datasets).
"""

from __future__ import annotations

import functools
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import factorgraph as fg

BLOCK = 500
FINE = 1_000  # datasets, up to which the log evidence of the reference is good to 0.02 nats


class Profile:
    def __init__(self, centre=0.0, normalization=1.0, sigma=1.0):
        self.centre = centre
        self.normalization = normalization
        self.sigma = sigma


class Pixels(fg.Analysis):
    """Unit Gaussian noise in every pixel."""

    def __init__(self, y, x):
        super().__init__()
        self.y = y
        self.x = x

    def log_likelihood_function(self, instance):
        z = (self.x - instance.centre) / instance.sigma
        model = instance.normalization / (jnp.sqrt(2.0 * jnp.pi) * instance.sigma) * jnp.exp(-0.5 * z**2)
        return jnp.sum(-0.5 * (self.y - model) ** 2 - 0.5 * jnp.log(2.0 * jnp.pi))


class Grid(NamedTuple):
    """Of centres, by their cells, and of widths."""

    edges: np.ndarray
    sigmas: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        return 0.5 * (self.edges[1:] + self.edges[:-1])


class Posterior(NamedTuple):
    """Of the shared variables, by name: means, standard deviations; log evidence in nats."""

    mean: dict[str, float]
    scale: dict[str, float]
    log_evidence: float


class Survey(NamedTuple):
    graph: fg.FactorGraphModel
    variables: dict[str, fg.Variable]

    def posterior(self, result: fg.Result) -> Posterior:
        moments = result.mean_field
        return Posterior(
            {name: moments.mean[v] for name, v in self.variables.items()},
            {name: moments.scale[v] for name, v in self.variables.items()},
            result.log_evidence,
        )


@cache
def script(folder: Path, name: str) -> ModuleType:
    """``benchmarks/<name>.py`` of the shared folder, as a module."""
    spec = importlib.util.spec_from_file_location(name, folder / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def simulated(folder: Path, n: int, seed: int) -> dict[str, np.ndarray]:
    return script(folder, "simulate").simulate(n, seed=seed)


def survey(data: dict[str, np.ndarray], kind: str) -> Survey:
    """The graph of all datasets, as a user writes it."""
    positive = {"lower_limit": 0.0, "upper_limit": np.inf}
    within = {"lower_limit": 0.0, "upper_limit": 100.0}
    centre = fg.GaussianPrior(50.0, 30.0)
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior,
        mean=fg.TruncatedGaussianPrior(50.0, 10.0, **within),
        sigma=fg.TruncatedGaussianPrior(10.0, 5.0, **within),
    )
    factors: list[fg.AnalysisFactor | fg.HierarchicalFactor] = []
    for y in data[f"y_{kind}"]:
        model = fg.Model(
            Profile,
            normalization=fg.TruncatedGaussianPrior(25.0, 10.0, **positive),
            sigma=fg.TruncatedGaussianPrior(10.0, 5.0, **positive),
        )
        if kind == "hier":
            parent.add_drawn_variable(model.centre)
        else:
            model.centre = centre
        factors.append(fg.AnalysisFactor(model, Pixels(y, data["x"])))
    if kind == "hier":
        return Survey(fg.FactorGraphModel(*factors, parent), {"mu": parent.mean, "tau": parent.sigma})
    return Survey(fg.FactorGraphModel(*factors), {"centre": centre})


def survey_of_arrays(data: dict[str, np.ndarray]) -> Survey:
    """The hierarchical graph from the array of all profiles, without a loop: for a hundred thousand of them."""
    positive = {"lower_limit": 0.0, "upper_limit": np.inf}
    within = {"lower_limit": 0.0, "upper_limit": 100.0}
    model = fg.Model(
        Profile,
        normalization=fg.TruncatedGaussianPrior(25.0, 10.0, **positive),
        sigma=fg.TruncatedGaussianPrior(10.0, 5.0, **positive),
    )
    plate = fg.Plate(model, functools.partial(Pixels, x=data["x"]), {"y": data["y_hier"]})
    parent = fg.HierarchicalFactor(
        fg.GaussianPrior,
        mean=fg.TruncatedGaussianPrior(50.0, 10.0, **within),
        sigma=fg.TruncatedGaussianPrior(10.0, 5.0, **within),
    )
    graph = fg.FactorGraphModel(plate, parent.over(model.centre))
    return Survey(graph, {"mu": parent.mean, "tau": parent.sigma})


def grid(n: int) -> Grid:
    """Fine enough for the errors of ``n`` datasets together; coarser where that would take ten minutes."""
    spacing, num = (0.125, 192) if n <= FINE else (0.25, 96)
    edges = np.arange(-40.0, 140.0 + spacing / 2, spacing) - spacing / 2
    return Grid(edges, (np.arange(num) + 0.5) * 36.0 / num)


@cache
def _log_likelihoods(
    folder: Path, kind: str, n: int, seed: int, cells: tuple[float, ...], sigmas: tuple[float, ...]
) -> np.ndarray:
    """log L_i(centre) (n, cells) with normalization and sigma integrated out."""
    reference, data = script(folder, "exact_reference"), simulated(folder, n, seed)
    blocks = np.split(data[f"y_{kind}"], range(BLOCK, n, BLOCK))
    axes = np.array(cells), np.array(sigmas)
    return np.concatenate([reference.marginal(data["x"], y, *axes, False)[0] for y in blocks])


@cache
def exact(folder: Path, kind: str, n: int, seed: int, *, second_prior: bool = False) -> Posterior:
    """By the quadrature of ``exact_reference.py``; with ``second_prior``, of the density in which every drawn centre has
    a prior TN(50, 20; 0, 100) beside its parent, as PyAutoFit keeps it."""
    if kind == "shared":
        return _exact_shared(folder, n, seed)
    edges, cells, sigmas = grid(n).edges, grid(n).cells, grid(n).sigmas
    log_likelihoods = _log_likelihoods(folder, kind, n, seed, tuple(cells), tuple(sigmas))
    if second_prior:
        with np.errstate(divide="ignore"):
            inside = np.log((cells >= 0.0) & (cells <= 100.0))
        log_likelihoods = log_likelihoods + inside - 0.5 * ((cells - 50.0) / 20.0) ** 2
    found = script(folder, "exact_reference").hier(log_likelihoods, cells, edges, None)
    mean = {name: moments["mean"] for name, moments in found["hyper"].items()}
    scale = {name: moments["sd"] for name, moments in found["hyper"].items()}
    return Posterior(mean, scale, found["log_evidence"])


def _exact_shared(folder: Path, n: int, seed: int) -> Posterior:
    """One centre: the grid closes in on its posterior, which many datasets make narrower than any fixed spacing; errors of a
    coarse grid of widths add up over the datasets (spacing 0.2: 3 % of the sd of a thousand)."""
    sigmas = tuple((np.arange(960) + 0.5) * 0.05)
    cells = np.linspace(10.0, 90.0, 81)
    for _ in range(3):
        log_joint = _log_likelihoods(folder, "shared", n, seed, tuple(cells), sigmas).sum(0)
        log_joint += -0.5 * ((cells - 50.0) / 30.0) ** 2 - np.log(30.0 * np.sqrt(2.0 * np.pi))
        weight = np.exp(log_joint - log_joint.max())
        spacing = cells[1] - cells[0]
        log_evidence = float(log_joint.max() + np.log(weight.sum() * spacing))
        mean = float(cells @ weight / weight.sum())
        scale = float(np.sqrt((cells - mean) ** 2 @ weight / weight.sum()))
        cells = mean + np.linspace(-8.0, 8.0, 81) * max(scale, spacing / 2.0)
    return Posterior({"centre": mean}, {"centre": scale}, log_evidence)
