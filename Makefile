# Everything here sets up .venv by itself, once, and again only when the lock or pyproject.toml changed.

PIPELINE ?= auto-mpg
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without bytecode, every first import costs three times as much; some shells export this.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test check format lab bench compile notebooks lock clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## set up .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@scripts/setup $(VENV)

run: $(READY) ## train, judge and show a pipeline: make run PIPELINE=auto-mpg
	@$(BIN)/nbship run $(PIPELINE)

test: check ## lint, types, compiled pipelines, notebooks, and all tests
	$(BIN)/python -m pytest

check: $(READY) ## the checks that take seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbship schema --check
	$(BIN)/nbship compile --all --check
	$(BIN)/python scripts/check_notebooks.py

format: $(READY) ## format the code and clean the step notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/check_notebooks.py --fix

compile: $(READY) ## compile all pipelines for Kubeflow
	$(BIN)/nbship compile --all

lab: $(READY) ## JupyterLab, with the warm kernel beside the ordinary one
	$(BIN)/jupyter lab

bench: $(READY) ## measure against plain Python, papermill, DVC, kfp.local and Ploomber
	$(BIN)/python -m benchmarks

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@scripts/lock $(BIN)

clean: ## remove .venv, caches and runs; tracked data and models stay
	rm -rf $(VENV) .nbship runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
