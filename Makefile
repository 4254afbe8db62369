# Two commands are all a newcomer needs: `make demo` and `make test`.
# They need Python 3.11 or newer, make, git and the package registries; no root,
# no Docker, no Java, no PostgreSQL.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Tests in two processes at once, each with a stack of its own (1.5 GB); those that
# ARGS choose in one, which starts sooner, shows what they print and stops for --pdb.
JOBS ?= $(if $(ARGS),0,2)
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo test faults lint format audit bench lock clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make .venv with what requirements.lock says, and nothing else

demo: $(STAMP) ## The whole way on real prices, a correction that ripples, a check
	$(BIN)/deltafolio demo $(ARGS)

test: $(STAMP) ## All tests but those that kill for minutes (ARGS="-k name")
	$(PYTEST) -m "not faults" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(STAMP) ## Kill, cut, fill, restart and compare: more than an hour
	$(PYTEST) -m faults $(ARGS)

lint: $(STAMP) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(STAMP) ## Known vulnerabilities of what is locked (asks OSV)
	$(BIN)/python .ci/audit.py

bench: $(STAMP) ## Latency, intake, cold start, raw pipe: minutes
	$(BIN)/python -m bench $(ARGS)

lock: $(STAMP) ## Choose newer versions of everything
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --extra dev --output-file requirements.lock pyproject.toml

clean: ## Stop and remove the stack, the environment and every cache in here
	@if [ -x $(BIN)/deltafolio ]; then $(BIN)/deltafolio down --purge || true; fi
	rm -rf $(VENV) .deltafolio .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A second call is instant: the stamp is younger than what it was made from.
$(STAMP): requirements.lock pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv $(VENV)
	@touch $@
