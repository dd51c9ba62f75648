"""The demo's picture and video: one moment of both live runs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from live_stubs import RATE, FakeTime, SlowSegmenter

from edge_vseg import open_source
from edge_vseg.bundle.labels import named_labels
from edge_vseg.export.reference.demo.demo_picture import _panels, choose_moment, write_demo_picture
from edge_vseg.export.reference.demo.demo_video import write_demo_video
from edge_vseg.export.reference.demo.live_comparison import DEADLINE, DROPPED, LiveComparison, LiveRuns
from edge_vseg.export.reference.demo.live_run import run_live
from edge_vseg.export.reference.demo.live_score import LiveClip, score_live

SIZE_HW = (60, 80)
FRAMES = 8


def moving_wall() -> list[np.ndarray]:
    """A wall that is one pixel further to the right on each frame; a strip of road below it from frame 5."""
    maps = []
    for number in range(FRAMES):
        labels = np.zeros(SIZE_HW, np.uint8)
        labels[:, 10 + number : 40 + number] = 1
        if number >= 5:
            labels[50:] = 3
        maps.append(labels)
    return maps


@pytest.fixture
def runs() -> LiveRuns:
    truths = moving_wall()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*SIZE_HW, 3), endpoint=True).astype(np.uint8) for _ in truths]
    clip = LiveClip(images=images, truths=truths, rate=RATE, deadline_ms=15.0, lead_in=2, classes=11)
    answers = {}
    for name, ms, age_ms in ((DROPPED, 80.0, 0.0), (DEADLINE, 5.0, 80.0)):
        time = FakeTime()
        segmenter = SlowSegmenter(time, [ms] * FRAMES, truths, age_ms)
        answers[name] = run_live(segmenter, images, RATE, clock=time.clock, sleep=time.sleep)
    comparison = LiveComparison(
        bundle=Path("live.evseg"),
        variant="onnxruntime/int8",
        threads=1,
        size_hw=SIZE_HW,
        rate=RATE,
        wanted_rate=RATE,
        frames=len(clip.scored),
        network_ms=80.0,
        periods=2.0,
        deadline_ms=15.0,
        labelled=True,
        every_frame_miou=1.0,
        runs=tuple(score_live(name, given, clip, truths) for name, given in answers.items()),
    )
    return LiveRuns(comparison=comparison, clip=clip, truths=truths, answers=answers)


def test_the_moment_has_the_most_classes_and_no_small_gain(runs: LiveRuns) -> None:
    seq = choose_moment(runs)
    assert seq >= 5, "three classes"
    shown = runs.shown
    wrong = [float(np.mean(shown[DROPPED][n].result.labels != runs.truths[n])) for n in runs.clip.scored]
    assert wrong[seq - runs.clip.lead_in] >= np.mean(wrong), "the deadline's maps are all right here"


def test_panels_say_how_old_and_how_wrong_they_are(runs: LiveRuns) -> None:
    camera, truth, dropped, deadline = _panels(6, runs, named_labels("camvid"))
    assert camera.image is runs.clip.images[6]
    assert truth.title == "truth"
    assert deadline.detail == "80 ms old, 0.0% wrong"
    np.testing.assert_array_equal(deadline.image, truth.image)
    # The map of frame 4 was done when frame 6 came: the wall is two columns behind above the new road.
    wrong = (2 * 2 * 50 + 10 * 80) / (60 * 80)
    assert dropped.detail == f"80 ms old, {wrong:.1%} wrong"
    assert (dropped.image != truth.image).any(axis=2).mean() == pytest.approx(wrong)
    assert (dropped.image == 255).all(axis=2).mean() == pytest.approx(wrong), "wrong pixels are white"


def test_picture_and_video_are_written(runs: LiveRuns, tmp_path: Path) -> None:
    labels = named_labels("camvid")
    write_demo_picture(tmp_path / "picture.png", 6, runs, labels)
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert picture.shape[1] == 1200
    wall = np.array(labels[1].color[::-1])
    assert (np.abs(picture.astype(int) - wall).max(axis=2) < 12).any(), "the legend has the wall's colour"
    write_demo_video(tmp_path / "overlay.mp4", runs, labels)
    with open_source(tmp_path / "overlay.mp4", strict=True) as source:
        assert [frame.image.shape for frame in source] == [(60, 160, 3)] * 6
