# PYTHON is any Python from 3.11 on. TORCH is what pip is asked for first and by itself (options
# included), so that the build for this machine, CPU or CUDA, can be chosen.
PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
LLAMACPP := $(VENV)/.llamacpp

.DEFAULT_GOAL := help
.PHONY: help install llamacpp demo test lint check format bench wheel-test

help:  ## This list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(INSTALLED)  ## Make .venv with everything in it

# Without the parts that nothing here uses the build takes 5 minutes of two cores.
llamacpp: $(LLAMACPP)  ## Add llama.cpp to .venv (builds it), so that its tests run too

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
