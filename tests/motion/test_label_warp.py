"""Warped label maps against plain loops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.errors import FrameError
from edge_vseg.motion import motion_estimator, resize_field, sampling_map
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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 25), st.integers(4, 25), st.integers(-9, 9), st.integers(-9, 9))
def test_a_translation_of_blocks_is_exact_up_to_the_edges(seed: int, height: int, width: int, dx: int, dy: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 255, (height, width), np.uint8)
    field = np.empty((height // 2, width // 2, 2), np.float32)
    field[...] = dx * (width // 2) / width, dy * (height // 2) / height
    whole = np.broadcast_to(np.array((dx, dy), np.float32), (height, width, 2))
    np.testing.assert_array_equal(LabelWarper((height, width))(labels, field), by_loops(labels, whole))


@pytest.mark.parametrize("size_hw", [(360, 480), (720, 1280), (361, 481)], ids=str)
def test_real_labels_along_real_motion_differ_in_a_thousandth_of_the_pixels(
    data_dir: Path, size_hw: tuple[int, int]
) -> None:
    """Against a position for every pixel, interpolated from the field."""
    val = open_dataset(f"camvid:{data_dir}/camvid:val")
    for number in (20, 50, 80):
        now, before = (
            cv2.resize(cv2.cvtColor(val[k].image, cv2.COLOR_BGR2GRAY), (120, 90), interpolation=cv2.INTER_AREA)
            for k in (number + 1, number)
        )
        field = motion_estimator("dis-fine")(now, before)
        labels = cv2.resize(val[number].labels, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
        x, y = sampling_map(resize_field(field, size_hw))
        exact = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        assert np.mean(LabelWarper(size_hw)(labels, field) != exact) < 0.002
        assert np.mean(labels != exact) > 0.01


def test_a_map_that_was_drawn_on_is_warped_as_it_is_now() -> None:
    warper, labels = LabelWarper((8, 10)), np.zeros((8, 10), np.uint8)
    field = np.zeros((2, 2, 2), np.float32)
    warper(labels, field)
    labels[3, 7] = 5
    np.testing.assert_array_equal(warper(labels, field), labels)


def test_read_only_maps_are_told_apart() -> None:
    warper, field = LabelWarper((8, 10)), np.zeros((2, 2, 2), np.float32)
    for number in (3, 4, 3):
        labels = np.full((8, 10), number, np.uint8)
        labels.flags.writeable = False
        for _ in range(2):
            warped = warper(labels, field)
            assert (warped == number).all()
            assert warped.flags.writeable


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
