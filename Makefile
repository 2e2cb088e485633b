# Plumbline. `make run` and `make test` need Python 3.11 or newer and a shell; the rest they fetch themselves.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(name))))
BIN := .venv/bin
INSTALLED := .venv/.installed
COMMAND := $(BIN)/plumbline

.DEFAULT_GOAL := help
.PHONY: help run test lint unit chaos-rounds chaos simulate e2e doctor lock clean bench bench-backtest paper-kills

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(COMMAND)  ## start everything and print where to open it (PORT, DATA_DIR, DATABASE_URL are honoured)
	@exec $(COMMAND) up

test: lint unit chaos-rounds e2e  ## check and test everything, as the continuous integration does

lint: $(COMMAND)  ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(COMMAND)  ## every test but those in a browser and the rounds of chaos
	$(BIN)/pytest --ignore=tests/e2e --ignore=tests/chaos $(ARGS)

chaos-rounds: $(COMMAND)  ## ten rounds of chaos (and tests of the campaign itself), in under three minutes
	$(BIN)/pytest tests/chaos $(ARGS)

chaos: $(COMMAND)  ## real processes under seeded blows, books compared: ROUNDS=200, or ROUND=n again, or MUTANT=name
	@$(BIN)/python -m tests.chaos.run $(foreach v,ROUNDS ROUND FROM SEED MUTANT LIST,$(if $($(v)),$(v)="$($(v))"))

simulate: $(COMMAND)  ## seeded worlds of faults: SEEDS=20000, or SEED=n with its trace, or MUTANTS=1
	@$(BIN)/python -m tests.simulation.run $(foreach v,SEEDS SEED FROM JOBS MUTANTS MUTANT,$(if $($(v)),$(v)="$($(v))"))

e2e: $(COMMAND)  ## the tests of the whole, in a browser (a process of their own: Playwright and asyncio do not mix)
	@CHROMIUM="$$($(BIN)/python tests/e2e/browser.py)" && export CHROMIUM && $(BIN)/pytest tests/e2e $(ARGS)

bench: $(COMMAND)  ## measure the paper exchange and execution (QUICK=1: a shorter run); the backtester: bench-backtest
	$(BIN)/python -m benchmarks.paper_exchange $(if $(QUICK),--quick)
	@for what in order_path throughput recovery weight_budget; do \
	    $(BIN)/python -m benchmarks.$$what $(if $(QUICK),--quick) || exit 1; done

bench-backtest: $(COMMAND)  ## measure the backtester beside other engines (QUICK=1: alone)
	$(BIN)/python -m benchmarks.backtest $(if $(QUICK),--quick)

paper-kills: $(COMMAND)  ## kill a loaded paper exchange a hundred times and compare its books (KILLS=n)
	$(BIN)/python -m benchmarks.paper_kills --kills $(or $(KILLS),100)

doctor: $(COMMAND)  ## check this machine and this installation
	@$(COMMAND) doctor

lock: $(INSTALLED)  ## choose versions anew within pyproject.toml's limits (UPGRADE=1: the newest)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header \
	    $(if $(UPGRADE),--upgrade) -o requirements.lock

clean:  ## remove what was built or installed here (never DATA_DIR)
	rm -rf .venv .web .mypy_cache .ruff_cache .pytest_cache .import_linter_cache test-results

# uv installs ten times faster than pip; where it cannot reach an index that pip is configured for, pip does it.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || { echo "Plumbline needs Python 3.11 or newer; set PYTHON=/path/to/python." >&2; exit 2; }
	@test -x $(BIN)/python || { echo "Creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing packages from requirements.lock"
	@sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
	    || { echo "uv could not install them; pip tries, which takes a minute or two"; \
	         $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; }
	@touch $@

$(COMMAND): pyproject.toml $(INSTALLED)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@echo "Compiling the backtester"
	@$(BIN)/python -m app.services.backtest.warm
	@touch $@
