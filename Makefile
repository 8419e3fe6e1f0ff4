# hwsim: `make demo` shows it, `make test` checks it. Both set up what they need in .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# The virtual environment alone decides what is imported; its tools come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint typecheck bench wheel clean

help:
	@echo "make demo       train, simulate, generate and verify the quickstart; writes runs/quickstart"
	@echo "make test       lint, type check and the default tests (JOBS=$(JOBS) at once)"
	@echo "make test-slow  the long tests"
	@echo "make bench      every benchmark in benchmarks/"
	@echo "make wheel      dist/*.whl"
	@echo "make clean      remove everything that make made, runs/ excepted"

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "hwsim needs Python >= 3.11; say which: make PYTHON=..."; exit 2; }
	@command -v perl >/dev/null || { echo "hwsim needs perl (Verilator is started by it)"; exit 2; }
	@echo "setting up $(VENV) with $(PYTHON) (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -c constraints.txt setuptools
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev,synth]'
	@command -v c++ >/dev/null || { \
	echo "no C++ compiler (c++) found: using the one of the ziglang package"; \
	$(BIN)/python -m pip install -qq -c constraints.txt ziglang; \
	for tool in c++ ar; do command -v $$tool >/dev/null || { \
	printf '#!/bin/sh\nexec "%s" -m ziglang %s "$$@"\n' "$(CURDIR)/$(BIN)/python" $$tool \
	> $(BIN)/$$tool && chmod +x $(BIN)/$$tool; }; done; }
	@touch $@

demo: $(READY)
	@$(BIN)/hwsim run quickstart -o runs/quickstart

test: $(READY) lint typecheck
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m slow

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# Checkers do not read the folder mapping of pyproject.toml, so the installed package is checked.
typecheck: $(READY)
	@rm -rf build/lib build/typecheck
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --target build/typecheck .
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p hwsim

bench: $(READY)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

wheel: $(READY)
	@rm -rf build/lib
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
