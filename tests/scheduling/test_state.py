"""Carried state moves with the image."""

from __future__ import annotations

import numpy as np

from edge_vseg.scheduling.state import MotionStep, Origin, ShownMap, Track

START = Origin(frame=0, capture_ns=0)


LATER = Origin(frame=9, capture_ns=900_000_000)


def test_motion_fields_compose() -> None:
    """Two affine movements, against the product of their matrices."""
    height, width = 60, 80
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    first = np.array([[1.02, 0.01, 0.5], [-0.01, 1.01, 1.0]])
    second = np.array([[0.99, 0.0, -1.5], [0.02, 1.0, 0.25]])

    def field(matrix: np.ndarray) -> np.ndarray:
        moved = np.einsum("ij,hwj->hwi", matrix[:, :2], np.stack((x, y), -1)) + matrix[:, 2]
        return (moved - np.stack((x, y), -1)).astype(np.float32)

    both = np.vstack((second, (0, 0, 1))) @ np.vstack((first, (0, 0, 1)))
    track, still = Track.begin(START, (4, 4)), np.zeros((4, 4, 2), np.float32)
    for matrix in (second, first):  # from the older frame on
        track.extend(MotionStep.of(field(matrix), still, np.zeros((4, 4), np.float32)), LATER)
    composed = track.motion
    assert composed is not None
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(composed[inner], field(both[:2])[inner], atol=0.02)


def test_drift_is_warped_and_accumulates() -> None:
    track = Track.begin(START, (8, 12))
    right, added = np.zeros((8, 12, 2), np.float32), np.zeros((8, 12), np.float32)
    right[..., 0] = -1.0  # everything came from one cell to the left
    added[3, 4] = 0.25
    for _ in range(3):
        track.extend(MotionStep.of(right, right, added), LATER)
    assert np.flatnonzero(track.drift).tolist() == [3 * 12 + 4, 3 * 12 + 5, 3 * 12 + 6]
    track.extend(MotionStep.of(right * 0, right * 0, added * 40, still=True), LATER)
    assert track.drift.max() == 1


def test_ages_are_warped_and_grow() -> None:
    cells = np.ones((4, 6), np.uint8)
    cells[:, 2] = 0
    old, new = Origin(frame=3, capture_ns=0), Origin(frame=8, capture_ns=500_000_000)
    track = Track.begin(new, (4, 6))
    shown = ShownMap(track=track, origins=(old, new), cells=cells, fused=np.ones((1, 4, 6), np.float32))
    assert shown.oldest is old
    assert shown.ages(new, track.motion, (4, 6))[0].tolist() == [0, 0, 5, 0, 0, 0]
    right = np.zeros((4, 6, 2), np.float32)
    right[..., 0] = -1.0
    track.extend(MotionStep.of(right, right, np.zeros((4, 6), np.float32)), LATER)
    now = Origin(frame=9, capture_ns=620_000_000)
    assert shown.origin_cells(track.motion, (4, 6))[0].tolist() == [1, 1, 1, 0, 1, 1], "what is stored does not spread"
    # What came from outside is a frame older; beside an older cell the scores are interpolated with its.
    assert shown.ages(now, track.motion, (4, 6))[0].tolist() == [2, 1, 6, 6, 6, 1]
    assert shown.ages_ms(now, track.motion, (4, 6))[0].tolist() == [120, 120, 620, 620, 620, 120]
