"""Digests see what changes an answer, and nothing else."""

from __future__ import annotations

import enum
import functools
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.checkpoint.digest import digest_of
from tests.conftest import ROOT
from tests.factorgraph.checkpoint.survey import Counts, survey


class Color(enum.Enum):
    red = 1
    blue = 2


@dataclass(frozen=True)
class Telescope:
    diameter: float
    name: str = "A"


FACTOR = 2.0


def with_factor(x):
    return FACTOR * x


def made(source: str):
    scope: dict = {"__name__": "a_script", "np": np}
    exec(textwrap.dedent(source), scope)
    return scope["f"]


DIFFERENT = [
    (1, 1.0),
    (0.0, -0.0),
    (True, 1),
    ("a", b"a"),
    ((1, 2), [1, 2]),
    ((1, (2,)), ((1, 2),)),
    ({"a": 1}, {"a": 2}),
    (np.arange(3), np.arange(3.0)),
    (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.float32(1), np.float64(1)),
    (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
    (np.array(["a"]), np.array(["b"])),
    (Telescope(1.0), Telescope(2.0)),
    (Color.red, Color.blue),
    (functools.partial(max, 1), functools.partial(max, 2)),
    (np.sin, np.cos),
    (fg.GaussianPrior(0.0, 1.0), fg.GaussianPrior(0.0, 2.0)),
    (made("def f(x):\n    return x + 1"), made("def f(x):\n    return x + 2")),
    (made("def f(x, y=1):\n    return x"), made("def f(x, y=2):\n    return x")),
    (made("def f(x):\n    return x.mean()"), made("def f(x):\n    return x.sum()")),
    (made("c = 1.0\ndef f(x):\n    return c * x"), made("c = 2.0\ndef f(x):\n    return c * x")),
    (made("def g(x): return x\ndef f(x):\n    return g(x)"), made("def g(x): return -x\ndef f(x):\n    return g(x)")),
    (made("class f:\n    def g(self): return 1"), made("class f:\n    def g(self): return 2")),
    (made("class f:\n    unit = 1"), made("class f:\n    unit = 2")),
]

EQUAL = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({3, 1, 2}, {2, 3, 1}),
    (Telescope(1.0), Telescope(1.0)),
    (fg.GaussianPrior(0.0, 1.0), fg.GaussianPrior(0.0, 1.0)),
    (np.arange(6).reshape(2, 3)[:, ::-1], np.arange(6).reshape(2, 3)[:, ::-1].copy()),
    (made('def f(x):\n    "Says."\n    return x'), made('\n\ndef f(x):\n    "Says more."  # and more\n    return x')),
    (made("seen = []\ndef f(x):\n    seen.append(x)"), made("seen = [1]\ndef f(x):\n    seen.append(x)")),
]


@pytest.mark.parametrize("pair", DIFFERENT, ids=lambda pair: str(pair)[:40])
def test_what_differs_has_another_digest(pair):
    assert digest_of(pair[0]) != digest_of(pair[1])


@pytest.mark.parametrize("pair", EQUAL, ids=lambda pair: str(pair)[:40])
def test_what_means_the_same_has_the_same(pair):
    assert digest_of(pair[0]) == digest_of(pair[1])


def test_things_that_hold_each_other_have_one():
    ring: list = [1]
    ring.append(ring)
    node = type("Node", (), {})()
    node.self = node
    assert digest_of(ring, node) == digest_of(ring, node)


def test_it_is_the_same_in_another_process():
    """Hashes of strings, addresses and tokens of variables are not; nor is which equal tuples are one object."""
    script = """
        from tests.factorgraph.checkpoint.test_digest import of_a_graph
        print(of_a_graph())
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}
    run = [sys.executable, "-c", textwrap.dedent(script)]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, env=environment).stdout
    assert said.strip() == of_a_graph()


def of_a_graph():
    return digest_of([plate.signature for plate in survey().plates], Counts, {"a", "b", "c"}, {(1, 2): (1, 2)})
