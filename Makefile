# Every target does its own set-up: on a fresh machine `make demo` or `make test` is the first command.
# PYTHON=python3.12 make test    another interpreter (3.11 or newer)
# VENV=/path make test           another virtual environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export WANDB_SILENT ?= true

.PHONY: help demo compare test test-full check format clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -ts "$$(printf '\t')"

# The stamp is newer than pyproject.toml exactly when the environment holds what it asks for.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[games,cluster,dev]'
	@touch $@

demo: $(VENV)/.installed  ## record two real games, train one policy on them, play them; at most 20 minutes
	$(BIN)/python -m nitrogen_train.demo

compare: $(VENV)/.installed  ## train every kind of policy on the demo's games and compare their play; at most 90 minutes
	$(BIN)/python -m nitrogen_train.compare

# Tiny tensors: more threads would only wait for each other.
test test-full: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed  ## all tests: first the fast ones, then processes, whole games, whole commands
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -o addopts= -m unchecked tests
	$(BIN)/python -m pytest -m slow

test-full: test  ## and every combination of ranks, workers, accumulation and faults
	$(BIN)/python -m pytest -m full

check: $(VENV)/.installed  ## lint, format, types, import contracts, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/typos

format: $(VENV)/.installed  ## format and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove the demo's results, not the environment
	rm -rf demo compare runs
