"""Device calibration of a bundle with a letterbox: motion and scores are of the same input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sliced_bundle import SIZE_HW

from edge_vseg import open_bundle
from edge_vseg.calibration.device.device_calibration import DeviceCalibrationOptions, calibrate_device
from edge_vseg.scheduling.device_profile import DeviceProfile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.steps import companion_step
from edge_vseg.types import Frame, Image

BORDER = (110, 110, 110)


def calibrated(bundle: Path, images: list[Image], companion: Path) -> DeviceProfile:
    frames = [Frame(image=image, seq=number, capture_ns=number * 33_000_000) for number, image in enumerate(images)]
    options = DeviceCalibrationOptions(runtime="onnxruntime", threads=1, companions=(companion,))
    return calibrate_device(bundle, frames, video="drive", options=options)


def test_drift_is_that_of_frames_padded_by_hand(sliced_bundle: Path, drive: list[Image], tmp_path: Path) -> None:
    path = tmp_path / "boxed.evseg"
    shutil.copytree(sliced_bundle, path)
    tree = json.loads((path / "manifest.json").read_bytes())
    tree["schema_version"] = 4
    tree["frame"]["resize"] = {"kind": "letterbox", "border_rgb": BORDER}
    (path / "manifest.json").write_text(json.dumps(tree))
    tall = [np.ascontiguousarray(image[:, 80:176]) for image in [*drive, *drive[-2:0:-1]] * 3]
    padded = []
    for image in tall:
        whole = np.full((*SIZE_HW, 3), BORDER, np.uint8)
        whole[:, 80:176] = image
        padded.append(whole)
    profile = calibrated(path, tall, path)
    assert profile.costs["labels guided"].runs > 10
    assert profile.costs[companion_step(open_bundle(path).sha256)].runs > 10
    found, expected = profile.drift, calibrated(sliced_bundle, padded, sliced_bundle).drift
    assert found != DriftModel(), "it was fitted"
    for name in ("bias", "speed", "spread", "unexplained", "changed"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9)
