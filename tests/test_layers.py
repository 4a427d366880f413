"""Imports point one way, the front door is light, and no file knows the machine it was written on."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGES = ("factorgraph", "searches", "messages")
LOADED_ON_USE = ("arviz", "blackjax", "dynesty", "graphviz", "h5py", "jax", "matplotlib", "networkx", "pandas")
LOADED_ON_USE += ("scipy", "ultranest", "xarray")
FOLDERS_OF_A_MACHINE = re.compile(r"(?<![\w.$~}])/(home|Users|root|work|workspace|mnt|scratch)/\w")
VAGUE_NAMES = {"utils", "helpers", "common", "misc", "core", "base"}


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level modules in ``sys.modules`` of a fresh interpreter after ``statement``."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return set(json.loads(run.stdout))


def tracked_files() -> list[str]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git checkout")
    return [name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def source_files():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_import_contracts_hold():
    """In a process of its own: absl, which BlackJAX imports, logs to the stderr that pytest had put in place when it was
    imported, and the linter does not survive that this is closed by now."""
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-logo', '--no-cache'])"
    run = subprocess.run([sys.executable, "-c", linter], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_import_factorgraph_loads_nothing_heavy():
    loaded = modules_loaded_by("import factorgraph")
    assert "factorgraph" in loaded
    assert loaded.isdisjoint(LOADED_ON_USE), sorted(loaded.intersection(LOADED_ON_USE))


def test_no_file_names_a_folder_of_somebodys_machine():
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in tracked_files()
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), start=1)
        if FOLDERS_OF_A_MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT)) for path in source_files() if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent


def test_no_module_is_named_after_nothing():
    assert not [str(path.relative_to(ROOT)) for path in source_files() if path.stem in VAGUE_NAMES]


def test_no_module_changes_a_setting_of_jax_or_of_warnings_for_its_importer():
    changed = re.compile(r"^jax\.config\.update|^(warnings\.(simplefilter|filterwarnings))", re.MULTILINE)
    assert not [str(path.relative_to(ROOT)) for path in source_files() if changed.search(path.read_text())]


@pytest.mark.parametrize("folder", PACKAGES)
def test_types_are_shipped(folder):
    assert (ROOT / folder / "py.typed").is_file()
