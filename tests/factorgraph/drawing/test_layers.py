"""Ranks, and positions along a rank."""

from itertools import pairwise

import pytest

from factorgraph.drawing.layers import Link, positions, ranks


def test_ranks_follow_the_longest_path_and_sources_stay_close():
    arcs = [("mu", "parent"), ("parent", "plate"), ("shared", "plate")]
    assert ranks(["mu", "parent", "plate", "shared"], arcs) == {"mu": 0, "parent": 1, "plate": 2, "shared": 1}


def test_last_items_share_the_lowest_rank():
    arcs = [("mu", "parent"), ("parent", "plate"), ("mu", "island")]
    assert ranks(["mu", "parent", "plate", "island"], arcs, last=["plate", "island"])["island"] == 2


def test_a_cycle_is_broken():
    rank = ranks(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")])
    assert rank == {"a": 0, "b": 1, "c": 2}


def test_a_centred_fan_and_nothing_overlaps():
    top, extents = ["a", "b", "c"], dict.fromkeys("abcf", (0.5, 0.7))
    x = positions([top, ["f"]], extents, [Link(t, 0.0, "f", 0.0) for t in top], {}, gap=0.1, limit=10.0)
    ordered = sorted(x[t] for t in top)
    assert all(right - left >= 0.5 + 0.7 + 0.1 - 1e-9 for left, right in pairwise(ordered))
    assert x["f"] == pytest.approx(sum(ordered) / 3, abs=0.05)


def test_order_removes_the_crossing():
    links = [Link("a", 0.0, "d", 0.0), Link("b", 0.0, "c", 0.0)]
    x = positions([["a", "b"], ["c", "d"]], dict.fromkeys("abcd", (0.1, 0.1)), links, {}, gap=0.1, limit=10.0)
    assert (x["a"] - x["b"]) * (x["d"] - x["c"]) > 0
