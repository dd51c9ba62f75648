"""What a source that is not read live may be: a recording, which has no times, or a driver or pipe, which has."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from live_feed import IMAGE, LONG_MS, PATIENCE_S, Gate, eventually

from edge_vseg import Pipeline, PipelineOptions, StaleError, open_source
from edge_vseg.serve.repeated import RepeatedSource
from edge_vseg.types import Image


def test_a_driver_that_blocks_makes_results_stale_though_it_is_not_read_live(bundle: Path) -> None:
    gate = Gate()

    def driver() -> Iterator[Image]:
        yield IMAGE
        gate()

    with Pipeline.open(bundle, open_source(driver()), runtime="reference") as pipeline:
        assert math.isfinite(pipeline.max_age_ms)
        pipeline.wait(-1, timeout_ms=PATIENCE_S * 1000, max_age_ms=LONG_MS)
        gate.reached.wait(PATIENCE_S)
        eventually(lambda: pipeline.health.state == "stale")
        with pytest.raises(StaleError):
            pipeline.latest()
        gate.opened.set()


def test_a_recording_is_never_too_old_and_stale_once_it_has_ended(bundle: Path, clip: Path) -> None:
    options = PipelineOptions(playback="flat-out")
    with Pipeline.open(bundle, clip, runtime="reference", options=options) as pipeline:
        assert pipeline.max_age_ms == math.inf
        eventually(lambda: not pipeline.active)
        assert pipeline.latest().seq == 11
        health = pipeline.health
        assert (health.state, health.reason) == ("stale", f"{clip} has ended")


def test_only_recordings_read_flat_out_have_no_capture_times(clip: Path, tmp_path: Path) -> None:
    picture, pipe = tmp_path / "a.png", tmp_path / "pipe"
    cv2.imwrite(str(picture), IMAGE)
    os.mkfifo(pipe)
    raw = b"YUV4MPEG2 W64 H48 F30:1 C420\n" + 3 * (b"FRAME\n" + bytes(64 * 48 * 3 // 2))
    writer = threading.Thread(target=lambda: pipe.write_bytes(raw), daemon=True)
    writer.start()
    for source, times in (
        (open_source(clip), False),
        (open_source(picture), False),
        (RepeatedSource(lambda: open_source(clip)), False),
        (open_source(clip, live=True), True),
        (open_source(pipe, live=False), True),
        (open_source([IMAGE]), True),
    ):
        with source:
            assert source.has_capture_times is times, source.name
    writer.join(PATIENCE_S)
