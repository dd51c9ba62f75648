"""Borders along the edges of the image, against the guided filter written down as the least squares that it solves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_bilinear import ALIGNS, upsample

from edge_vseg.imaging.guided_filter import NOISE, RADIUS, LinearScores, fit_to_grey, grey_of
from edge_vseg.imaging.label_maps import LabelMapper


def least_squares(plane: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of each cell: the means of those of all windows that it lies in, each fitted by itself."""
    side = 2 * RADIUS + 1
    wide_plane, wide_grey = (np.pad(each.astype(np.float64), 2 * RADIUS, mode="reflect") for each in (plane, grey))
    height, width = plane.shape
    fits = np.empty((2, height + 2 * RADIUS, width + 2 * RADIUS))
    for y, x in np.ndindex(*fits.shape[1:]):
        window = (slice(y, y + side), slice(x, x + side))
        levels, values = wide_grey[window].ravel(), wide_plane[window].ravel()
        # The penalty on the slope is one more equation.
        matrix = np.column_stack([levels, np.ones(levels.size)])
        matrix = np.vstack([matrix, [np.sqrt(levels.size * NOISE), 0]])
        fits[:, y, x] = np.linalg.lstsq(matrix, np.append(values, 0), rcond=None)[0]
    means = [[fits[:, y : y + side, x : x + side].mean((1, 2)) for x in range(width)] for y in range(height)]
    return tuple(np.moveaxis(np.array(means), -1, 0))  # type: ignore[return-value]


def smooth(count: int, height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(count, height, width)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 2.0) for plane in noise])


def test_the_filter_solves_its_least_squares() -> None:
    scores = smooth(2, 7, 9, seed=1)
    grey = np.random.default_rng(2).integers(0, 255, (7, 9), np.uint8)
    fitted = fit_to_grey(scores, grey)
    for plane, slope, offset in zip(scores, fitted.slope, fitted.offset, strict=True):
        expected = least_squares(plane, grey)
        np.testing.assert_allclose(slope, expected[0], atol=2e-6)
        np.testing.assert_allclose(offset, expected[1], atol=2e-4)


def brute_force(scores: np.ndarray, grey: np.ndarray, align: str) -> np.ndarray:
    """``(C, H, W)`` guided scores; minus infinity for a class that wins at none of the cells around a pixel."""
    fitted: LinearScores = fit_to_grey(scores, grey)
    wins = np.eye(len(scores))[scores.argmax(0)].transpose(2, 0, 1)
    # A cell counts for a pixel however small its weight.
    rows, columns = (
        sample_cells(source, target, align) for source, target in zip(scores.shape[1:], grey.shape, strict=True)
    )
    nearby = np.einsum("yi,cij,xj->cyx", rows, wins, columns) > 0
    guided = upsample(fitted.slope, grey.shape, align) * grey + upsample(fitted.offset, grey.shape, align)
    return np.where(nearby, guided, -np.inf)


def sample_cells(source: int, target: int, align: str) -> np.ndarray:
    """``(target, source)``: which cells lie around each pixel."""
    matrix = np.zeros((target, source))
    for pixel in range(target):
        place = {
            "half_pixel": (pixel + 0.5) * (source / target) - 0.5,
            "align_corners": pixel * ((source - 1) / max(target - 1, 1)),
            "asymmetric": pixel * (source / target),
        }[align]
        first = int(np.floor(place))
        matrix[pixel, [min(max(first, 0), source - 1), min(max(first + 1, 0), source - 1)]] = 1
    return matrix


@pytest.mark.parametrize("align", ALIGNS)
@given(
    classes=st.integers(2, 6),
    low=st.tuples(st.integers(4, 12), st.integers(4, 12)),
    extra=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_equals_guiding_every_pixel(
    align: str, classes: int, low: tuple[int, int], extra: tuple[int, int], seed: int
) -> None:
    size_hw = (2 * low[0] + extra[0], 2 * low[1] + extra[1])
    scores = smooth(classes, *low, seed)
    grey = np.random.default_rng(seed).integers(0, 255, size_hw, np.uint8)
    labels, expected = LabelMapper(size_hw, align)(scores, grey), brute_force(scores, grey, align)
    taken = np.take_along_axis(expected, labels[None].astype(np.intp), axis=0)[0]
    assert (expected.max(axis=0) - taken).max() < 1e-3


def test_a_border_moves_to_the_edge_that_the_image_shows() -> None:
    """The scores are equal between two cells; the edge lies a pixel and a half beside."""
    grey = np.where(np.arange(64) < 34, 60, 180).astype(np.uint8)[None].repeat(48, axis=0)
    slope = np.clip((np.arange(16) - 7.5) / 2, -1, 1).astype(np.float32)[None].repeat(12, axis=0)
    scores = np.stack([-slope, slope])
    plain, guided = LabelMapper((48, 64))(scores), LabelMapper((48, 64))(scores, grey)
    assert (plain == (np.arange(64) >= 32)).all()
    assert (guided == (np.arange(64) >= 34)).all()


@pytest.mark.parametrize(
    ("size_hw", "align"), [((12, 16), "half_pixel"), ((23, 31), "half_pixel"), ((48, 64), "nearest")]
)
def test_what_is_not_interpolated_between_cells_is_not_guided(size_hw: tuple[int, int], align: str) -> None:
    scores = smooth(3, 12, 16, seed=1)
    grey = np.random.default_rng(2).integers(0, 255, size_hw, np.uint8)
    mapper = LabelMapper(size_hw, align)
    np.testing.assert_array_equal(mapper(scores, grey), mapper(scores))


def test_a_guide_of_another_size_is_enlarged() -> None:
    scores, grey = smooth(3, 12, 16, seed=1), np.random.default_rng(2).integers(0, 255, (48, 64), np.uint8)
    larger = cv2.resize(grey, (128, 96), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(LabelMapper((96, 128))(scores, grey), LabelMapper((96, 128))(scores, larger))


def test_a_map_that_is_all_border_is_guided_too() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 12, 16)).astype(np.float32)
    grey = np.random.default_rng(2).integers(0, 255, (48, 64), np.uint8)
    assert np.isfinite(brute_force(scores, grey, "half_pixel").max(axis=0)).all()
    assert (LabelMapper((48, 64))(scores, grey) != LabelMapper((48, 64))(scores)).any()


def test_grey_is_that_of_the_colour_order() -> None:
    blue = np.zeros((4, 5, 3), np.uint8)
    blue[..., 0] = 255
    assert (grey_of(blue) == 29).all()
    assert (grey_of(blue, color="rgb") == 76).all()
