# Everything here sets up .venv by itself, once, and again only when the lock or pyproject.toml changed: as much of it as
# the target needs, and all of it with `make setup`.

PIPELINE ?= auto-mpg
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What there is more of counts as well.
RUNS := $(firstword $(wildcard $(READY) $(VENV)/.ready-to-serve) $(VENV)/.ready-to-run)
SERVES := $(firstword $(wildcard $(READY)) $(VENV)/.ready-to-serve)
# The client of S3 where something is there.
hash := \#
STORAGE := $(if $(shell grep -ls '^[^$(hash)]*s3://' .dvc/config .dvc/config.local nbship.yaml pipelines/*.yaml),s3)

# Without bytecode, every first import costs three times as much; some shells export this.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run demo demo-drift quick test test-cluster check format lab bench compile notebooks ci-merge-request ci-merge ci-schedule lock clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## set up .venv from requirements.lock, with everything

$(READY): EXTRAS = dev gitlab lab mlflow monitor s3 serve sql vertex
$(VENV)/.ready-to-serve: EXTRAS = serve $(STORAGE)
$(VENV)/.ready-to-run: EXTRAS = $(STORAGE)
$(READY) $(VENV)/.ready-to-serve $(VENV)/.ready-to-run: requirements.lock pyproject.toml
	@scripts/setup $(VENV) $(EXTRAS)
	@touch $@

run: $(RUNS) ## train, judge and show a pipeline: make run PIPELINE=auto-mpg
	@$(BIN)/nbship run $(PIPELINE)

# Nothing is committed; Ctrl-C ends the server.
demo: $(SERVES) ## the same, then publish the model and serve it with its page: make demo PORT=8080
	@$(BIN)/nbship run $(PIPELINE)
	@$(BIN)/nbship publish $(PIPELINE)
	@$(BIN)/nbship serve $(PIPELINE) --port $(PORT)

# In a folder of its own; alerts are shown where Prometheus and its Alertmanager are installed.
demo-drift: $(READY) ## a model meets other cars than it learnt from: alert, monitor, labels, retrain, deploy: two minutes
	@$(BIN)/python -m demos.drift

quick: $(READY) ## the tests that need no kernel, no server and no model: a minute
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not processes"

test: check ## lint, types, compiled pipelines, notebooks, and all tests
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# A real API server: built from source by Go into a cache outside of this folder, some minutes, once.
test-cluster: $(READY) ## the tests on a real Kubernetes API server, which is built when it is not there
	@scripts/kube-apiserver
	$(BIN)/python -m pytest tests/cluster

check: $(READY) ## the checks that take seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbship schema --check
	$(BIN)/nbship compile --all --check
	$(BIN)/nbship lint

format: $(READY) ## format the code and clean the step notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbship lint --fix

compile: $(READY) ## compile all pipelines for Kubeflow
	$(BIN)/nbship compile --all

lab: $(READY) ## JupyterLab, with the warm kernel beside the ordinary one
	$(BIN)/jupyter lab

bench: $(READY) ## measure against plain Python, papermill, DVC, kfp.local and Ploomber
	$(BIN)/python -m benchmarks

# The jobs of .gitlab-ci.yml in this folder, with its .venv; JOBS names some of them. Needs npx and rsync.
# Rules see only the variables that are named here; there is no registry to push an image to.
CI_JOBS = npx --yes gitlab-ci-local@4.61.1 --force-shell-executor --state-dir .nbship/gitlab-ci-local \
	--variable NBSHIP_KUBEFLOW_HOST=$(NBSHIP_KUBEFLOW_HOST) --variable CI_REGISTRY= $(JOBS)
# What the merged commits are compared with; BASE= compares with what was trained last, and records what is.
BASE ?= HEAD~1

ci-merge-request: $(READY) ## the jobs of a merge request, on this machine
	@$(CI_JOBS) --variable CI_PIPELINE_SOURCE=merge_request_event

ci-merge: $(READY) ## the jobs after a merge: Kubeflow, then staging
	@$(CI_JOBS) --variable CI_PIPELINE_SOURCE=push --variable BASE=$(if $(BASE),$$(git rev-parse $(BASE)))

ci-schedule: $(READY) ## the jobs of a schedule: every pipeline on Kubeflow
	@$(CI_JOBS) --variable CI_PIPELINE_SOURCE=schedule

lock: $(READY) ## renew both locks from pyproject.toml
	@scripts/lock $(BIN)

clean: ## remove .venv, caches and runs; tracked data and models stay
	rm -rf $(VENV) .nbship runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
