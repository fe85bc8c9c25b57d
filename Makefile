# Every target does its own set-up into .venv and costs nothing when nothing changed.
#   make demo | test | bench | lint | setup        PYTHON=python3.12 make test   for another interpreter

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
NODE   := $(VENV)/.node

.PHONY: setup demo test bench lint clean

# Whoever asks for an interpreter that .venv was not made with gets .venv made anew.
ifneq ($(origin PYTHON),undefined)
ifneq ($(shell $(PYTHON) --version),$(shell test -x $(BIN)/python && $(BIN)/python --version))
.PHONY: $(STAMP)
FRESH := --clear
endif
endif
PYTHON ?= python3

setup: $(STAMP)

# The official npm client of /api/v2, which tests drive. Without npm or a registry they are skipped, and say so.
$(NODE): $(STAMP)
	@! command -v npm >/dev/null || timeout 60 npm install --prefix $(VENV)/node --no-audit --no-fund --silent @comfyorg/sdk@0.1.9 \
	  || echo "npm could not install @comfyorg/sdk: the tests of the npm client are skipped" >&2
	@touch $@

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "comfyfleet needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(FRESH) $(VENV) \
	  || { echo "could not make $(VENV): install the venv module (Debian: apt-get install python3-venv), then run make again" >&2; exit 1; }
	@echo "installing comfyfleet and its development tools into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1" \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev \
	  || { echo "pip could not install the packages: check that a package index can be reached (pip config list), then run make again" >&2; exit 1; }
	@touch $@

demo: setup
	@$(BIN)/comfyfleet demo

test: setup $(NODE)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

bench: setup
	@$(BIN)/comfyfleet bench

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build
