"""Crops, colours and old views, against what geometry says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.export.reference.training.augment import paste_things, place, recolour
from edge_vseg.export.reference.training.older_view import make_older_view, warp


def smooth_picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.floats(1.3, 2.5))
def test_a_crop_of_enlarged_content_is_full(seed: int, scale: float) -> None:
    """Turned by a few degrees at most, so all but the corners lies inside the frame."""
    placement = place((240, 320), (160, 192), (scale, scale), np.random.default_rng(seed))
    inside = placement.labels(np.zeros((240, 320), np.uint8)) == 0
    assert inside.mean() > 0.85
    assert inside[70:90, 86:106].all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_matrix_maps_frame_to_crop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    placement = place((120, 160), (96, 128), (0.6, 1.9), rng)
    labels = rng.integers(0, 11, (120, 160), dtype=np.uint8)
    crop = placement.labels(labels)
    back = np.linalg.inv(np.vstack((placement.matrix, (0, 0, 1))))
    for row, column in rng.integers(0, (96, 128), (20, 2)):
        x, y, _ = back @ (column, row, 1)
        if min(abs(x % 1 - 0.5), abs(y % 1 - 0.5)) < 0.05:
            continue  # between two pixels either is right
        nearest = round(float(x)), round(float(y))
        within = 0 <= nearest[0] < 160 and 0 <= nearest[1] < 120
        assert crop[row, column] == (labels[nearest[1], nearest[0]] if within else 255)


def test_image_and_labels_are_cropped_alike() -> None:
    labels = np.zeros((240, 320), np.uint8)
    labels[60:180, 80:240] = 1
    image = np.repeat(labels[..., None] * 200, 3, axis=2)
    for seed in range(8):
        placement = place((240, 320), (160, 192), (0.6, 1.9), np.random.default_rng(seed))
        moved, truth = placement.image(image), placement.labels(labels)
        known = truth < 255
        assert np.mean((moved[..., 0][known] > 100) == (truth[known] == 1)) > 0.98


@pytest.mark.parametrize("seed", range(12))
def test_recolour_keeps_the_geometry(seed: int) -> None:
    picture = smooth_picture(60, 80)
    before = picture.copy()
    changed = recolour(picture, np.random.default_rng(seed))
    assert (changed.shape, changed.dtype) == (picture.shape, np.uint8)
    np.testing.assert_array_equal(picture, before)
    assert np.abs(changed.astype(int) - picture).mean() > 1
    grey, grey_before = (cv2.cvtColor(value, cv2.COLOR_BGR2GRAY).ravel() for value in (changed, picture))
    assert np.corrcoef(grey, grey_before)[0, 1] > 0.8


def test_motion_leads_to_the_older_view() -> None:
    """Carried along the estimated motion the older view is far more like the present than it was."""
    picture = smooth_picture(96, 128)
    gains = []
    for seed in range(12):
        older, motion = make_older_view(picture, np.random.default_rng(seed))
        assert (motion.shape, motion.dtype) == ((12, 16, 2), np.float32)
        large = cv2.resize(motion, (128, 96), interpolation=cv2.INTER_LINEAR) * 8
        y, x = np.mgrid[0:96, 0:128].astype(np.float32)
        carried = cv2.remap(
            older, x + large[..., 0], y + large[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        gains.append([np.median(np.abs(value.astype(int) - picture)[12:-12, 12:-12]) for value in (older, carried)])
    held, warped = np.mean(gains, axis=0)
    assert warped < 0.6 * held


def test_warp_by_whole_cells_is_a_shift() -> None:
    context = torch.randn(1, 3, 6, 7)
    motion = torch.zeros(1, 6, 7, 2)
    motion[..., 0], motion[..., 1] = 2.0, -1.0
    warped = warp(context, motion)
    torch.testing.assert_close(warped[:, :, 1:, :5], context[:, :, :-1, 2:])
    torch.testing.assert_close(warped[:, :, 0, :5], context[:, :, 0, 2:], msg="outside repeats the edge")


def test_warp_by_fractions_of_cells_equals_opencv_remap() -> None:
    rng = np.random.default_rng(0)
    plane, motion = rng.normal(size=(9, 11)).astype(np.float32), rng.uniform(-2, 2, (9, 11, 2)).astype(np.float32)
    y, x = np.mgrid[0:9, 0:11].astype(np.float32)
    expected = cv2.remap(
        plane, x + motion[..., 0], y + motion[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    warped = warp(torch.from_numpy(plane)[None, None], torch.from_numpy(motion)[None])
    np.testing.assert_allclose(warped[0, 0].numpy(), expected, atol=0.12)  # OpenCV's weights have 5 bits


def test_pasted_objects_have_their_labels_and_pixels() -> None:
    donor_labels = np.zeros((96, 128), np.uint8)
    donor_labels[40:60, 50:64] = 8
    donor_labels[10:12, 10:12] = 9  # too small to be worth it
    donor = np.full((96, 128, 3), 200, np.uint8)
    image, labels = np.full((96, 128, 3), 30, np.uint8), np.ones((96, 128), np.uint8)
    for seed in range(8):
        pasted, changed, _ = paste_things(image, labels, donor, donor_labels, (8, 9), np.random.default_rng(seed))
        assert set(np.unique(changed)) <= {1, 8}
        inner = cv2.erode((changed == 8).astype(np.uint8), np.ones((7, 7))) > 0
        outer = cv2.dilate((changed == 8).astype(np.uint8), np.ones((7, 7))) > 0
        assert (pasted[inner] > 190).all()
        assert (pasted[~outer] == 30).all()
    assert (image == 30).all()
    assert (labels == 1).all()


def test_nothing_is_pasted_from_a_crop_without_objects() -> None:
    rng = np.random.default_rng(0)
    image, labels = smooth_picture(96, 128), np.ones((96, 128), np.uint8)
    pasted, changed, _ = paste_things(image, labels, image[::-1], labels * 0, (8, 9), rng)
    assert (pasted == image).all()
    assert (changed == labels).all()
