# `make` lists the commands. PYTHON=/path/to/python3.12 chooses the interpreter of the virtual environment.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -o pipefail -c
.PHONY: help run test field check format docs kafka-start kafka-stop up down logs simulate resilience chaos bench clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
NODE_STAMP := node_modules/.installed
COMPOSE ?= docker compose

SAGAS ?= 10000
MINUTES ?= 8
SEED ?= 1
SEEDS ?= 10000

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

run: $(STAMP) ## the embedded broker and the four services; Ctrl-C stops all of it
	@exec $(BIN)/saga up

# Two at a time: most tests wait for processes, brokers and pages, and not for a processor.
test: $(STAMP) ## every test that this machine can run; CI=true: a missing part is a failure
	@exec $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

field: $(STAMP) ## the table of field faults: each row's tests, and what happens now
	@exec $(BIN)/python -m pytest -m field --numprocesses 2 --dist loadfile $(ARGS)

simulate: $(STAMP) ## all services on a fake bus, ten thousand seeds; SEEDS=10000 ARGS="--from N"
	@exec $(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2 $(ARGS)

resilience: $(STAMP) ## real Kafka, minutes: a full disk, a hanging broker, compaction under load, deadlines, retries
	@exec $(BIN)/python -m pytest tests/resilience $(ARGS)

chaos: $(STAMP) ## real Kafka, everything breaks, then a count; SAGAS=10000 MINUTES=8 SEED=1 ARGS="--json FILE"
	@exec $(BIN)/python -m tests.chaos --sagas $(SAGAS) --minutes $(MINUTES) --seed $(SEED) $(ARGS)

bench: $(STAMP) ## real Kafka, what it costs beside the others; RUNS=3 BURST=40000 ONLY=burst,cpu ARGS="--short"
	@exec $(BIN)/python -m benchmarks $(if $(RUNS),--runs $(RUNS)) $(if $(ONLY),--only $(ONLY)) $(if $(BURST),--sagas $(BURST)) $(ARGS)

check: $(DEV_STAMP) $(NODE_STAMP) ## format, lint and types of Python and of the page (Node.js 18 or later)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m devtools.docs --check
	$(BIN)/python -m devtools.page_types --check
	node_modules/.bin/biome ci --colors=off
	node_modules/.bin/tsc --project .

format: $(DEV_STAMP) $(NODE_STAMP) ## let ruff and biome format and fix what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	node_modules/.bin/biome check --write

docs: $(DEV_STAMP) $(NODE_STAMP) ## generate the reference pages, and the page's types, from the code
	$(BIN)/python -m devtools.docs
	$(BIN)/python -m devtools.page_types

kafka-start: ## one real Kafka broker on loopback, without Docker (Java 17, Maven)
	@kafka/kafka.sh start

kafka-stop: ## stop it; its data stay (kafka/kafka.sh clean forgets them)
	@kafka/kafka.sh stop

up: ## docker compose: Kafka and the four services in containers
	$(COMPOSE) up --build --detach --wait
	@echo "ready: http://127.0.0.1:8080"

down: ## stop the containers; the volumes stay
	$(COMPOSE) down

logs: ## follow the containers' logs
	$(COMPOSE) logs --follow

clean: ## remove the virtual environment, caches and local data
	rm -rf $(VENV) node_modules .saga .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build

# The environment is made when it is missing, and brought up to date when what it is made from has changed.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@set -eu; \
	python=$${PYTHON:-}; \
	if [ -z "$$python" ]; then \
	  for each in python3.11 python3.12 python3.13 python3; do \
	    if $$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then python=$$each; break; fi; \
	  done; \
	fi; \
	[ -n "$$python" ] || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found: install one, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "PYTHON=$$python does not run, or is not Python 3.11, 3.12 or 3.13" >&2; exit 1; }; \
	if [ ! -x $(BIN)/python ]; then \
	  echo "making the virtual environment in $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV) || { echo "the virtual environment could not be made (Debian: install python3-venv)" >&2; rm -rf $(VENV); exit 1; }; \
	fi; \
	echo "installing the packages of constraints.txt (about a minute the first time)"; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[test]' | sed -un -E '/^(Collecting|Building|Installing|Successfully)/p' || \
	  { echo "the packages could not be installed (pip's words are above)" >&2; exit 1; }; \
	touch $@

$(DEV_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(NODE_STAMP): package.json package-lock.json
	@command -v npm >/dev/null 2>&1 || { echo "Node.js 18 or later is needed for the checks of the page: install nodejs and npm" >&2; exit 1; }
	@npm ci --no-audit --no-fund --silent
	@touch $@
