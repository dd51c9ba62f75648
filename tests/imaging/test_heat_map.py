"""Maps drawn as heat: dark where 0, bright where high, the frame behind, and a scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.imaging.heat_map import draw_heat_map

GREY = np.full((240, 320, 3), 90, np.uint8)


def brightness(picture: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of BGR."""
    return picture.astype(float) @ (0.114, 0.587, 0.299)


def ramp(width: int = 32) -> np.ndarray:
    return np.tile(np.linspace(0, 1, width, dtype=np.float32), (8, 1))


def test_brighter_is_higher() -> None:
    rows = brightness(draw_heat_map(GREY, ramp(), "age"))[:150].mean(0)  # above the scale
    assert (np.diff(rows[::10]) > 0).all()
    assert rows[-1] > rows[0] + 100


def test_the_frame_is_behind_it_and_is_not_changed() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (240, 320, 3), np.uint8)
    before = image.copy()
    picture = draw_heat_map(image, np.full((6, 8), 0.3, np.float32), "age")
    np.testing.assert_array_equal(image, before)
    assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
    seen = np.corrcoef(brightness(picture)[:150].ravel(), brightness(image)[:150].ravel())[0, 1]
    assert seen > 0.95


def test_values_at_any_size_lie_where_they_belong() -> None:
    values = np.zeros((3, 4), np.float32)
    values[0, 3] = 1
    picture = brightness(draw_heat_map(GREY, values, "age"))
    row, column = np.unravel_index(picture[:150].argmax(), picture[:150].shape)
    assert row < 80
    assert column >= 240


@given(st.floats(0.1, 1e3))
def test_values_scale_with_the_highest(highest: float) -> None:
    """Within a grey level, for the quotient is rounded; the numbers of the scale differ."""
    scaled = draw_heat_map(GREY, ramp() * np.float32(highest), "x", highest=highest)[:150]
    np.testing.assert_allclose(scaled.astype(int), draw_heat_map(GREY, ramp(), "x")[:150].astype(int), atol=6)


@pytest.mark.parametrize(("value", "like"), [(9.0, 1.0), (np.inf, 1.0), (np.nan, 1.0), (-3.0, 0.0), (-np.inf, 0.0)])
def test_values_beyond_the_scale_are_clipped(value: float, like: float) -> None:
    pictures = [draw_heat_map(GREY, np.full((6, 8), each, np.float32), "age") for each in (value, like)]
    np.testing.assert_array_equal(*pictures)


def test_one_cell_of_nan_does_not_spoil_its_neighbours() -> None:
    values = np.full((6, 8), 0.5, np.float32)
    values[0, 0] = np.nan
    np.testing.assert_array_equal(
        draw_heat_map(GREY, values, "age")[:, 200:],
        draw_heat_map(GREY, np.full_like(values, 0.5), "age")[:, 200:],
    )


def test_the_scale_says_what_the_highest_is() -> None:
    """Its bar rises from left to right; with other numbers, other pixels are lit."""
    flat = np.full((6, 8), 0.2, np.float32)
    one, two = (draw_heat_map(GREY, flat, "age", highest=h, unit=" frames") for h in (1.0, 10.0))
    again = draw_heat_map(GREY, flat * 10, "age", highest=10.0, unit=" frames")
    np.testing.assert_array_equal(two[:150], draw_heat_map(GREY, flat / 10, "age")[:150])
    different = np.argwhere((one != again).any(-1))
    assert len(different) > 20
    assert different[:, 0].min() >= 240 - 2 * 12
    assert different[:, 1].max() < 160


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (40, 30), (48, 200)])
def test_small_pictures_have_heat_without_a_scale(size: tuple[int, int]) -> None:
    picture = draw_heat_map(np.zeros((*size, 3), np.uint8), np.ones((2, 2), np.float32), "age")
    assert picture.shape == (*size, 3)
    assert (brightness(picture) > 100).any()


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (GREY[..., 0], ramp()),
        (GREY[..., :2], ramp()),
        (GREY.astype(np.float32), ramp()),
        (GREY, ramp()[0]),
        (GREY, ramp()[None]),
        (GREY, np.empty((0, 4), np.float32)),
    ],
    ids=["grey", "two channels", "float", "a row", "three axes", "nothing"],
)
def test_wrong_shapes_are_refused(image: np.ndarray, values: np.ndarray) -> None:
    with pytest.raises(FrameError, match="expected"):
        draw_heat_map(image, values, "age")


@pytest.mark.parametrize("highest", [0.0, -1.0, np.nan])
def test_an_impossible_scale_is_refused(highest: float) -> None:
    with pytest.raises(OptionError, match="positive"):
        draw_heat_map(GREY, ramp(), "age", highest=highest)
