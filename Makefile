# Everything below works from Python 3.11 or later and make alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-fast test-component check bench torture clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(STAMP) ## run the three pipelines of the README against our own registry on loopback
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/demo/run.sh

test: $(STAMP) ## run the whole test suite
	$(BIN)/python -m pytest -q -n 2

test-fast: $(STAMP) ## run the tests that need no process and no socket
	HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not component and not torture" \
		tests/architecture tests/contract tests/property tests/unit

test-component: $(STAMP) ## run the tests of modules that start processes or servers
	$(BIN)/python -m pytest -q -n 2 tests/component tests/contract

check: $(STAMP) ## lint, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

torture: $(STAMP) ## the long runs: kills, power loss, mutations
	$(BIN)/python -m pytest -q -m torture

bench: $(STAMP) ## measure against curl, skopeo, umoci, ctr and crane, as far as they are in PATH
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/bench/run.py

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
