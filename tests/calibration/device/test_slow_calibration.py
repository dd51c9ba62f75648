"""Device calibration where a dozen frames take longer than maps may get old."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge_vseg.calibration.device import device_calibration
from edge_vseg.calibration.device.aging_fit import fit_aging
from edge_vseg.calibration.device.device_calibration import (
    GROUP_FRAMES,
    DeviceCalibrationOptions,
    calibrate_device,
    evenly_stamped,
)
from edge_vseg.types import Frame, Image

PERIOD_NS, SLOW_NS = 33_000_000, 30_000_000_000


def read_slowly(images: list[Image]) -> Iterator[Frame]:
    """Frames of a file: each dozen is read half a minute after the one before."""
    for seq, image in enumerate(images):
        late_ns = seq // GROUP_FRAMES * SLOW_NS
        yield Frame(image=image, seq=seq, capture_ns=seq * PERIOD_NS + late_ns, pts_ns=seq * PERIOD_NS)


def test_nothing_is_forgotten_between_the_groups(
    sliced_bundle: Path, drive: list[Image], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting made ages 0 of maps that were counted as up to 7 frames old."""
    fitted: list[Frame] = []

    def fit(bundle: Path, same: Any, threads: int, frames: list[Frame], truth: Any) -> Any:
        fitted.extend(frames)
        return fit_aging(bundle, same, threads, frames, truth)

    monkeypatch.setattr(device_calibration, "fit_aging", fit)
    monkeypatch.setattr(device_calibration, "measure_contention", lambda *_: None)
    images = [*drive, *drive[::-1], *drive, *drive[::-1]][:40]
    options = DeviceCalibrationOptions(runtime="onnxruntime", threads=1)
    with caplog.at_level(logging.INFO, "edge_vseg.scheduling.engine"):
        calibrate_device(sliced_bundle, read_slowly(images), video="drive", options=options)
    assert "forgotten" not in caplog.text
    assert [frame.seq for frame in fitted] == list(range(40))
    gaps = {after.capture_ns - before.capture_ns for before, after in pairwise(fitted)}
    assert len(gaps) == 1
    assert gaps.pop() < 100_000_000


def test_frames_keep_all_but_their_capture_times(drive: list[Image]) -> None:
    before = list(read_slowly(drive * 3))
    after = list(evenly_stamped(iter(before)))
    for one, two in zip(before, after, strict=True):
        assert (one.image is two.image, one.seq, one.pts_ns) == (True, two.seq, two.pts_ns)
        assert two.capture_ns < one.capture_ns
