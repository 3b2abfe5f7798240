# Each target is a thin line over the lab command; `make` alone lists them.
# Needs git, make and Python 3.11 or newer; everything else it sees to itself.

PYTHON ?= python3
VENV := .venv
LAB := $(VENV)/bin/lab
TOPOLOGY ?= textbook
S ?= delivery
NODE ?= sender-mail

.DEFAULT_GOAL := help
.PHONY: help lab-up lab-down status scenarios scenario watch report faults soak capture doctor images test test-unit lint docs lock bench

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab-up: $(VENV)/lab ## Put the lab up, ready to use (TOPOLOGY=textbook); installs what is missing
	@$(LAB) up --fix $(TOPOLOGY)
	@echo "next: . $(VENV)/bin/activate, then: lab status, lab scenario list, lab --help" >&2

lab-down: $(VENV)/lab ## Take it down; nothing is left
	@$(LAB) down

status: $(VENV)/lab ## Every machine and cable at a glance
	@$(LAB) status

scenarios: $(VENV)/lab ## List the scenarios
	@$(LAB) scenario list

scenario: $(VENV)/lab ## Let a story happen: make scenario S=receiver-down (ARGS=--step)
	@$(LAB) scenario run --fix $(S) $(ARGS)

watch: $(VENV)/lab ## Watch what happens, live: a scenario, or the lab that is up
	@$(LAB) watch $(ARGS)

report: $(VENV)/lab ## Open the report of the newest run
	@$(LAB) report --open $(ARGS)

faults: $(VENV)/lab ## List what can go wrong
	@$(LAB) fault list

soak: $(VENV)/lab ## Much mail, much trouble: is any mail lost? make soak ARGS='--seed 7'
	@$(LAB) soak --fix $(ARGS)

capture: $(VENV)/lab ## Listen at a cable: make capture NODE=sender-mail (ARGS='-w mail.pcap')
	@$(LAB) capture $(NODE) $(ARGS)

doctor: $(VENV)/lab ## Is everything there that a lab needs? What is missing, and what to do
	@$(LAB) doctor

images: $(VENV)/lab ## Build the machines' images where they are not current
	@$(LAB) images build

test: $(VENV)/dev ## All tests, from nothing
	@sh tests/run $(ARGS)

test-unit: $(VENV)/dev ## The tests that need no Docker
	@$(VENV)/bin/pytest -q -n auto tests/unit

lint: $(VENV)/dev ## ruff and mypy --strict
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

docs: $(VENV)/lab ## Make the pages about the scenarios (docs/scenarios) anew
	@$(LAB) scenario show --all docs/scenarios

bench: $(VENV)/lab ## How fast the lab comes up, beside how fast it could
	@$(LAB) bench up

lock: ## Write the lock files anew from pyproject.toml
	@$(VENV)/bin/uv -q pip compile --universal --generate-hashes --no-header --no-emit-index-url \
	  --extra build pyproject.toml -o requirements.lock
	@$(VENV)/bin/uv -q pip compile --universal --generate-hashes --no-header --no-emit-index-url \
	  --extra build --extra dev pyproject.toml -o requirements-dev.lock

# The virtual environment: what a lab needs, and (dev) what its tests need on top.
$(VENV)/lab: requirements.lock pyproject.toml
	@PYTHON=$(PYTHON) sh lab/venv $(VENV) requirements.lock && touch $@

$(VENV)/dev: requirements-dev.lock pyproject.toml
	@PYTHON=$(PYTHON) sh lab/venv $(VENV) requirements-dev.lock && touch $@ $(VENV)/lab
