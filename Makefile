# The two commands of the README are `make demo` and `make test`; each makes .venv and needs only Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test check format lint types contracts tests slow clean

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest -q -m "not slow"

check: format lint types contracts tests

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

# Engines in a process of their own: their libraries bring threads and memory that other tests should not meet.
tests: $(READY)
	$(BIN)/python -m pytest -q tests/engines
	$(BIN)/python -m pytest -q --ignore=tests/engines

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("vitpose needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
