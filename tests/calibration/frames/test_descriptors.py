"""Descriptors and their distances."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_clip import panorama, view

from edge_vseg.calibration.frames.descriptors import describe, difference, near_duplicate


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(describe(first).vector - describe(second).vector))


def test_the_thumbnail_is_the_mean_of_each_cell():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    expected = image.reshape(9, 10, 16, 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(describe(image).thumbnail, expected, atol=0.05)


def test_the_exposure_part_is_the_distribution_of_luminance():
    """Expected: cumulative shares of 16 bins, from numpy's histogram, over the root of the number of bins."""
    levels = np.random.default_rng(0).integers(0, 256, (90, 160), dtype=np.uint8)
    grey = np.repeat(levels[:, :, None], 3, axis=2)
    expected = np.cumsum(np.histogram(levels, bins=16, range=(0, 256))[0]) / levels.size / 4
    np.testing.assert_allclose(describe(grey).vector[144:160], expected, atol=2e-3)


def test_a_frame_is_at_distance_zero_from_itself():
    image = view(panorama(), 4)
    assert distance(image, image.copy()) == 0
    assert difference(describe(image), describe(image.copy())) == 0


def test_distance_grows_as_the_camera_moves():
    scene = panorama()
    near, far = distance(view(scene, 10), view(scene, 11)), distance(view(scene, 10), view(scene, 60))
    assert 0 < near < far


@pytest.mark.parametrize("gain", [0.5, 0.7, 1.1])
def test_exposure_alone_changes_the_distance(gain):
    image = view(panorama(), 10)
    exposed = np.clip(image * gain, 0, 255).astype(np.uint8)
    first, second = describe(image).vector[144:160], describe(exposed).vector[144:160]
    assert np.linalg.norm(first - second) > 0.01


def test_colour_alone_changes_the_distance():
    image = view(panorama(), 10)
    assert distance(image, image[:, :, ::-1].copy()) > 0.02


def test_noise_is_a_duplicate_and_a_car_is_not():
    image = view(panorama(), 10)
    rng = np.random.default_rng(0)
    noise = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    car = image.copy()
    car[40:52, 60:78] = 10
    assert near_duplicate(describe(image), describe(noise))
    assert not near_duplicate(describe(image), describe(car))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 30), (9, 16)])
def test_any_size_gives_a_descriptor(size):
    descriptor = describe(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert descriptor.vector.shape == (192,)
    assert descriptor.thumbnail.shape == (9, 16, 3)
    assert np.isfinite(descriptor.vector).all()
