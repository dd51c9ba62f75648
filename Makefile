# Everything from a bare checkout: the environment is made in .venv and made again only when
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: test check demo bench docs format clean

test: $(READY)
	$(BIN)/python -m pytest -n 2 -m 'not serial'
	$(BIN)/python -m pytest -m serial

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/house.py --check

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

clean:
	rm -rf $(VENV) build demo site *.egg-info

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
