"""``--peers`` runs the rivals beside us; the table of everything measured is printed at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import process

_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="run NumPyro NUTS on the same data too")
    parser.addoption("--large", action="store_true", help="a hundred thousand datasets too (ten minutes)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if lines := config.stash[_LINES]:
        terminalreporter.section("measured (CPU seconds; means off by, sds over, the exact ones)")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line to the table at the end."""
    return request.config.stash[_LINES].append


@pytest.fixture(scope="session")
def measure(shared: Path) -> Callable[..., dict[str, Any]]:
    """Run a script of this folder in a process of its own, once for the same arguments: what it printed as JSON."""

    @cache
    def run(module: str, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", str(shared.resolve()), *arguments]
        return process.measure(command)

    return run
