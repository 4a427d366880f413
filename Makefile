# Every target does its own set-up: a virtual environment in the checkout, made once and reused.
# Needs: Python >= 3.11, make, and a C compiler (UltraNest has no wheel). Choose another Python with `make PYTHON=...`.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is written by the first import of a module, not for every module of every package on installation (30 s).
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --editable
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup test demo slow long bench lint format docs clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' $(MAKEFILE_LIST)

# What runs the library, and what checks it, by a stamp each.
$(VENV)/.run: pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; say where: make PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP_INSTALL) '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP_INSTALL) '.[dev,bench]'
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP_INSTALL) '.[dev,docs]'
	@touch $@

setup: $(VENV)/.dev  ## the virtual environment, with everything that tests need

test: lint  ## lint, types, and every test of a few seconds
	$(BIN)/python -m pytest -q -m "not slow and not long"

demo: $(VENV)/.run  ## from a survey to a population posterior and its picture, in a minute or two
	$(BIN)/python examples/demo.py

slow: $(VENV)/.dev  ## the tests of up to a minute or two (half an hour)
	$(BIN)/python -m pytest -q -m slow

long: $(VENV)/.dev  ## the tests of minutes: every data set, calibration over many surveys
	$(BIN)/python -m pytest -q -m long

# The page is written although a limit was missed: a busy machine misses them.
bench: $(VENV)/.bench  ## time and error against size, into docs/speed.md; BENCH=--peers runs the rivals too, BENCH=--large 100,000
	$(BIN)/python -m pytest -q tests/benchmarks $(BENCH); failed=$$?; \
	$(BIN)/python docs/make_speed.py ../shared $(BENCH) && exit $$failed

lint: $(VENV)/.dev  ## ruff and mypy (the import contracts are tests: tests/test_layers.py)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --no-error-summary

format: $(VENV)/.dev  ## put the source into ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  ## the documentation, executed, into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find factorgraph messages searches tests examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
