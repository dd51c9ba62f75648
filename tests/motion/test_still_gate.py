"""Noise must pass for stillness, motion and light must not."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vseg import open_source
from edge_vseg.motion.grey_pyramid import GreyPyramid
from edge_vseg.motion.still_gate import is_still

NETWORK_HW = (360, 480)


def scene(height: int, width: int) -> np.ndarray:
    """Smooth surfaces and sharp edges, as float."""
    rng = np.random.default_rng(2)
    coarse = rng.integers(30, 220, (9, 12, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def noisy(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of the luminance, which averages out less than that of each channel."""
    noise = rng.normal(0, sigma, image.shape[:2])[..., None]
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def eighth(image: np.ndarray) -> np.ndarray:
    pyramid = GreyPyramid(NETWORK_HW)
    pyramid.fill(image)
    return pyramid.eighth


@pytest.mark.parametrize("size_hw", [(360, 480), (360, 640), (720, 1280)], ids=str)
@pytest.mark.parametrize("sigma", [0, 2, 4])
def test_noise_is_still(size_hw: tuple[int, int], sigma: float) -> None:
    rng, image = np.random.default_rng(0), scene(*size_hw)
    reference = eighth(noisy(image, sigma, rng))
    assert all(is_still(eighth(noisy(image, sigma, rng)), reference) for _ in range(20))


@pytest.mark.parametrize("size_hw", [(360, 480), (720, 1280)], ids=str)
def test_a_finger_that_moves_is_motion(size_hw: tuple[int, int]) -> None:
    """A fortieth of the frame's height, 40 levels from its ground, which moves by half its width."""
    rng, image = np.random.default_rng(0), np.full((*size_hw, 3), 120, np.float32)
    side = size_hw[0] // 40
    pictures = []
    for at in (0, side // 2):
        with_finger = image.copy()
        with_finger[100 : 100 + 3 * side, 200 + at : 200 + at + side] += 40
        pictures.append(eighth(noisy(with_finger, 2, rng)))
    assert not is_still(pictures[1], pictures[0])


def test_a_large_dark_object_before_a_dark_ground_is_motion() -> None:
    """Three levels, half of what a single cell may differ by."""
    rng, image = np.random.default_rng(0), np.full((*NETWORK_HW, 3), 20, np.float32)
    before = eighth(noisy(image, 2, rng))
    image[100:220, 150:250] += 3
    assert not is_still(eighth(noisy(image, 2, rng)), before)


def test_light_that_changes_by_a_level_per_frame_is_noticed_on_the_third_frame_at_the_latest() -> None:
    rng, image = np.random.default_rng(0), scene(*NETWORK_HW)
    before = eighth(noisy(image, 2, rng))
    still = [is_still(eighth(noisy(image + frame, 2, rng)), before) for frame in range(1, 4)]
    assert not still[1]
    assert not still[2]


def test_a_resting_person_is_told_from_a_moving_one(data_dir: Path) -> None:
    """Against the full-size frames: where they show changed pixels, the small pictures must not look still."""
    with open_source(data_dir / "videos" / "thoughtful.mp4") as source:
        images = [frame.image for frame in source]
    reference, reference_image, still, changed = eighth(images[0]), images[0], [], []
    for image in images[1:]:
        picture = eighth(image)
        # Blurred over 5x5 pixels, compression leaves hardly anything above 12 levels.
        difference = cv2.absdiff(
            *(cv2.blur(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), (5, 5)) for i in (image, reference_image))
        )
        still.append(is_still(picture, reference))
        changed.append(np.count_nonzero(difference > 12))
        if not still[-1]:
            reference, reference_image = picture, image
    still, changed = np.array(still), np.array(changed)
    assert still.mean() > 0.3
    assert changed[still].max() < 120  # pixels of 230400
    assert changed[~still].max() > 4000


@pytest.mark.parametrize("name", ["dashcam.mp4", "bedroom.mp4"])
def test_a_moving_camera_is_never_still(data_dir: Path, name: str) -> None:
    with open_source(data_dir / "videos" / name) as source:
        pictures = [eighth(frame.image) for frame in islice(source, 60)]
    assert not any(is_still(now, before) for before, now in pairwise(pictures))
