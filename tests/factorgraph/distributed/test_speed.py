"""What a second worker is worth, where the likelihood is slow plain Python."""

from __future__ import annotations

import time

import pytest

import factorgraph as fg
from tests.factorgraph.distributed import calls
from tests.factorgraph.distributed.surveys import survey


def seconds_of(workers):
    """Wall time of 200 datasets whose likelihood takes a millisecond, once the workers are up and have compiled."""
    with fg.SpawnPool(workers) as pool:
        list(pool.map(calls.sleeps, [0.5] * workers))
        survey(num=4 * workers).optimise(executor=pool, correct=False)
        graph = survey(num=200, seconds=1e-3)
        began = time.perf_counter()
        graph.optimise(executor=pool, correct=False, max_steps=2)
        return time.perf_counter() - began


@pytest.mark.long
def test_two_workers_are_nearly_twice_as_fast_as_one():
    one, two = seconds_of(1), seconds_of(2)
    assert one / two >= 1.7, (one, two)
