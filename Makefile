# Thin: each target calls one program that can be read and tested.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help venv check test unit cluster-up cluster-down demo demo-down

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

venv: .venv/.ready ## make .venv with the larder command in it

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

unit: venv ## unit tests only, seconds
	$(BIN)/pytest tests

cluster-up: venv ## a real Kubernetes on this machine (root, Debian 12)
	$(BIN)/python -m e2e.cluster up

cluster-down: venv ## remove every trace of it
	$(BIN)/python -m e2e.cluster down
