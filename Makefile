# Two commands do everything on a fresh machine: `make demo` and `make test`. The rest is `make help`.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DIR ?= ../shared/vectors
AREA ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz conformance check generate vectors bench bench-cluster docs lock clean

help: ## List what can be made.
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on PATH; install Python 3.11 or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.ready ## Make the virtual environment from the lock file.

demo: setup ## Co-locate a service and batch jobs on this machine and print what happened.
	$(BIN)/koord demo

test: setup ## Pass all tests (installs Debian packages that tests need when root).
	./scripts/install-test-deps
	$(BIN)/python -m pytest

fuzz: setup ## Look for new failures: random examples for every property, five minutes of made-up requests (SEED=<n> repeats them).
	KOORD_HYPOTHESIS_PROFILE=explore KOORD_FUZZ_SECONDS=300 KOORD_FUZZ_SEED=$${SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest -m "hypothesis or fuzz"

conformance: setup ## State what a store does as tests: in memory, embedded, and at KOORD_CONFORMANCE_KUBECONFIG if set.
	$(BIN)/python -m pytest tests/conformance

check: setup ## Lint, types, layering, stale generated files.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m koordinator.api.crds deploy/crds --check
	$(BIN)/python -m koordinator.api.reference docs/reference --check
	$(BIN)/python -m koordinator.cli.reference docs/reference/cli.md --check

generate: setup ## Write generated files afresh: CRDs and the protocol's reference pages.
	$(BIN)/python -m koordinator.api.crds deploy/crds
	$(BIN)/python -m koordinator.api.reference docs/reference

vectors: setup ## Run protocol vectors: DIR=<folder> [AREA=<area>].
	$(BIN)/python -m tests.vectors.run --dir "$(DIR)" $(if $(AREA),--area $(AREA))

bench: setup ## Run every benchmark; `make bench-<name>` runs one: [ONLY=<part of a figure's name>] [SECONDS=<for each>].
	$(BIN)/python -m benchmarks

bench-cluster: setup ## Measure the embedded cluster at size, side by side with etcd where that can be had.
	./scripts/install-bench-deps
	$(BIN)/python -m benchmarks cluster

bench-%: setup
	$(BIN)/python -m benchmarks $* $(if $(ONLY),--only "$(ONLY)") $(if $(SECONDS),--seconds $(SECONDS))

docs: setup ## Write generated documentation afresh.
	$(BIN)/python -m koordinator.cli.reference docs/reference/cli.md

lock: setup ## Write requirements/*.txt afresh from pyproject.toml.
	./scripts/lock

clean: ## Remove what setup, tests and demo left behind.
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis
