"""Plates of `SamplesFactor`: the nodes of a dataset are draws that exist already, nothing is explored."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from factorgraph.graph.coordinate import coordinate_from_value, log_jacobian
from factorgraph.graph.density import log_draws
from factorgraph.graph.samples_factor import SamplesAnalysis
from factorgraph.model.structure import structure_of
from factorgraph.propagation.blocks import Block
from factorgraph.propagation.contracted import ContractedPlate
from factorgraph.propagation.gaussian import Around
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.traced import TracedPlate
from searches.importance import TRUSTED_K_HAT
from searches.pareto import pareto_k


class SampledPlate(TracedPlate):
    """See `ContractedPlate`. Log f is the log of the weighted mean of parents' density over prior, at the draws."""

    def _choose_method(self) -> str:
        return "population"

    @property
    def is_refinable(self) -> bool:
        return False

    def _explore_population(self, blocks: list[Block], *settings: Any, **more: Any) -> list[Any]:
        return [jax.device_put(self._nodes(block.rows)) for block in blocks]

    def _nodes(self, rows: np.ndarray) -> Nodes:
        every = [self._nodes_of(int(row)) for row in rows]
        return jax.tree.map(lambda *parts: np.stack(parts), *every)

    def _nodes_of(self, row: int) -> Nodes:
        theta, weight, log_prior = self._draws(row)
        signature = self.plate.signature
        z, log_reference = np.zeros_like(theta), np.zeros(len(theta))
        for role in signature.roles:
            if role.shared:
                continue
            i, parameters, value = role.position, self.local_parameters[row, role.position], theta[:, role.position]
            with np.errstate(all="ignore"):
                if role.family is not None:
                    numbers = parameters[: len(role.family.parameter_names)]
                    z[:, i] = role.family.to_normal(value, *numbers)
                else:
                    z[:, i] = coordinate_from_value(role.kind or "real", value, parameters)
                if i in signature.interface:
                    log_reference += log_prior[:, i] + log_jacobian(role.kind or "real", z[:, i], parameters)
        possible = np.all(np.isfinite(z), axis=1) & np.isfinite(log_reference)  # a parent may have limits of its own
        weight = np.where(possible, weight, 0.0)
        z, log_reference = np.where(possible[:, None], z, 0.0), np.where(possible, log_reference, 0.0)
        first = np.cumsum(weight) <= 0.5 * np.sum(weight)  # halves of the chain, which may be correlated
        centre = weight @ theta / max(float(np.sum(weight)), 1e-300)
        deviation = theta - centre
        return Nodes(
            z,
            z[:, list(signature.interface)],
            log_reference,
            np.stack([np.where(first, weight, 0.0), np.where(first, 0.0, weight)]),
            np.zeros((2, len(theta))),
            np.float64(self._analysis(row).log_evidence),
            centre,
            np.ones_like(centre),
            np.stack([deviation, deviation]),
            deviation**2,
            np.float64(1.0),
            np.float64(0.0),
            np.float64(1.0),
            np.float64(1.0),
            np.int64(0),
        )

    def _analysis(self, row: int) -> SamplesAnalysis:
        return self.plate.terms[row].factors[0].analysis

    def _draws(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (S, local), weights (S,) and log priors (S, local), by position among the local variables."""
        analysis, order = self._analysis(row), structure_of(self.plate.terms[row].factors[0].prior_model)[1]
        column = {variable: i for i, variable in enumerate(order)}
        columns = [column[variable] for variable in self.plate.local[row]]
        return analysis.theta[:, columns], analysis.weight, analysis.log_prior[:, columns]

    def can_take_over(self, other: ContractedPlate) -> bool:
        return False  # reading the draws costs nothing

    def explore(self, around: Around, *, proper: bool, rounds: int = 1, chosen: np.ndarray | None = None) -> None:
        self._mean, _ = around.marginals(self.plate.shared_index)
        super().explore(around, proper=proper, rounds=rounds, chosen=chosen)

    @property
    def k_hat(self) -> np.ndarray:
        """(N,) Pareto k-hat of each dataset's weights with the shared variables where they were last: above 0.7 too few
        draws lie where the parent has its mass."""
        signature = self.plate.signature
        found = []
        for row in range(self.plate.size):
            nodes, phi = self._nodes_of(row), self._mean[row][:, None]
            arrays = jax.tree.map(lambda a, row=row: a[row], self.plate.arrays._replace(local=self.local_parameters))
            with np.errstate(all="ignore"):
                log_parents = log_draws(signature, phi, nodes.z.T, arrays, fixed=False)
                log_weight = np.log(nodes.likelihood.sum(axis=0)) + log_parents - nodes.log_reference
            found.append(np.where(np.isfinite(log_weight), log_weight, -np.inf))
        return np.asarray(pareto_k(np.stack(found)))

    @property
    def is_explored(self) -> np.ndarray:
        return self.k_hat < TRUSTED_K_HAT
