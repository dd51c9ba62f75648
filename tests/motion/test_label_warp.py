"""Warped label maps against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.errors import FrameError
from edge_vseg.motion.label_warp import LabelWarper


def by_loops(labels: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Nearest neighbour, pixel by pixel, for a field of the label map's own size."""
    height, width = labels.shape
    warped = np.empty_like(labels)
    for y in range(height):
        for x in range(width):
            from_x, from_y = (int(np.rint(at + motion[y, x, axis])) for axis, at in enumerate((x, y)))
            warped[y, x] = labels[min(max(from_y, 0), height - 1), min(max(from_x, 0), width - 1)]
    return warped


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 24), st.integers(1, 24))
def test_as_loops_do(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 255, (height, width), np.uint8)
    # Away from halves, where OpenCV and rint break ties in different ways.
    motion = (rng.integers(-6, 7, (height, width, 2)) + rng.uniform(-0.4, 0.4, (height, width, 2))).astype(np.float32)
    np.testing.assert_array_equal(LabelWarper((height, width))(labels, motion), by_loops(labels, motion))


@pytest.mark.parametrize("size_hw", [(48, 64), (36, 64), (90, 96)], ids=str)
def test_a_coarse_field_moves_everything_by_its_pixels(size_hw: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 11, size_hw, np.uint8)
    field = np.empty((12, 16, 2), np.float32)
    field[...] = (4 * 16 / size_hw[1], -6 * 12 / size_hw[0])  # 4 pixels to the right, 6 up
    warped = LabelWarper(size_hw)(labels, field)
    np.testing.assert_array_equal(warped[6:, :-4], labels[:-6, 4:])


def test_no_motion_changes_nothing_and_copies() -> None:
    labels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    warped = LabelWarper((6, 8))(labels, np.zeros((3, 4, 2), np.float32))
    np.testing.assert_array_equal(warped, labels)
    assert not np.shares_memory(warped, labels)


def test_results_of_two_calls_do_not_share_memory() -> None:
    warper, field = LabelWarper((6, 8)), np.zeros((6, 8, 2), np.float32)
    first = warper(np.zeros((6, 8), np.uint8), field)
    warper(np.ones((6, 8), np.uint8), field)
    assert first.max() == 0


def test_another_size_is_refused() -> None:
    with pytest.raises(FrameError, match="expected a label map of 6x8, got 8x6"):
        LabelWarper((6, 8))(np.zeros((8, 6), np.uint8), np.zeros((6, 8, 2), np.float32))
