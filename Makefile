# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-minimum test-newest slow lint bench docs figures dist clean

demo: $(VENV)/.demo
	$(BIN)/python experiments/few_labels.py --labels 50 --seeds 8 --method single equal olaux-log

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto

# Each in an environment of its own; ARGS="--core", ARGS="tests/run -x" and the like.
test-minimum:
	$(PYTHON) tests/stacks.py minimum $(ARGS)

test-newest:
	$(PYTHON) tests/stacks.py newest $(ARGS)

slow: $(VENV)/.test
	$(BIN)/python -m pytest -n auto -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.test
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/a2c.py

docs: $(VENV)/.docs
	$(BIN)/python docs/make.py

figures: $(VENV)/.docs
	$(BIN)/python docs/make.py --redraw

# The package as it would be uploaded, and whether an index would take it.
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV); this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[vision,plots]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

$(VENV)/.dist: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dist]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@
