# Everything from a bare checkout: the environment is made in .venv and made again only when
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA := $(or $(EDGE_VSEG_DATA),../shared/data)
ROAD := $(DATA)/models/road-segmentation-adas-0001/road-segmentation-adas-0001.onnx
DRIVE := $(DATA)/videos/dashcam.mp4

.PHONY: test check demo bench docs format clean

test: $(READY)
	$(BIN)/python -m pytest -n 2 -m 'not serial'
	$(BIN)/python -m pytest -m serial

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY)
	@test -f "$(ROAD)" -a -f "$(DRIVE)" || { \
	  echo "make demo needs a trained network and a video, and this release ships neither."; \
	  echo "Missing: $(ROAD) or $(DRIVE). Set EDGE_VSEG_DATA to a folder that has them,"; \
	  echo "or export your own: $(BIN)/edge-vseg export MODEL.onnx -o demo/own.evseg --frames VIDEO"; exit 1; }
	mkdir -p demo
	$(BIN)/edge-vseg export "$(ROAD)" -o demo/road.evseg --frames "$(DRIVE)" --color bgr --classes examples/road_classes.json
	for runtime in onnxruntime openvino tflite; do \
	  $(BIN)/edge-vseg run demo/road.evseg "$(DRIVE)" --runtime $$runtime --precision int8 --force \
	    -o demo/overlay-$$runtime.mp4 --stats demo/stats-$$runtime.json || exit 1; done
	@echo "Look at demo/overlay-*.mp4 and demo/road.evseg/report.html."

bench: $(READY)
	$(BIN)/python benchmarks/overhead.py --json benchmarks/results/overhead.json
	$(BIN)/python benchmarks/int8_speed.py --json benchmarks/results/int8_speed.json

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build demo site *.egg-info

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
