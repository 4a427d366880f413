"""The eight schools, solved once."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from factorgraph.results.result import Result
from tests.factorgraph.results.schools import Exact, Schools, exact, schools


class Solved(NamedTuple):
    schools: Schools
    result: Result
    exact: Exact


@pytest.fixture(scope="session")
def solved() -> Solved:
    asked = schools()
    return Solved(asked, asked.graph.optimise(seed=0), exact())
