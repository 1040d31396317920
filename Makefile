# Everything that a newcomer or a contributor runs. `make quickstart` and `make test` need nothing but Python 3.11+.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two threads of torch on a shared machine are many times slower than one.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: quickstart test test-slow test-min test-latest attacks check static format lint types layers docs clean

# Tests that say whether a set of library versions is one that we work with: what we rely on, and whole small runs.
CONTRACT := tests/test_contracts.py tests/test_own_warnings.py tests/test_drop_in.py tests/training/test_quantization.py \
	tests/generation/test_engines.py tests/generation/test_compact.py tests/hub \
	"tests/test_trainer.py::test_a_run_leaves_what_it_promises" \
	"tests/test_trainer.py::test_killed_and_resumed_is_as_never_killed"
# One build of torch for both: other versions of it need other builds of what it runs on.
TORCH ?= $(shell grep ^torch== constraints.txt)

## Watch the embedded model improve on its own verified code (offline, CPU, minutes).
quickstart: $(VENV)/core
	$(BIN)/trl-gift quickstart $(ARGS)

## Run the fast tests.
test: $(VENV)/dev
	$(BIN)/python -m pytest $(ARGS)

## Run the slow tests too.
test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

## Run the contract part of the suite against the oldest supported releases (constraints-min.txt).
test-min: $(VENV)-min/ready
	$(VENV)-min/bin/python -m pytest $(CONTRACT) $(ARGS)

## Run the contract part of the suite against the newest releases; `make clean` first to look for newer ones.
test-latest: $(VENV)-latest/ready
	$(VENV)-latest/bin/python -m pytest $(CONTRACT) $(ARGS)

## Run every hostile program against the sandbox and print what became of it.
attacks: $(VENV)/dev
	$(BIN)/python -m tests.sandbox.attacks $(ARGS)

## Everything that main must pass: format, lint, types, import layers, fast tests.
check: static test

static: format lint types layers

format: $(VENV)/dev
	$(BIN)/ruff format --check .

lint: $(VENV)/dev
	$(BIN)/ruff check .

types: $(VENV)/dev
	$(BIN)/mypy

layers: $(VENV)/dev
	$(BIN)/lint-imports

## Build the documentation into site/.
docs: $(VENV)/docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-min $(VENV)-latest site build *.egg-info

$(VENV)/python $(VENV)-min/python $(VENV)-latest/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version.split()[0] + '; set PYTHON=...')"
	$(PYTHON) -m venv $(@D)
	touch $@

$(VENV)/core: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/docs: $(VENV)/core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

$(VENV)-min/ready: $(VENV)-min/python pyproject.toml constraints-min.txt
	$(@D)/bin/python -m pip install --quiet -c constraints-min.txt -e ".[bitsandbytes]" pytest scipy
	$(@D)/bin/python -m pip list
	touch $@

$(VENV)-latest/ready: $(VENV)-latest/python pyproject.toml
	$(@D)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e ".[bitsandbytes]" pytest scipy "$(TORCH)"
	$(@D)/bin/python -m pip list
	touch $@
