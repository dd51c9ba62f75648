"""Everything that label maps are measured by, against each measure by itself and against a renderer's truth."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from edge_vseg.analysis.evaluation.frame_flow import MAX_FLOW_SIDE_PX, FrameFlow
from edge_vseg.analysis.evaluation.map_quality import (
    MapQuality,
    QualityMeter,
    percent,
    quality_rows,
)
from edge_vseg.analysis.metrics import BoundaryF, Confusion, StreamingMiou, TemporalConsistency, VideoConsistency
from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.scenes import NO_EFFECTS, StreetOptions, render_street
from edge_vseg.types import IGNORE_ID

LABELS = tuple(Label(id=n, name=name, color=(n, n, n)) for n, name in enumerate(("road", "car", "sky")))
SIZE = (12, 16)
STILL = np.zeros((*SIZE, 2), np.float32)
ALL = np.ones(SIZE, np.bool_)
UNKNOWN = np.full(SIZE, IGNORE_ID, np.uint8)
STEADY = {"consistency", "flicker", "needless_flicker"}


def maps(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth in large pieces, the left half of which stays; some that nobody knows, and predictions mostly right."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(rng.integers(0, 3, (count, 3, 4), np.uint8), 4, 1), 4, 2)
    truth[:, :, :8] = truth[0, :, :8]
    labels = np.where(rng.random(truth.shape) < 0.02, rng.integers(0, 3, truth.shape, np.uint8), truth)
    truth = np.where(rng.random(truth.shape) < 0.02, IGNORE_ID, truth).astype(np.uint8)
    return truth, labels


def measured(truth: np.ndarray, labels: np.ndarray, latency_ms: float = 0.0, rate: float = 10.0) -> MapQuality:
    meter = QualityMeter(LABELS, rate)
    for number, (true, found) in enumerate(zip(truth, labels, strict=True)):
        moved = (STILL, ALL) if number else None
        meter.add(true, found, moved, latency_ms=latency_ms, age_frames=number % 3)
    return meter.quality()


def test_figures_are_those_of_each_measure() -> None:
    truth, labels = maps(20)
    found = measured(truth, labels, latency_ms=150.0)
    confusion, edges, video = Confusion(3), BoundaryF(3), VideoConsistency((8, 16))
    streaming, temporal = StreamingMiou(3, 10.0), TemporalConsistency(3)
    for number, (true, ours) in enumerate(zip(truth, labels, strict=True)):
        confusion.add(true, ours)
        edges.add(true, ours)
        video.add(true, ours)
        streaming.add(true, ours, 150.0)
        temporal.add(ours, STILL if number else None, ALL if number else None, true)
    assert (found.miou, found.pixel_accuracy) == (confusion.mean_iou, confusion.pixel_accuracy)
    assert found.boundary_f == pytest.approx(edges.mean_f1)
    assert (found.streaming_miou, found.streaming_dropped) == (streaming.miou, streaming.dropped)
    assert found.streaming_rate == 10
    assert streaming.dropped > 0
    assert found.streaming_miou < found.miou
    assert (found.consistency, found.flicker) == (temporal.consistency, temporal.flicker_rate)
    assert found.needless_flicker == temporal.needless_flicker
    assert found.vc == {str(window): value for window, value in video.vc.items()}
    assert found.vc_right == {str(window): value for window, value in video.vc_right.items()}
    assert 0 < found.vc["16"] < found.vc["8"] < 1


def test_figures_computed_by_hand() -> None:
    """Two frames of 192 pixels: half road and half car; the second map calls a quarter of the road car."""
    truth = np.zeros((2, *SIZE), np.uint8)
    truth[:, :, 8:] = 1
    labels = truth.copy()
    labels[1, :, :4][:6] = 1
    found = measured(truth, labels)
    road, car = found.classes["road"], found.classes["car"]
    assert (road.iou, road.precision, road.recall) == (168 / 192, 1, 168 / 192)
    assert (car.iou, car.precision, car.recall) == (192 / 216, 192 / 216, 1)
    assert road.dice == pytest.approx(2 * 168 / (168 + 192))
    assert found.miou == pytest.approx((168 / 192 + 192 / 216) / 2)
    assert found.pixel_accuracy == 360 / 384
    assert found.flicker == found.needless_flicker == 24 / 192
    assert {field.name: getattr(found.classes["sky"], field.name) for field in fields(found.classes["sky"])} == (
        dict.fromkeys(("iou", "precision", "recall", "dice", "boundary_f"))
    )
    assert found.by_distance == {"0": 1.0, "1": pytest.approx((72 / 96 + 96 / 120) / 2)}


def test_without_truth_only_steadiness_is_known() -> None:
    _, labels = maps(9)
    found = measured(np.stack([UNKNOWN] * 9), labels)
    known = {field.name for field in fields(found) if getattr(found, field.name) not in (None, {})}
    assert known == {"consistency", "flicker"}
    assert 0 < found.consistency < 1


def test_a_single_frame_is_steady_against_nothing() -> None:
    truth, labels = maps(1)
    found = measured(truth, labels)
    assert {getattr(found, name) for name in STEADY} == {None}
    assert found.vc == {"8": None, "16": None}
    assert found.miou is not None


def test_time_goes_on_where_there_is_no_truth() -> None:
    """Every second frame has none; a map that takes a frame and a half is still late, and clips are still long."""
    truth, labels = maps(20)
    truth[1::2] = UNKNOWN
    found = measured(truth, labels, latency_ms=150.0)
    streaming, video = StreamingMiou(3, 10.0), VideoConsistency((8, 16))
    for true, ours in zip(truth, labels, strict=True):
        streaming.add(true, ours, 150.0)
        video.add(true, ours)
    assert (found.streaming_miou, found.streaming_dropped) == (streaming.miou, streaming.dropped)
    assert found.vc == {"8": None, "16": None}
    assert set(video.clips.values()) == {0}
    alone = Confusion(3)
    for true, ours in zip(truth[::2], labels[::2], strict=True):
        alone.add(true, ours)
    assert found.miou == alone.mean_iou


def test_frames_without_truth_may_change_their_size() -> None:
    meter, pictures = QualityMeter(LABELS, 10.0), FrameFlow()
    for height, width in ((90, 120), (90, 120), (720, 960), (360, 480), (360, 480)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        labels = np.zeros((height, width), np.uint8)
        moved = pictures(image)
        meter.add(np.full_like(labels, IGNORE_ID), labels, moved, latency_ms=1.0, age_frames=0)
    assert meter.quality().consistency == 1


def test_videos_of_two_sizes_do_not_meet() -> None:
    meter = QualityMeter(LABELS, 10.0)
    for side in (8, 16):
        meter.cut()
        still = np.zeros((side, side), np.uint8)
        for number in range(9):
            moved = (np.zeros((side, side, 2), np.float32), np.ones((side, side), np.bool_)) if number else None
            meter.add(still, still, moved, latency_ms=0.0, age_frames=0)
    found = meter.quality()
    assert (found.miou, found.streaming_miou, found.vc["8"], found.vc["16"]) == (1, 1, 1, None)


def test_single_frames_are_no_stream() -> None:
    """Their maps are never done when the next frame is captured; but one pair is a stream."""
    meter = QualityMeter(LABELS, 10.0)
    truth, labels = maps(4)
    for true, ours in zip(truth[:3], labels[:3], strict=True):
        meter.cut()
        meter.add(true, ours, None, latency_ms=50.0, age_frames=0)
    found = meter.quality()
    assert (found.streaming_miou, found.streaming_dropped, found.streaming_rate) == (None, None, None)
    assert found.miou is not None
    assert "streaming mIoU" not in [name for name, *_ in quality_rows(found, found)]
    meter.add(truth[3], labels[3], None, latency_ms=50.0, age_frames=0)
    again = meter.quality()
    assert again.streaming_miou is not None
    assert again.streaming_rate == 10


def test_only_known_metrics_are_compared() -> None:
    truth, labels = maps(12)
    ours, theirs = measured(truth, labels), measured(truth, truth % 3)
    rows = quality_rows(ours, theirs)
    assert rows[0] == ("mIoU", percent(ours.miou), "100.00")
    names = [name for name, *_ in rows]
    assert {"VC8, constant where the truth is", "VC8, constant and correct"} <= set(names)
    assert not any("VC16" in name for name in names), "twelve frames are no clip of sixteen"
    unlabelled = measured(np.stack([UNKNOWN] * 12), labels)
    assert [name for name, *_ in quality_rows(unlabelled, unlabelled)] == ["temporal consistency", "flicker"]


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0.0, "0.00"), (0.12345, "12.35"), (1.0, "100.00")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize("size", [(240, 320), (360, 640)], ids=["as it is", "made smaller"])
def test_pictures_know_the_motion_and_what_was_hidden(size: tuple[int, int]) -> None:
    """Against the renderer; flow of textureless sky is anybody's guess, so that the median pixel counts."""
    pictures, errors, lengths, seen, hidden = FrameFlow(), [], [], [], []
    for frame in render_street(StreetOptions(size_hw=size, seed=4, camera="walking", effects=NO_EFFECTS), 6):
        moved = pictures(frame.image)
        if frame.seq == 0:
            assert moved is None
            continue
        motion, visible = moved
        assert (motion.shape, motion.dtype, visible.shape, visible.dtype) == ((*size, 2), np.float32, size, np.bool_)
        clear = ~frame.occluded
        errors.append(np.linalg.norm(motion - frame.motion, axis=-1)[clear])
        lengths.append(np.linalg.norm(frame.motion, axis=-1)[clear])
        seen.append(visible)
        hidden.append(frame.occluded)
    assert max(size) > MAX_FLOW_SIDE_PX or size == (240, 320)
    assert np.median(np.concatenate(errors)) < 0.5 * np.median(np.concatenate(lengths))
    visible, occluded = np.stack(seen), np.stack(hidden)
    assert (~visible)[occluded].mean() > 1.5 * (~visible)[~occluded].mean()
    assert visible[~occluded].mean() > 0.7
