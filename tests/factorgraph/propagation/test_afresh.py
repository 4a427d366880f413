"""Integrals done once more over the posterior: right by themselves, and they mend an evidence that was wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import factorgraph as fg
from factorgraph.propagation.integral_errors import inner_errors, log_factors_corrected
from factorgraph.propagation.parallel import run
from factorgraph.propagation.preparation import prepare
from factorgraph.propagation.sweep import initial_state

NUM, PLANTED = 30, 0.7


class Place:
    def __init__(self, x=0.0):
        self.x = x


class HeavyTailed(fg.Analysis):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def log_likelihood_function(self, instance):
        return -jnp.log(jnp.pi) - jnp.log1p((self.y - instance.x) ** 2)


@pytest.fixture(scope="module")
def solved():
    """Data, the contracted graph of heavy-tailed measurements, and its state after the sweeps."""
    random = np.random.default_rng(3)
    y = random.normal(1.0, 2.5, NUM) + random.standard_cauchy(NUM)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.GammaPrior(2.0, 2.0))
    factors = []
    for value in y.tolist():
        model = fg.Model(Place)
        parent.add_drawn_variable(model.x)
        factors.append(fg.AnalysisFactor(model, HeavyTailed(value)))
    asked = fg.FactorGraphModel(*factors, parent)
    with jax.enable_x64(True):
        graph, start = prepare(asked.shared, asked.plates, asked.lanes, seed=0)
        state, _, _ = run(
            graph,
            initial_state(graph, start),
            max_steps=100,
            min_steps=0,
            tolerance=1e-8,
            damping=1.0,
        )
    return y, asked, graph, state


def test_against_a_grid(solved):
    y, asked, graph, state = solved
    (plate,) = (plate for plate in graph.plates if plate.plate.size == NUM)
    phi = state.phi_moments()[0] + 0.1 * np.array([[0.0, 0.0], [1.0, -1.0]])
    with jax.enable_x64(True):
        found = plate.afresh(plate.points_of(phi))
    mean, sigma = (shared.value(phi[:, i])[:, None] for i, shared in enumerate(asked.shared))
    x = np.linspace(-150.0, 150.0, 60_001)
    known = np.log(stats.cauchy.pdf(y[:, None], x) @ stats.norm.pdf(x, mean, sigma).T * (x[1] - x[0]))
    np.testing.assert_allclose(found.value, known, atol=2e-3)
    assert np.all(np.abs(found.value - known) < 10.0 * np.abs(found.error) + 1e-3)
    assert np.all(found.num_effective > 500.0)


def test_a_wrong_integral_is_mended(solved):
    _, _, graph, state = solved
    plates = [plate.plate.size for plate in graph.plates]
    number = plates.index(NUM)
    plate = graph.plates[number]
    with jax.enable_x64(True):
        before, _ = log_factors_corrected(graph, state, inner_errors(graph, state)[1])
        rule = plate._rules[0]
        spoiled = rule.log_scale + PLANTED * (np.arange(len(rule.log_scale)) == 4)
        plate._rules[0] = rule._replace(log_scale=spoiled)
        after, variances = log_factors_corrected(graph, state, inner_errors(graph, state)[1])
        plate._rules[0] = rule
    expected = np.zeros(NUM)
    expected[4] = -PLANTED
    np.testing.assert_allclose(after[number] - before[number], expected, atol=1e-9)
    assert np.all(np.abs(before[number]) < 0.01)
    assert np.all(variances[number] < 1e-4)
