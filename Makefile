# The two commands of the README. Each needs nothing but Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Torch's threads spin while they wait; passive waiting keeps two busy processes from starving each other.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test setup lint types layers clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/python -m msifr_integrations.demo --out demo

test: setup
	$(BIN)/python -m pytest tests

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[transformers,math,json-schema,dev]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

clean:
	rm -rf demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
