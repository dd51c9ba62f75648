# Everything from a bare checkout: the environment is made in .venv and made again only when
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FUZZ_SECONDS := 60

# Files with tests of a marker: to import all the others takes half a minute.
marked = $(shell grep -rl --include='test_*.py' 'mark\.$(1)' tests | sort)

# An Arm machine makes a small environment of its own; elsewhere the export needs the whole one.
ON_ARM := $(filter aarch64 arm64,$(shell uname -m))

.PHONY: test test-release test-arm64 check fuzz demo bench docs format release clean

# A worker has a core: with threads that spin until the others are done, torch takes many times as long.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not serial and not release'
	$(BIN)/python -m pytest -m 'serial and not release' $(call marked,serial)

test-release: $(READY)
	$(BIN)/python -m pytest -m release $(call marked,release)

test-arm64: $(if $(ON_ARM),,$(READY))
	$(if $(ON_ARM),$(PYTHON),$(BIN)/python) tools/arm64.py $(ARM64)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/house.py --check

fuzz: $(READY)
	$(BIN)/python tests/fuzz/fuzz_run.py --seconds $(FUZZ_SECONDS)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY)
	$(BIN)/edge-vseg demo demo --force

bench: $(READY)
	$(BIN)/python benchmarks/overhead.py --json benchmarks/results/overhead.json
	$(BIN)/python benchmarks/int8_speed.py --json benchmarks/results/int8_speed.json
	$(BIN)/python benchmarks/blocks.py --json benchmarks/results/blocks.json

docs: $(READY)
	$(BIN)/python tools/house.py --draw docs/images/house.png
	$(BIN)/mkdocs build --strict

# Wheel, source archive, bill of materials and SHA256SUMS, in dist/.
release:
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip install --quiet 'build>=1.2,<2' 'cyclonedx-bom>=7.5,<8'
	.venv-release/bin/python tools/release.py dist

clean:
	rm -rf $(VENV) .venv-release build dist demo site *.egg-info

# With hashes.txt (tools/pin_hashes.py makes it) pip refuses every file that is not the one pinned.
$(READY): pyproject.toml constraints.txt $(wildcard hashes.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(wildcard hashes.txt),$(PYTHON) tools/pin_hashes.py --check)
	$(if $(wildcard hashes.txt),$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r hashes.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
