"""How often XLA compiles: not more for more datasets, at most eight times, and never for a second graph of the same kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from tests.compilations import count_compilations

MOST = 8


class Source:
    def __init__(self, position=0.0, flux=1.0):
        self.position = position
        self.flux = flux


class Photometry(fg.Analysis):
    """Two readings of heavy-tailed noise: no method in closed form applies."""

    def __init__(self, y):
        self.y = y

    def log_likelihood_function(self, instance):
        model = jnp.array([instance.position, instance.position * instance.flux])
        return -jnp.sum(jnp.log1p((self.y - model) ** 2))


class Reading(fg.Analysis):
    def __init__(self, y):
        self.y = y

    def log_likelihood_function(self, instance):
        return -0.5 * jnp.sum((self.y - instance.position) ** 2)


def population(n, seed, analysis):
    rng = np.random.default_rng(seed)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 5.0), sigma=fg.UniformPrior(0.0, 5.0))
    factors = []
    for y in rng.normal(1.0, 2.0, (n, 2)):
        model = fg.Model(Source, flux=fg.UniformPrior(0.5, 1.5) if analysis is Photometry else 1.0)
        parent.add_drawn_variable(model.position)
        factors.append(fg.AnalysisFactor(model, analysis(y)))
    return fg.FactorGraphModel(*factors, parent)


def shared_position(n, seed, analysis):
    position = fg.GaussianPrior(0.0, 5.0)
    factors = []
    for y in np.random.default_rng(seed).normal(1.0, 2.0, (n, 2)):
        model = fg.Model(Source, position=position, flux=fg.UniformPrior(0.5, 1.5))
        factors.append(fg.AnalysisFactor(model, analysis(y)))
    return fg.FactorGraphModel(*factors)


KINDS = [
    pytest.param(population, Reading, id="analytic"),
    pytest.param(population, Photometry, id="population"),
    pytest.param(shared_position, Photometry, id="joint", marks=pytest.mark.slow),
]


def compilations_of(graph):
    with count_compilations() as seen:
        graph.optimise()
    return seen.count


def compilations_afresh(graph):
    """The count with no kernel kept from any earlier graph."""
    jax.clear_caches()
    return compilations_of(graph)


@pytest.mark.parametrize(("kind", "analysis"), KINDS)
def test_more_datasets_do_not_compile_more(kind, analysis):
    few = compilations_afresh(kind(10, 0, analysis))
    assert compilations_of(kind(13, 2, analysis)) == 0, "of another size, of as few"
    many = compilations_afresh(kind(600, 0, analysis))
    assert few == many
    assert 0 < few <= MOST
    assert compilations_of(kind(600, 1, analysis)) == 0, "a second graph of the same kind"
    assert compilations_of(kind(700, 2, analysis)) == 0, "also of another size"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "analysis"), KINDS)
def test_ten_thousand_datasets_compile_like_ten(kind, analysis):
    few = compilations_afresh(kind(10, 0, analysis))
    assert compilations_afresh(kind(10_000, 0, analysis)) == few <= MOST
