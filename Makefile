# The two commands of the README: `make quickstart` and `make test`. Both make what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Most tests wait for processes of their own: more at once than there are cores, two thirds of a large machine's.
# worksteal: files stay together until a worker has nothing left, so that no long file runs last and alone.
TESTS_AT_ONCE := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 5 ] && echo 3 || echo $$((n * 2 / 3)))

# Each starts a cluster of its own, and waits for it. Two beside `make test` are what two cores can do in time.
CLUSTERS_AT_ONCE := 2

.PHONY: help quickstart test test-slurm check docs pictures format clean

help:  ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# torch first and by itself, so that an index of CPU builds (PIP_INDEX_URL) or a local wheel is taken as it is.
# Python compiles what is imported; compiling all of every package here took a minute longer.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@touch $@

quickstart: $(STAMP)  ## run the first sweep on this machine: 12 trials, 2 workers, the results table
	$(BIN)/hpo-batch submit configs/quickstart.toml --local --wait

# with PYTHONDONTWRITEBYTECODE each process would read 40,000 lines of tests, and torch, anew
quickstart test test-slurm: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)  ## run the tests that need no SLURM
	$(BIN)/python -m pytest -m "not slurm" -n $(TESTS_AT_ONCE) --dist worksteal tests

test-slurm: $(STAMP)  ## run the tests on a real SLURM cluster, which they start; installs Debian's packages (root)
	tests/slurm/install_slurm.sh
	tests/network/install_fuse.sh
	HPO_BATCH_REQUIRE_SLURM=1 $(BIN)/python -m pytest -n $(CLUSTERS_AT_ONCE) --dist loadgroup tests/slurm

check: $(STAMP)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)  ## build the documentation: build/docs/index.html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs

pictures: $(STAMP)  ## make the pictures of the documentation anew, from a sweep of five minutes; needs Chromium
	$(BIN)/python docs/pictures/make.py

format: $(STAMP)  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment and caches; studies stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
