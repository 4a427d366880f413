"""Graphs of every kind keep what they need: joint integrals, fields, searches, likelihoods that read what is shared."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.checkpoint import store
from factorgraph.propagation import blocks
from tests.factorgraph.checkpoint.survey import COUNTS, CalledCounts, Counts, same, survey
from tests.factorgraph.propagation.test_joint import data, graph

pytestmark = pytest.mark.slow


def joint():
    return graph(*data(0.4, 3), 0.4)[0], {}


def searched():
    return survey(COUNTS[:8]), {"optimiser": fg.LaplaceOptimiser()}


def shared_rate(analysis):
    """Likelihoods that read a shared variable beside their own, and parents that do too."""
    offset = fg.GaussianPrior(0.0, 0.5)
    parent = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(0.0, 3.0), sigma=fg.HalfNormalPrior(2.0))
    factors = []
    for count in COUNTS[:4]:
        model = fg.Model(Offset, offset=offset)
        parent.add_drawn_variable(model.own)
        factors.append(fg.AnalysisFactor(model, analysis(count)))
    return fg.FactorGraphModel(*factors, parent), {}


class Offset:
    def __init__(self, own, offset):
        self.log_rate = own + offset


def clusters():
    """Sixteen clusters of three stars each, whose centres are a field."""
    galaxy = fg.HierarchicalFactor(fg.GaussianPrior, mean=fg.GaussianPrior(1.0, 2.0), sigma=fg.HalfNormalPrior(1.0))
    parents, factors = [galaxy], []
    for row in np.resize(COUNTS, (16, 3)):
        centre = fg.Variable("centre")
        galaxy.add_drawn_variable(centre)
        parents.append(fg.HierarchicalFactor(fg.GaussianPrior, mean=centre, sigma=0.7))
        for count in row:
            model = fg.Model(Star)
            parents[-1].add_drawn_variable(model.log_rate)
            factors.append(fg.AnalysisFactor(model, Counts(count)))
    return fg.FactorGraphModel(*factors, *parents), {}


class Star:
    def __init__(self, log_rate):
        self.log_rate = log_rate


class Killed(BaseException):
    pass


def numbers_of(result):
    found = result._solution
    numbers = {"draws": found.draws, "mean": found.answer.mean, "evidence": np.array([found.answer.log_evidence])}
    return numbers | {f"calls_{k}": plate.num_calls for k, plate in enumerate(found.plates)}


KINDS = {
    "joint": joint,
    "searched": searched,
    "called": lambda: shared_rate(CalledCounts),
    "shared": lambda: shared_rate(Counts),
    "clusters": clusters,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_killed_twice_and_finished(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_SIZES", (8,))
    monkeypatch.setattr(store, "_SHORTEST", 0.0)
    monkeypatch.setattr(store, "_LONGEST", 0.0)
    CalledCounts.log = ""
    made = KINDS[kind]

    def solved(checkpoint):
        graph, settings = made()
        return numbers_of(graph.optimise(checkpoint=checkpoint, **settings))

    whole = solved(None)
    assert same(solved(tmp_path / "whole"), whole)
    num = len(list((tmp_path / "whole").glob("*.pieces")))
    assert num >= 3
    for _ in range(2):
        left, write = [num // 3], store.write

        def write_or_die(path, entries, left=left, write=write):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            write(path, entries)

        with monkeypatch.context() as patch:
            patch.setattr(store, "write", write_or_die)
            patch.setattr(store.Store, "close", lambda store: setattr(store, "is_open", False))
            with pytest.raises(Killed):
                solved(tmp_path / "run")
    assert same(solved(tmp_path / "run"), whole)
    assert len(list((tmp_path / "run").glob("*.pieces"))) == num
    files = sorted((tmp_path / "run").iterdir())
    assert same(solved(tmp_path / "run"), whole)
    assert sorted((tmp_path / "run").iterdir()) == files
