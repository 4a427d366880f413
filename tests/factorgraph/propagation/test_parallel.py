"""Sweeps settle where full steps would oscillate or diverge, and a step that cannot be taken is said."""

from __future__ import annotations

import numpy as np
import pytest

from factorgraph.propagation import parallel
from factorgraph.propagation.sweep import SweepInfo


class Line:
    """A fixed-point problem in place of a graph: the proposal for x is x - rate x."""

    def __init__(self, rates):
        self.rates = np.array(rates)

    def propose(self, graph, x, power):
        return -self.rates * x

    def take_step(self, graph, x, change, damping):
        new = x + damping * change
        return new, SweepInfo(0, 0.0, float(np.max(np.abs(new - x))), 0.0, damping, 0, 0)

    def run(self, monkeypatch, **settings):
        monkeypatch.setattr(parallel, "residual_of", lambda change: change)
        monkeypatch.setattr(parallel, "sites_of", lambda x: x)
        monkeypatch.setattr(parallel, "proposed_changes", lambda x, change: change)
        monkeypatch.setattr(parallel, "redirected", lambda x, change, new: new)
        monkeypatch.setattr(parallel, "take_step", self.take_step)
        settings = {"max_steps": 100, "min_steps": 0, "tolerance": 1e-8, "damping": 1.0, **settings}
        return parallel.run(None, np.ones(len(self.rates)), propose=self.propose, **settings)


@pytest.mark.parametrize("rate", [0.1, 0.6, 1.0, 1.7, 1.95, 2.5, 6.0])
def test_every_rate_settles(monkeypatch, rate):
    """Full steps oscillate for rates above one and diverge above two; beside a slow rate all by themselves are slow."""
    x, history, converged = Line([rate, 0.5 * rate, 0.05]).run(monkeypatch)
    assert converged
    assert np.max(np.abs(x)) < 1e-6
    assert len(history) < 30


def test_the_longest_step_is_the_one_asked_for(monkeypatch):
    _, history, _ = Line([0.5]).run(monkeypatch, damping=0.25)
    assert {info.damping for info in history} == {0.25}


def test_running_out_of_steps_is_said(monkeypatch):
    _, history, converged = Line([0.01, 0.02, 0.03, 0.9, 1.1, 1.5]).run(monkeypatch, max_steps=5)
    assert not converged
    assert len(history) == 5


def test_a_minimum_of_steps_goes_on_after_convergence(monkeypatch):
    _, history, converged = Line([1.0]).run(monkeypatch, min_steps=20)
    assert converged
    assert len(history) >= 20


def test_a_step_that_cannot_be_taken_ends_the_run(monkeypatch):
    line = Line([1.0])
    line.take_step = lambda graph, x, change, damping: (x, SweepInfo(0, 0.0, np.inf, 1.0, 0.0, 1, 0))
    _, history, converged = line.run(monkeypatch)
    assert not converged
    assert len(history) == 1
