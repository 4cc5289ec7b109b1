# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-fast real lint bench-ridge install clean

demo: install
	$(BIN)/brainenc run config/config.yaml --cores $(CORES)

test: install
	$(BIN)/python -m pytest

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

real: install
	$(BIN)/python -m pytest tests/real -v

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-ridge: install
	$(BIN)/python benchmarks/ridge/run.py
	$(BIN)/python benchmarks/ridge/memory.py
	$(BIN)/python benchmarks/ridge/memory.py --cortex

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed

clean:
	rm -rf results/demo .venv
