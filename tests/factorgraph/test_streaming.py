"""New datasets join a solved graph, and others leave it: the answer is that of a run over the whole, for a part of its
cost."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import factorgraph as fg
from factorgraph.errors import GraphError
from factorgraph.results.search_result import SearchResult
from tests.benchmarks.survey import simulated, survey

SHARED = Path(__file__).resolve().parents[3] / "shared"
N, MORE = 30, 5


class Blob:
    def __init__(self, centre=0.0, width=fg.TruncatedGaussianPrior(1.0, 0.3, lower_limit=0.0, upper_limit=np.inf)):
        self.centre, self.width = centre, width


class Shape(fg.Analysis):
    """A line at its centre, of a width; no Gaussian likelihood."""

    def __init__(self, y, x):
        super().__init__()
        self.y, self.x = y, x

    def log_likelihood_function(self, instance):
        model = jnp.exp(-0.5 * ((self.x - instance.centre) / instance.width) ** 2)
        return -0.5 * jnp.sum((self.y - model) ** 2) / 0.2**2


class Called(fg.Analysis):
    """The same without JAX; writes down whose data it is called with."""

    calls: dict[float, int] = {}

    def __init__(self, y, x):
        super().__init__()
        self.y, self.x = y, x

    def log_likelihood_function(self, instance):
        self.calls[float(self.y[0])] = self.calls.get(float(self.y[0]), 0) + 1
        model = np.exp(-0.5 * ((self.x - float(instance.centre)) / float(instance.width)) ** 2)
        return -0.5 * float(np.sum((np.asarray(self.y) - model) ** 2)) / 0.2**2


@cache
def data(num=N + MORE):
    rng = np.random.default_rng(5)
    x = np.linspace(-6.0, 6.0, 24)
    centre, width = 0.5 + rng.normal(size=num), np.abs(1.0 + 0.2 * rng.normal(size=num))
    return x, np.exp(-0.5 * ((x - centre[:, None]) / width[:, None]) ** 2) + 0.2 * rng.normal(size=(num, len(x)))


def population():
    return fg.HierarchicalFactor(
        fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 2.0), sigma=fg.TruncatedGaussianPrior(1.0, 0.5, 0.0, np.inf)
    )


def datasets(parent, rows, analysis=Shape, names=True):
    x, y = data()
    found = []
    for row in rows:
        model = fg.Model(Blob)
        parent.add_drawn_variable(model.centre)
        found.append(fg.AnalysisFactor(model, analysis(y[row], x), name=f"galaxy_{row}" if names else None))
    return found


@cache
def solved(num, analysis=Shape):
    """A graph of the first ``num`` datasets; with its parent."""
    parent = population()
    return parent, fg.FactorGraphModel(*datasets(parent, range(num), analysis), parent).optimise(seed=1)


def assert_equal_answers(found, parent, whole, its_parent, tolerance=0.01):
    """Means within a hundredth of a standard deviation, these within one per cent, the evidence as well as it says."""
    ours, theirs = found.mean_field, whole.mean_field
    for mine, other in ((parent.mean, its_parent.mean), (parent.sigma, its_parent.sigma)):
        assert abs(ours.mean[mine] - theirs.mean[other]) < tolerance * theirs.scale[other]
        assert ours.scale[mine] == pytest.approx(theirs.scale[other], rel=tolerance)
    error = np.hypot(found.log_evidence_error, whole.log_evidence_error)
    assert abs(found.log_evidence - whole.log_evidence) < max(3.0 * error, 0.02)
    assert found.converged
    assert found.is_corrected == whole.is_corrected


def private_means(result, names):
    return np.array([[result[name].mean_field.mean[v] for v in result[name].model.variables] for name in names])


# --- more datasets ---


def test_an_update_is_the_run_over_all():
    parent, first = solved(N)
    its_parent, whole = solved(N + MORE)
    before, draws = first.log_evidence, first.draws.copy()
    new = datasets(parent, range(N, N + MORE))
    found = first.update(new)
    assert_equal_answers(found, parent, whole, its_parent)
    assert found.taken_over == tuple(f"galaxy_{row}" for row in range(N))
    assert "explored earlier: 30 of 35" in found.info
    assert tuple(found.status) == tuple(whole.status)
    np.testing.assert_allclose(
        [r.instance.centre for r in found], [r.instance.centre for r in whole], atol=0.01 * 0.2, rtol=0.0
    )
    again = first.update(new)  # deterministic, and the first result is as it was
    assert again.log_evidence == found.log_evidence
    np.testing.assert_array_equal(again.draws, found.draws)
    assert first.log_evidence == before
    np.testing.assert_array_equal(first.draws, draws)
    assert first["galaxy_3"].instance.centre == pytest.approx(found["galaxy_3"].instance.centre, abs=0.05)


def test_less_datasets_are_the_run_over_the_others():
    parent, whole = solved(N + MORE)
    its_parent, first = solved(N)
    left_out = [f"galaxy_{row}" for row in range(N, N + MORE)]
    found = whole.without(left_out)
    assert_equal_answers(found, parent, first, its_parent)
    assert len(found) == N
    assert len(found.taken_over) == N
    assert len(whole) == N + MORE
    back = found.update(datasets(parent, range(N, N + MORE)))
    assert_equal_answers(back, parent, whole, parent)


def test_one_dataset_and_its_absence():
    parent, first = solved(N)
    new = datasets(parent, [N])[0]
    found = first.update(new).without("galaxy_30")
    assert_equal_answers(found, parent, first, parent)


def test_a_posterior_that_moves_far_is_explored_again():
    """Nine datasets know little; those that come are elsewhere and many."""
    x, _ = data()
    rng = np.random.default_rng(2)
    centre = np.concatenate([rng.normal(size=9) - 3.0, rng.normal(size=21) * 0.3 + 3.0])
    y = np.exp(-0.5 * (x - centre[:, None]) ** 2) + 0.2 * rng.normal(size=(30, len(x)))

    def made(parent, rows):
        found = []
        for row in rows:
            model = fg.Model(Blob)
            parent.add_drawn_variable(model.centre)
            found.append(fg.AnalysisFactor(model, Shape(y[row], x), name=f"galaxy_{row}"))
        return found

    parent, its_parent = population(), population()
    first = fg.FactorGraphModel(*made(parent, range(9)), parent).optimise()
    found = first.update(made(parent, range(9, 30)))
    whole = fg.FactorGraphModel(*made(its_parent, range(30)), its_parent).optimise()
    assert_equal_answers(found, parent, whole, its_parent)


def test_unnamed_datasets_keep_their_numbers():
    parent = population()
    first = fg.FactorGraphModel(*datasets(parent, range(12), names=False), parent).optimise()
    less = first.without(["dataset_3", "dataset_11"])
    assert tuple(less.status) == tuple(f"dataset_{k}" for k in range(12) if k not in (3, 11))
    more = less.update(datasets(parent, [20], names=False))
    assert tuple(more.status)[-1] not in tuple(less.status)
    assert len(more.taken_over) == 10


# --- declared plates ---


@pytest.mark.slow
def test_plates_grow_and_shrink():
    x, y = data()
    names = [f"galaxy_{row}" for row in range(N + MORE)]

    def plate(model, rows):
        return fg.Plate(
            model, Shape, {"y": y[rows], "x": np.tile(x, (len(rows), 1))}, names=[names[row] for row in rows]
        )

    its_parent, whole = solved(N + MORE)
    model, parent = fg.Model(Blob), population()
    parent.over(model.centre)
    first = fg.FactorGraphModel(plate(model, np.arange(N)), parent).optimise(seed=1)
    found = first.update(plate(model, np.arange(N, N + MORE)))
    assert_equal_answers(found, parent, whole, its_parent)
    assert found.taken_over == tuple(names[:N])
    assert found.mean_field.mean[model.centre].shape == (N + MORE,)
    less = found.without([names[2], names[N + 1]])
    assert len(less.taken_over) == N + MORE - 2
    assert less.mean_field.mean[model.centre].shape == (N + MORE - 2,)
    mixed = first.update(datasets(parent, range(N, N + MORE)))  # datasets one by one beside a plate
    assert_equal_answers(mixed, parent, whole, its_parent)


# --- likelihoods that are called ---


def test_old_datasets_are_not_explored_again():
    Called.calls.clear()
    parent = population()
    first = fg.FactorGraphModel(*datasets(parent, range(6), Called), parent).optimise()
    before = dict(Called.calls)
    new = datasets(parent, [6], Called)
    Called.calls.clear()
    found = first.update(new)
    _, y = data()
    assert Called.calls[float(y[6, 0])] > 500
    old = [Called.calls.get(float(y[row, 0]), 0) for row in range(6)]
    assert sum(old) <= 6  # whether JAX can trace it is asked of the first
    assert min(before.values()) > 500
    its_parent = population()
    whole = fg.FactorGraphModel(*datasets(its_parent, range(7), Called), its_parent).optimise()
    assert_equal_answers(found, parent, whole, its_parent)


# --- what cannot be ---


def test_misuse_is_explained():
    parent, first = solved(N)
    with pytest.raises(GraphError, match="no dataset 'galaxi_7'.*Did you mean 'galaxy_7'"):
        first.without("galaxi_7")
    with pytest.raises(GraphError, match="all 30 datasets"):
        first.without([f"galaxy_{row}" for row in range(N)])
    with pytest.raises(GraphError, match="no name is given"):
        first.without([])
    with pytest.raises(GraphError, match="no new dataset"):
        first.update([])
    with pytest.raises(GraphError, match="name of one that is in the graph already, such as 'galaxy_4'"):
        first.update(datasets(population(), [4]))
    with pytest.raises(GraphError, match="got Model"):
        first.update(fg.Model(Blob))
    with pytest.raises(GraphError, match="got int"):
        first._graph.optimise(earlier=3)
    with pytest.raises(GraphError, match="exclude each other"):
        first._graph.optimise(earlier=first, checkpoint="nowhere")


def test_a_search_has_nothing_to_go_on_from():
    found = object.__new__(SearchResult)
    for change in (found.update, found.without):
        with pytest.raises(GraphError, match="results of graph.optimise"):
            change("galaxy_1")


# --- a survey ---


@pytest.mark.slow
def test_a_survey_grows_for_a_part_of_its_cost():
    """One per cent more of a thousand datasets: the CPU time of both, when everything is compiled."""
    if not (SHARED / "benchmarks").is_dir():
        pytest.skip("the simulated survey is not there")
    num, more = 1000, 10
    numbers = simulated(SHARED, num + more, 7)
    whole = survey(numbers, "hier")
    survey({**numbers, "y_hier": numbers["y_hier"][:num]}, "hier").graph.optimise()
    names = whole.graph.dataset_names[-more:]
    began = time.process_time()
    fresh = whole.graph.optimise()
    cost = time.process_time() - began
    first = fresh.without(names)
    factors = whole.graph.factors[-more:]
    first.update(list(factors))  # compiles
    began = time.process_time()
    found = first.update(list(factors))
    ratio = (time.process_time() - began) / cost
    assert len(found.taken_over) == num
    a, b = whole.posterior(found), whole.posterior(fresh)
    for name in ("mu", "tau"):
        assert abs(a.mean[name] - b.mean[name]) < 0.01 * b.scale[name]
        assert a.scale[name] == pytest.approx(b.scale[name], rel=0.01)
    assert abs(a.log_evidence - b.log_evidence) < max(found.log_evidence_error, 0.05)
    print(f"an update of 1 % costs {100 * ratio:.0f} % of a run over all")
    assert ratio < 0.3
