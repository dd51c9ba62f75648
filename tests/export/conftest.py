"""What the exporter's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import SIZE_HW, deep_onnx, frames

from edge_vseg.bundle.manifest import CalibrationSpec
from edge_vseg.export import SampleFrames
from edge_vseg.export.telemetry import no_telemetry

with no_telemetry():
    # First of all: a peer's client would import it with its reports, which go out from forked processes.
    import openvino  # noqa: F401

    from edge_vseg.export.quantization import graph_runners


@pytest.fixture(autouse=True, scope="module")
def exports_are_quick(quick_exports: None) -> None:
    """In all modules of this folder."""


@pytest.fixture(scope="module")
def sample() -> SampleFrames:
    """Eight frames to calibrate on and four others to judge by."""
    return SampleFrames(calibration=frames(8), validation=frames(4, start=100), spec=CalibrationSpec())


@pytest.fixture(scope="module")
def products_for_times() -> Iterator[None]:
    """Activations are ranked by products, as where no profiler is: measured times differ from run to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_runners, "_lost_ms", lambda prepared, profile: None)
        yield


@pytest.fixture
def onnx_file(tmp_path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(deep_onnx().SerializeToString())
    return path


@pytest.fixture(scope="session")
def panning_clip(tmp_path_factory) -> Path:
    """A folder of frames along a panning view."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(20, 236, (6, 200, 3), dtype=np.uint8), (1600, 48), interpolation=cv2.INTER_NEAREST)
    scene = cv2.add(scene, rng.integers(0, 30, scene.shape, dtype=np.uint8))
    for i in range(80):
        view = np.ascontiguousarray(scene[:, i * 18 : i * 18 + 2 * SIZE_HW[1]])
        (folder / f"{i:03d}.png").write_bytes(cv2.imencode(".png", view)[1].tobytes())
    return folder
