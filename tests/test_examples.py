"""The examples run, each in a process of its own, and the README prints what it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICK = {"eight_schools"}
MOST_LINES = 150


def run(*arguments: str, folder: Path) -> str:
    """What a script prints, started in ``folder``."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def marked(path: Path) -> object:
    return pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("path", [marked(path) for path in EXAMPLES])
def test_an_example_runs_and_its_claims_hold(path: Path, tmp_path: Path) -> None:
    assert run(str(path), folder=tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_asks_a_question_and_asserts(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) <= MOST_LINES
    assert "?" in (ast.get_docstring(tree) or "").split("\n\n")[0]
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))


@pytest.mark.slow
def test_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(readme_blocks("python")))
    printed = run(str(script), folder=tmp_path)
    first, second = readme_blocks("text")
    assert printed.startswith(first)
    assert len(printed.splitlines()) == len((first + second).splitlines())  # nested sampling differs between machines
    assert (tmp_path / "schools.pdf").stat().st_size > 0


@pytest.mark.slow
def test_the_cells_of_the_first_page_run(tmp_path: Path) -> None:
    script = tmp_path / "start.py"
    page = (ROOT / "docs" / "start.md").read_text()
    script.write_text("\n".join(re.findall(r"```\{code-cell\}\n(.*?)```", page, re.DOTALL)))
    assert "converged" in run(str(script), folder=tmp_path)


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
