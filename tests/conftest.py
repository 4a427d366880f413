"""What every test may ask for: the published data beside the checkout, and a count of compilations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import settings

from tests.compilations import Compilations, count_compilations

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published data and reference posteriors, ``shared`` beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the reference data lie in a folder 'shared' beside the checkout, and there is none")
    return folder


@pytest.fixture
def compilations() -> Iterator[Compilations]:
    """The compilations of this test so far (``compilations.count``)."""
    with count_compilations() as seen:
        yield seen


@pytest.fixture(name="count_compilations")
def compilation_counter() -> Callable[[], AbstractContextManager[Compilations]]:
    """A context manager that counts the compilations inside its block."""
    return count_compilations
