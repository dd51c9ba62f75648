"""The small pictures against means of blocks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_vseg.motion.grey_pyramid import GreyPyramid


def block_means(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = image.shape[0] // factor, image.shape[1] // factor
    return image.reshape(height, factor, width, factor, -1).mean(axis=(1, 3)).squeeze()


def test_a_frame_of_the_networks_size_gives_means_of_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    pyramid = GreyPyramid((128, 160))
    pyramid.fill(image)
    grey = image @ np.array([0.114, 0.587, 0.299])  # ITU-R BT.601
    for picture, factor in ((pyramid.half, 2), (pyramid.quarter, 4), (pyramid.eighth, 8)):
        expected = block_means(grey, factor)
        assert picture.shape == expected.shape
        assert np.abs(picture - expected).max() <= 2.0  # rounded at each step


@pytest.mark.parametrize("size_hw", [(90, 120), (360, 480), (720, 1280), (333, 517)], ids=str)
def test_a_frame_of_any_size_gives_the_same_scene(size_hw: tuple[int, int]) -> None:
    coarse = np.random.default_rng(1).integers(40, 200, (6, 8, 3), np.uint8)
    pyramid = GreyPyramid((360, 480))
    pyramid.fill(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_LINEAR))
    expected = cv2.cvtColor(cv2.resize(coarse, (60, 45), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY)
    assert cv2.absdiff(pyramid.eighth, expected).max() <= 4


def test_small_networks_keep_sides_that_can_be_matched() -> None:
    pyramid = GreyPyramid((96, 160))
    assert (pyramid.half.shape, pyramid.quarter.shape, pyramid.eighth.shape) == ((64, 80), (32, 40), (12, 20))


def test_a_picture_at_another_size() -> None:
    pyramid = GreyPyramid((360, 480))
    pyramid.fill(np.full((360, 480, 3), 77, np.uint8))
    for picture in (pyramid.half, pyramid.quarter, pyramid.eighth):
        assert pyramid.at(picture.shape) is picture
    other = pyramid.at((50, 70))
    assert other.shape == (50, 70)
    assert (other == 77).all()


def test_filling_again_replaces_every_picture() -> None:
    pyramid, fresh = GreyPyramid((128, 160)), GreyPyramid((128, 160))
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 200, 3), np.uint8)
    for image in images:
        pyramid.fill(image)
    fresh.fill(images[1])
    for name in ("half", "quarter", "eighth"):
        np.testing.assert_array_equal(getattr(pyramid, name), getattr(fresh, name))
