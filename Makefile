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

run: $(STAMP) ## start the embedded broker and the four services; Ctrl-C stops everything
	@exec $(BIN)/saga up

# Two test processes: most tests wait for other processes rather than use the CPU.
test: $(STAMP) ## run all tests that this machine can run; with CI=true, a skipped test is a failure
	@exec $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

field: $(STAMP) ## run the tests of the field faults and print the table of results
	@exec $(BIN)/python -m pytest -m field --numprocesses 2 --dist loadfile $(ARGS)

simulate: $(STAMP) ## simulate all services without Kafka, 10,000 seeds; SEEDS=10000 ARGS="--from N"
	@exec $(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2 $(ARGS)

resilience: $(STAMP) ## resilience tests: workers killed after each stage, full disk, hanging broker, compaction, deadlines, retries
	@exec $(BIN)/python -m pytest tests/resilience $(ARGS)

chaos: $(STAMP) ## inject faults under load on a real Kafka, then verify every saga; SAGAS=10000 MINUTES=8 SEED=1
	@exec $(BIN)/python -m tests.chaos --sagas $(SAGAS) --minutes $(MINUTES) --seed $(SEED) $(ARGS)

bench: $(STAMP) ## compare with hand-written clients on a real Kafka; RUNS=3 BURST=40000 ONLY=burst,cpu AGAINST=COMMIT
	@exec $(BIN)/python -m benchmarks $(if $(RUNS),--runs $(RUNS)) $(if $(ONLY),--only $(ONLY)) $(if $(BURST),--sagas $(BURST)) $(if $(AGAINST),--against $(AGAINST)) $(ARGS)

check: $(DEV_STAMP) $(NODE_STAMP) ## check format, lint and types of Python and of the page (Node.js 18 or later)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m devtools.docs --check
	$(BIN)/python -m devtools.page_types --check
	node_modules/.bin/biome ci --colors=off
	node_modules/.bin/tsc --project .

format: $(DEV_STAMP) $(NODE_STAMP) ## format, and fix lint findings, with ruff and biome
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	node_modules/.bin/biome check --write

docs: $(DEV_STAMP) $(NODE_STAMP) ## generate the reference pages and the types of the page from the code
	$(BIN)/python -m devtools.docs
	$(BIN)/python -m devtools.page_types

kafka-start: ## start a Kafka broker on loopback, without Docker (Java 17, Maven)
	@kafka/kafka.sh start

kafka-stop: ## stop the broker; its data are kept (kafka/kafka.sh clean deletes them)
	@kafka/kafka.sh stop

up: ## start Kafka and the four services in containers (docker compose)
	$(COMPOSE) up --build --detach --wait
	@echo "ready: http://127.0.0.1:8080"

down: ## stop the containers; the volumes are kept
	$(COMPOSE) down

logs: ## follow the logs of the containers
	$(COMPOSE) logs --follow

clean: ## delete the virtual environment, caches and local data
	rm -rf $(VENV) node_modules .saga .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build

# The environment is created when it is missing, and updated when the list of packages has changed.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@set -eu; \
	python=$${PYTHON:-}; \
	if [ -z "$$python" ]; then \
	  for each in python3.11 python3.12 python3.13 python3; do \
	    if $$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; then python=$$each; break; fi; \
	  done; \
	fi; \
	[ -n "$$python" ] || { echo "Python 3.11, 3.12 or 3.13 is required and was not found: install it, or set its path: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "PYTHON=$$python cannot be run, or is not Python 3.11, 3.12 or 3.13" >&2; exit 1; }; \
	if [ ! -x $(BIN)/python ]; then \
	  echo "creating the virtual environment in $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV) || { echo "the virtual environment could not be created (Debian: install python3-venv)" >&2; rm -rf $(VENV); exit 1; }; \
	fi; \
	echo "installing the packages of constraints.txt (about a minute the first time)"; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[test]' | sed -un -E '/^(Collecting|Building|Installing|Successfully)/p' || \
	  { echo "the packages could not be installed: see the output of pip above" >&2; exit 1; }; \
	touch $@

$(DEV_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

$(NODE_STAMP): package.json package-lock.json
	@command -v npm >/dev/null 2>&1 || { echo "Node.js 18 or later is required for the checks of the page: install nodejs and npm" >&2; exit 1; }
	@npm ci --no-audit --no-fund --silent
	@touch $@
