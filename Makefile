# Thin: each target calls one program that can be read and tested.
PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help venv check render test unit churn replay cluster-up cluster-down demo demo-down bench-cache bench-fleet bench-calibration bench-plan bench-coldstart bench-gateway bench-gateway-instructions bench-streams bench-scale

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

venv: .venv/.ready ## make .venv with the larder command in it

# Debian's python3.11 comes without the part of venv that brings pip.
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3.11-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

check: venv ## style, types, layers, chart and custom resources in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy operator/larder e2e tools benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m tools.render --check

render: venv ## put the custom resources into the chart, and the chart into manifests/
	$(BIN)/python -m tools.render

unit: venv ## unit tests only, seconds
	$(BIN)/pytest -n auto tests

cluster-up: venv ## a real Kubernetes on this machine (root, Debian 12)
	$(BIN)/python -m e2e.cluster up

cluster-down: venv ## remove every trace of it
	$(BIN)/python -m e2e.cluster down

demo: venv ## three models served from memory for two, on a real cluster (this machine's, or yours with KUBECONFIG)
	$(BIN)/python -m e2e.demo up

demo-down: venv ## remove what the demo made
	$(BIN)/python -m e2e.demo down

test: venv ## everything, each suite within its share of the time (CONTRIBUTING.md)
	$(BIN)/python -m e2e.suites

churn: venv ## 100,000 requests while everything happens to a pool (an hour; goes on where it was interrupted)
	$(BIN)/python -m e2e.churn

replay: venv ## a real trace against the cluster and through the simulator, side by side (fifteen minutes)
	$(BIN)/python -m e2e.replay $(ARGS)

fuzz: venv ## hostile input against a gateway and its parsers (a short form is part of `make test`)
	$(BIN)/python -m tests.fuzz $(FUZZ)
	$(BIN)/python -m tests.fuzz.parsers

bench-coldstart: venv ## what a cold request costs over Triton's own load, and of what (ten minutes)
	$(BIN)/python -m benchmarks.coldstart

bench-gateway: venv ## what the gateway costs a hot request, over a plain Envoy and direct (ten minutes; root)
	$(BIN)/python -m benchmarks.gateway

bench-gateway-instructions: venv ## where the gateway's CPU goes, counted rather than timed (five minutes; root)
	$(BIN)/python -m benchmarks.gateway_instructions

bench-streams: venv ## what ModelStreamInfer costs through the activator
	$(BIN)/python -m benchmarks.streams

bench-cache: venv ## Larder against every classical cache policy (an hour on one core; ARGS="--jobs 1")
	$(BIN)/python -m benchmarks.cache --plot docs/images/policies.png $(ARGS)

bench-fleet: venv ## pod-hours of Larder, ModelMesh-like, KEDA-like and static fleets
	$(BIN)/python -m benchmarks.fleet

bench-calibration: venv ## predicted against simulated attainment
	$(BIN)/python -m benchmarks.calibration

bench-plan: venv ## time of a full plan and of one cold request at 10,000 models x 1,000 pods, and how it grows
	$(BIN)/python -m benchmarks.plan --plot docs/images/plan.png

bench-scale: venv ## the operator with 10,000 Models on 100 pods: memory, start, API writes, decisions (ten minutes; root)
	$(BIN)/python -m benchmarks.operator_scale $(ARGS)
