# Every target does its own set-up: on a fresh machine `make demo` or `make test` is the first command.
# PYTHON=python3.12 make test    another interpreter (3.11 or newer)
# VENV=/path make test           another virtual environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo compare slurm xvfb games small-games lock test test-full test-gpu check format clean
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

demo: $(VENV)/.installed  ## watch videos of two real games, train one policy on them, play them; at most 20 minutes
	$(BIN)/python -m examples.demo

compare: $(VENV)/.installed  ## train every kind of policy on the demo's games and compare their play; at most 90 minutes
	$(BIN)/python -m examples.compare

# The tests start their own daemons; nothing of a SLURM that is there is touched.
slurm: export PATH := $(PATH):/usr/sbin
slurm:  ## install SLURM and munge for their tests, where that is allowed
	@if command -v slurmctld && command -v slurmd && command -v munged; then exit 0; fi >/dev/null; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes slurm-wlm munge) >/dev/null 2>&1; \
	then echo "installed slurm-wlm and munge"; \
	else echo "the tests of SLURM will be skipped: as root, apt-get install slurm-wlm munge"; fi

xvfb:  ## install Xvfb, a screen without a monitor, for the tests of screen capture, where that is allowed
	@if command -v Xvfb; then exit 0; fi >/dev/null; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes xvfb) >/dev/null 2>&1; \
	then echo "installed xvfb"; \
	else echo "the tests of screen capture will be skipped: as root, apt-get install xvfb"; fi

# What native games need is said in their own files.
SPECS := nitrogen_train/games/linux
SMALL_GAMES := blobby kobodeluxe maelstrom mrboom neverball neverputt pekka toppler
packages = gcc libc6-dev libegl1 libgles2 libgl1-mesa-dri $$(sed -n 's/^packages: \[\(.*\)\]/\1/p' $(1) | tr -d ,)
define install-games
	@packages="$(call packages,$(1))"; \
	if dpkg-query --show $$packages >/dev/null 2>&1; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $$packages) >/dev/null 2>&1; \
	then echo "installed" $$packages; \
	else echo "$(2): as root, apt-get install" $$packages; fi
endef

games:  ## install all native games, 1 GB, and what draws them, where that is allowed
	$(call install-games,$(SPECS)/*.yaml,some native games cannot be played)

small-games:
	$(call install-games,$(SMALL_GAMES:%=$(SPECS)/%.yaml),the tests of native games will be skipped)

# uv reads the versions of this environment, which the tests have passed with.
lock: $(VENV)/.installed  ## write slurm/requirements.lock from what is installed here
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/pip freeze --exclude-editable | grep -v ' @ ' > $(VENV)/constraints.txt
	{ echo '# What nitrogen-train was tested with, on Linux x86_64 with Python 3.11; made by `make lock`.'; \
	  $(BIN)/uv pip compile pyproject.toml --extra cluster --extra s3 --extra gcs --quiet --no-annotate --no-header \
	    --constraint $(VENV)/constraints.txt --python-version 3.11 --python-platform x86_64-unknown-linux-gnu; \
	} > $(VENV)/requirements.lock
	mv $(VENV)/requirements.lock slurm/requirements.lock

# Tiny tensors: more threads would only wait for each other. Tests that share one service say so by group;
# what waits for a service comes first (tests/conftest.py), so no reordering. Three workers on two cores: one often waits.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder
# Of every call: the shapes and types of the tensors in its signature. This makes the tests half as slow again.
SHAPES := --jaxtyping-packages=nitrogen_train,data_tools,beartype.beartype
test test-full: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed slurm xvfb small-games  ## the tests, about seven minutes: several ranks, whole commands, then the fast ones
	$(PYTEST) -m 'not full and not gpu'

test-full: test  ## and hours more: shapes in every call, whole games and stories, every interruption, every combination, full size
	$(PYTEST) $(SHAPES) -m 'not slow and not full and not unchecked and not gpu'
	$(PYTEST) -m 'full and not alone'
	$(BIN)/python -m pytest -m alone tests/pretrained/test_full_size.py

test-gpu: $(VENV)/.installed  ## on a GPU node, ten minutes: NCCL, CUDA, fused AdamW, bf16, torch.compile, DeepSpeed, offload
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; \
	  then $(BIN)/python -m pytest -m gpu tests/gpu; \
	  elif nvidia-smi >/dev/null 2>&1; \
	  then echo "torch $$($(BIN)/python -c 'import torch; print(torch.__version__)') does not start this GPU: update its driver" >&2; exit 1; \
	  else echo "skipped: no CUDA GPU here; run make test-gpu on a GPU node"; fi

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
