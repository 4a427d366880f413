"""Hierarchical binomial models: hits ~ Binomial(trials, p_i), logit p_i = b_i + ..., b_i ~ N(mean, sigma).

Germinating seeds (Crowder 1978), and batting in baseball (Efron & Morris 1975).
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from jax.scipy.special import gammaln
from scipy import special, stats

import factorgraph as fg
from tests.cases.case import Case, known, reference, table


class Group:
    """Where the outcomes of one group lie on the logit scale."""

    def __init__(self, effect, offset=0.0):
        self.effect = effect
        self.offset = offset


class Outcomes(fg.Analysis):
    def __init__(self, hits, trials):
        self.hits = float(hits)
        self.trials = float(trials)

    def log_likelihood_function(self, instance):
        logit = instance.effect + instance.offset
        misses = self.trials - self.hits
        log_ways = gammaln(self.trials + 1.0) - gammaln(self.hits + 1.0) - gammaln(misses + 1.0)
        return log_ways + self.hits * jax.nn.log_sigmoid(logit) + misses * jax.nn.log_sigmoid(-logit)


def seeds(data: Path) -> Case:
    """The mean of a plate depends on seed and root extract; its scatter is common to all plates."""
    rows = table(data / "glmm" / "seeds.csv")
    alpha = {name: fg.GaussianPrior(0.0, 5.0) for name in ("alpha0", "alpha1", "alpha2", "alpha12")}
    sigma = fg.HalfNormalPrior(1.0)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=0.0, sigma=sigma)
    factors, private = [], {}
    for number, row in enumerate(rows, start=1):
        seed, root = float(row["seed_type"]), float(row["root_extract"])
        offset = alpha["alpha0"] + alpha["alpha1"] * seed + alpha["alpha2"] * root + alpha["alpha12"] * (seed * root)
        model = fg.Model(Group, offset=offset)
        parent.add_drawn_variable(model.effect)
        private[f"b[{number}]"] = model.effect
        factors.append(fg.AnalysisFactor(model, Outcomes(row["germinated"], row["total"]), name=f"plate {number}"))
    answer = reference(data / "glmm" / "reference_seeds.json")
    return Case(
        title="seeds",
        graph=fg.FactorGraphModel(*factors, parent),
        known=known(answer, alpha | {"sigma": sigma}, private),
        search=fg.SMC(num_particles=2048, gradient=True),
        contracted=False,
    )


def baseball(data: Path) -> Case:
    """The scatter of the players has mass down to zero."""
    rows = table(data / "glmm" / "baseball.csv")
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.HalfNormalPrior(1.0))
    factors, private = [], {}
    for number, row in enumerate(rows, start=1):
        model = fg.Model(Group, offset=0.0)
        parent.add_drawn_variable(model.effect)
        private[f"b[{number}]"] = model.effect
        factors.append(fg.AnalysisFactor(model, Outcomes(row["hits"], row["at_bats"]), name=row["player"]))
    return Case(
        title="baseball",
        graph=fg.FactorGraphModel(*factors, parent),
        known=known(
            reference(data / "glmm" / "reference_baseball.json"),
            {"mu": parent.mean, "sigma": parent.sigma},
            private,
            by_quantiles=["sigma"],
        ),
        log_evidence=evidence_of_batting(np.array([[float(row["hits"]), float(row["at_bats"])] for row in rows])),
        search=fg.Laplace(num_draws=4096),
    )


def evidence_of_batting(counts: np.ndarray) -> float:
    """Log evidence of hits and trials, ``counts`` (n, 2), nats: a grid in mu and sigma, Gauss and Hermite in b."""
    mu, sigma = np.meshgrid(np.linspace(-1.8, -0.3, 151), (np.arange(200) + 0.5) / 125.0, indexing="ij")
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logit = mu[..., None] + sigma[..., None] * nodes
    log_density = stats.norm.logpdf(mu, 0.0, 5.0) + stats.halfnorm.logpdf(sigma)
    for hits, trials in counts:
        log_ways = special.gammaln(trials + 1.0) - special.gammaln(hits + 1.0) - special.gammaln(trials - hits + 1.0)
        log_likelihood = hits * special.log_expit(logit) + (trials - hits) * special.log_expit(-logit)
        log_density += log_ways + np.log(np.exp(log_likelihood) @ (weights / np.sqrt(2.0 * np.pi)))
    cell = (mu[1, 0] - mu[0, 0]) * (sigma[0, 1] - sigma[0, 0])
    return float(special.logsumexp(log_density) + np.log(cell))
