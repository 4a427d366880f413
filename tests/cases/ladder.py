"""The distance ladder of SH0ES 2022: magnitudes are linear in distances and calibrations, with flat priors.

One dataset a galaxy, and one each for the Hubble flow and the external constraints. All numbers are in mag. Optionally
all Cepheids of a galaxy are off by one common amount.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import factorgraph as fg
from tests.cases.case import Case, known, reference, table

GLOBALS = ("dmu_N4258", "M_HW", "dmu_LMC", "mu_M31", "b", "M_B", "Z_W", "dzp", "five_log_H0")


class Rung:
    """What the magnitudes of one galaxy depend on: its distance, the offset of its Cepheids, and what all share."""

    def __init__(self, mu, offset, dmu_N4258, M_HW, dmu_LMC, mu_M31, b, M_B, Z_W, dzp, five_log_H0):  # noqa: N803
        self.mu = mu
        self.offset = offset
        self.globals = (dmu_N4258, M_HW, dmu_LMC, mu_M31, b, M_B, Z_W, dzp, five_log_H0)


class Magnitudes(fg.Analysis):
    """y ~ N(mu + coefficients . globals, sigma), Cepheids fainter by an offset; rows of weight zero are padding."""

    def __init__(self, rows, length):
        def padded(column):
            return np.pad(np.asarray(column, dtype=float), (0, length - len(rows)))

        self.y = padded([row["y"] for row in rows])
        self.weight = padded([float(row["sigma"]) ** -2 for row in rows])
        self.is_cepheid = padded([row["kind"] == "cepheid" for row in rows])
        self.coefficients = np.stack([padded([row[f"c_{name}"] for row in rows]) for name in GLOBALS])

    def log_likelihood_function(self, instance):
        model = instance.mu + jnp.tensordot(jnp.stack(instance.globals), self.coefficients, 1)
        residual = self.y - model - self.is_cepheid * instance.offset
        return -0.5 * jnp.sum(self.weight * residual**2)


def distance_ladder(folder: Path, offset: Callable[[], Any] | None = None) -> tuple[list[Any], dict[str, Any]]:
    """The factors, and the unknowns by name; ``offset`` makes the offset of one galaxy's Cepheids."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in table(folder / "ladder.csv"):
        groups.setdefault((row["source"] or row["kind"].split("_")[0], row["host"]), []).append(row)
    length = max(map(len, groups.values()))
    unknowns: dict[str, Any] = {name: fg.FlatPrior() for name in GLOBALS}
    factors = []
    for (name, host), group in groups.items():
        model = fg.Model(Rung, mu=0.0, offset=0.0, **{name: unknowns[name] for name in GLOBALS})
        if host:
            model.mu = unknowns[f"mu_{host}"] = fg.FlatPrior()
        if offset is not None and any(row["kind"] == "cepheid" for row in group):
            model.offset = unknowns[f"off_{name}"] = offset()
        factors.append(fg.AnalysisFactor(model, Magnitudes(group, length), name=name))
    return factors, unknowns


def case_of(
    data: Path, title: str, block: str, factors: list[Any], unknowns: dict[str, Any], search: Any = None, **options: Any
) -> Case:
    answer = reference(data / "sh0es2022" / "reference.json")[block]
    entries = {name: unknowns[name] for name in answer["parameters"]}
    private = {name: variable for name, variable in entries.items() if name not in GLOBALS and name != "s_off"}
    shared = {name: variable for name, variable in entries.items() if name not in private}
    return Case(
        title=title,
        graph=fg.FactorGraphModel(*factors),
        known=known(answer, shared, private, **options),
        search=search or fg.Laplace(num_draws=4096),
    )


def sh0es(data: Path) -> Case:
    return case_of(data, "SH0ES", "A_diagonal", *distance_ladder(data / "sh0es2022"))


def sh0es_offsets(data: Path) -> Case:
    """The Cepheids of every galaxy are off by N(0, 0.02)."""
    ladder = distance_ladder(data / "sh0es2022", lambda: fg.GaussianPrior(0.0, 0.02))
    return case_of(data, "SH0ES, offsets", "B_host_offsets_0p02", *ladder)


def sh0es_scatter(data: Path) -> Case:
    """The scatter of the offsets is unknown, with mass down to zero: no curvature at a mode tells of it."""
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=fg.UniformPrior(0.0, 0.3))

    def drawn() -> fg.GaussianPrior:
        variable = fg.GaussianPrior(0.0, 1.0)  # replaced: it is drawn
        parent.add_drawn_variable(variable)
        return variable

    factors, unknowns = distance_ladder(data / "sh0es2022", drawn)
    unknowns["s_off"] = parent.sigma
    title = "SH0ES, offsets of unknown scatter"
    block = "C_host_offsets_free_scatter"
    return case_of(data, title, block, [*factors, parent], unknowns, fg.NUTS(), by_quantiles=["s_off"])
