"""Occupancy grids against a pinhole camera written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.navigation import GridSpec, GroundView, ground_homography

HEIGHT, WIDTH = 120, 160
FOCAL, PITCH, CAMERA_M = 100.0, math.radians(20), 1.2
"""A camera 1.2 m above the ground that looks 20 degrees down; x to the right and y ahead, on the ground."""


def pixel_of(x_m: float, y_m: float) -> tuple[float, float] | None:
    """Where a point on the ground is seen; ``None`` behind the camera."""
    depth = y_m * math.cos(PITCH) + CAMERA_M * math.sin(PITCH)
    below = CAMERA_M * math.cos(PITCH) - y_m * math.sin(PITCH)
    if depth <= 0:
        return None
    return (WIDTH - 1) / 2 + FOCAL * x_m / depth, (HEIGHT - 1) / 2 + FOCAL * below / depth


POINTS_M = [(-1.0, 2.0), (1.0, 2.0), (2.0, 6.0), (-2.0, 6.0)]
SPEC = GridSpec(resolution_m=0.1, size_hw=(90, 60), origin_m=(-3.0, -1.0))


def homography(points: list[tuple[float, float]] = POINTS_M) -> np.ndarray:
    return ground_homography([pixel_of(*point) for point in points], points)


def labels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), (HEIGHT, WIDTH))


@pytest.mark.parametrize("points", [POINTS_M, [*POINTS_M, (0.0, 3.5), (0.5, 9.0)], POINTS_M[::-1]], ids=len)
def test_homography_maps_pixels_to_metres(points: list[tuple[float, float]]) -> None:
    found = homography(points)
    for x_m, y_m in [(0.3, 1.5), (-4.0, 12.0), (2.0, 0.5)]:
        x, y, w = found @ (*pixel_of(x_m, y_m), 1.0)
        assert w > 0
        assert (x / w, y / w) == pytest.approx((x_m, y_m), abs=1e-4)  # OpenCV takes points as float32
    assert (found @ (80.0, 0.0, 1.0))[2] < 0, "above the horizon"


@pytest.mark.parametrize("seed", range(3))
def test_every_cell_against_the_camera(seed: int) -> None:
    labels = labels_of(seed)
    grid = GroundView(homography(), SPEC, (HEIGHT, WIDTH)).occupancy(labels, {0, 2})
    assert grid.shape == SPEC.size_hw
    assert grid.dtype == np.int8
    counts = {0: 0, 100: 0, -1: 0}
    for row in range(SPEC.size_hw[0]):
        for column in range(SPEC.size_hw[1]):
            x_m = SPEC.origin_m[0] + (column + 0.5) * SPEC.resolution_m
            y_m = SPEC.origin_m[1] + (row + 0.5) * SPEC.resolution_m
            pixel = pixel_of(x_m, y_m)
            expected = -1
            if pixel is not None:
                if min(abs((coordinate + 0.5) % 1 - 0.5) for coordinate in (pixel[0] + 0.5, pixel[1] + 0.5)) < 1e-6:
                    continue  # on the border of two pixels
                x, y = math.floor(pixel[0] + 0.5), math.floor(pixel[1] + 0.5)
                if 0 <= x < WIDTH and 0 <= y < HEIGHT:
                    expected = {0: 0, 2: 0, 1: 100, 255: -1}[int(labels[y, x])]
            assert grid[row, column] == expected, (row, column)
            counts[expected] += 1
    assert min(counts.values()) > 100, "all three kinds are there"


def test_cells_behind_the_camera_are_unseen() -> None:
    """Their lines of sight meet the picture from behind, where a division alone would find a pixel."""
    behind = GridSpec(resolution_m=0.5, size_hw=(20, 20), origin_m=(-5.0, -12.0))
    assert (GroundView(homography(), behind, (HEIGHT, WIDTH)).occupancy(labels_of(0), {0}) == -1).all()


@pytest.mark.parametrize(
    ("pixels", "metres", "message"),
    [
        ([(0, 0)] * 3, [(0, 0)] * 3, "four or more"),
        ([(0, 0)] * 4, [(0, 0)] * 5, "as many"),
        ([(0, 0), (1, 0), (2, 0), (3, 0)], [(0, 0), (1, 0), (2, 0), (3, 0)], "do not determine"),
        ([(0, 0), (1, 0), (1, 1), (0, float("nan"))], [(0, 0), (1, 0), (1, 1), (0, 1)], "finite"),
        ([(0, 0), (1, 0), (1, 1), (0, 1)], [(0, 0), (1, 1), (1, 0), (0, 1)], "beyond the horizon"),
    ],
    ids=["three", "unequal", "on a line", "nan", "crossed"],
)
def test_points_that_give_no_homography(pixels: list, metres: list, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ground_homography(pixels, metres)


def test_impossible_grids_and_labels() -> None:
    with pytest.raises(OptionError, match="resolution_m must be positive"):
        GridSpec(resolution_m=0, size_hw=(1, 1), origin_m=(0, 0))
    with pytest.raises(OptionError, match="invertible"):
        GroundView(np.zeros((3, 3)), SPEC, (HEIGHT, WIDTH))
    with pytest.raises(FrameError, match=r"expected labels of \(120, 160\), got \(60, 80\)"):
        GroundView(homography(), SPEC, (HEIGHT, WIDTH)).occupancy(np.zeros((60, 80), np.uint8), {0})
