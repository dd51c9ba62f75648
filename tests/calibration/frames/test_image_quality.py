"""Black, flat and blurred frames."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic_clip import blur, panorama, view

from edge_vseg.calibration.frames.image_quality import blurred, measure

PROJECT = Path(__file__).resolve().parents[3]


def noisy(level: float, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(level, sigma, (90, 160, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        pytest.param(np.zeros((90, 160, 3), np.uint8), "black", id="black"),
        pytest.param(noisy(3, 3), "black", id="noise of a covered lens"),
        pytest.param(np.full((90, 160, 3), 255, np.uint8), "flat", id="white"),
        pytest.param(noisy(120, 1.5), "flat", id="a grey wall"),
        pytest.param(view(panorama(), 3), None, id="a scene"),
        pytest.param(view(panorama(), 3) // 5, None, id="the scene at night"),
        pytest.param(np.zeros((1, 1, 3), np.uint8), "black", id="one pixel"),
    ],
)
def test_faults_of_a_single_frame(image, fault):
    assert measure(image).fault == fault


def test_a_lamp_in_the_dark_is_not_black():
    image = np.zeros((90, 160, 3), np.uint8)
    image[20:30, 40:60] = 230
    assert measure(image).fault is None


def test_sharpness_falls_with_blur_and_not_with_exposure():
    scene = view(panorama(), 5)
    sharp = measure(scene).sharpness
    softer = [measure(blur(scene, sigma)).sharpness for sigma in (1, 2, 4)]
    assert sharp > softer[0] > softer[1] > softer[2]
    darker = measure((scene * 0.4).astype(np.uint8)).sharpness
    assert abs(darker - sharp) < 0.2 * (sharp - softer[0])


def test_sharpness_is_the_ratio_of_variances():
    """Recomputed with numpy: the 4-neighbour Laplacian with the border mirrored at the edge pixel."""
    image = view(panorama(), 7)
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(float)
    padded = np.pad(gray, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * gray
    expected = np.log((laplacian.var() + 1) / (gray.var() + 1))
    assert measure(image).sharpness == pytest.approx(expected, rel=1e-4)


def test_only_outliers_of_the_clip_are_blurred():
    values = np.random.default_rng(0).normal(-2, 0.1, 100)
    values[[10, 60]] = [-3.5, -4]
    assert np.flatnonzero(blurred(values)).tolist() == [10, 60]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.full(50, -2.0), id="all alike"),
        pytest.param(np.random.default_rng(1).normal(-2, 0.3, 500), id="spread by nature"),
        pytest.param(np.tile([-2.0, -3.5], 50), id="two kinds of scene"),
        pytest.param(np.array([-2.0, -2, -2, -2, -9]), id="too few to compare"),
        pytest.param(np.empty(0), id="none"),
    ],
)
def test_clips_without_blurred_frames(values):
    assert not blurred(values).any()


@pytest.mark.data
def test_blurred_real_frames_are_found():
    """One frame in five of a real drive is blurred by hand; exactly those are found."""
    folder = Path(os.environ.get("EDGE_VSEG_DATA", PROJECT.parent / "shared" / "data")) / "camvid" / "val"
    if not folder.is_dir():
        pytest.skip(f"CamVid is not at {folder}; set EDGE_VSEG_DATA")
    sharpness = []
    for index, path in enumerate(sorted(folder.iterdir())[:40]):
        image = cv2.imread(str(path))
        sharpness.append(measure(blur(image, 2.5) if index % 5 == 3 else image).sharpness)
    assert np.flatnonzero(blurred(np.array(sharpness))).tolist() == list(range(3, 40, 5))
