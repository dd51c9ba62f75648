"""Frames in a letterbox: where they lie, and that everything finds its way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.bundle.manifest import FrameSpec, Letterbox, TensorSpec
from edge_vseg.imaging.letterbox import FramePlace, fit_image, resize_image
from edge_vseg.imaging.preprocess import Preprocessor
from edge_vseg.motion import resize_field

SIDE = st.integers(1, 2000)
BOX = Letterbox(border_rgb=(10, 20, 30))


@given(SIDE, SIDE, st.integers(16, 1024), st.integers(16, 1024), st.floats(0, 1), st.floats(0, 1))
def test_a_place_finds_its_way_back(height: int, width: int, rows: int, columns: int, x: float, y: float) -> None:
    place = FramePlace.of((height, width), (rows, columns))
    there = place.to_input(x * width, y * height)
    assert 0 <= there[0] <= columns
    assert 0 <= there[1] <= rows
    assert place.to_frame(*there) == pytest.approx((x * width, y * height), abs=1e-6 * max(height, width))


@given(SIDE, SIDE, st.integers(16, 1024), st.integers(16, 1024))
def test_the_picture_is_the_largest_of_its_aspect_and_in_the_middle(
    height: int, width: int, rows: int, columns: int
) -> None:
    place = FramePlace.of((height, width), (rows, columns))
    (inner_rows, inner_columns), (top, left) = place.inner_hw, place.offset
    assert inner_rows == rows or inner_columns == columns
    assert abs(top - (rows - top - inner_rows)) <= 1
    assert abs(left - (columns - left - inner_columns)) <= 1
    # The aspect by whole numbers: a side is off by less than a pixel.
    scale = min(rows / height, columns / width)
    assert abs(inner_rows - max(1, height * scale)) <= 0.5
    assert abs(inner_columns - max(1, width * scale)) <= 0.5


@given(st.integers(40, 2000), st.integers(40, 2000), st.integers(64, 512), st.integers(64, 512))
def test_label_maps_are_cropped_where_the_frame_lies(height: int, width: int, rows: int, columns: int) -> None:
    """The crop, in pixels of the map, against the exact places of its corners in the input."""
    place = FramePlace.of((height, width), (rows, columns))
    (row, column), (padded_rows, padded_columns) = place.padded_offset, place.padded_hw
    assert 0 <= row <= padded_rows - height
    assert 0 <= column <= padded_columns - width
    for x, y in ((0, 0), (width, height)):
        exact = place.to_input(x, y)
        assert (column + x) * columns / padded_columns == pytest.approx(exact[0], abs=2 * columns / padded_columns)
        assert (row + y) * rows / padded_rows == pytest.approx(exact[1], abs=2 * rows / padded_rows)


@pytest.mark.parametrize("frame_hw", [(360, 480), (720, 960), (180, 240), (1080, 1440)])
def test_a_frame_that_fits_is_stretched_to_the_bit(frame_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*frame_hw, 3), np.uint8)
    boxed = FrameSpec(size_hw=(360, 480), resize=BOX)
    np.testing.assert_array_equal(fit_image(image, boxed), resize_image(image, (360, 480)))


@pytest.mark.parametrize(("color", "border"), [("bgr", (30, 20, 10)), ("rgb", (10, 20, 30))])
def test_the_input_is_the_picture_in_its_border(color: str, border: tuple[int, int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 256, (80, 30, 3), np.uint8)
    fitted = fit_image(image, FrameSpec(size_hw=(40, 60), resize=BOX), color)  # type: ignore[arg-type]
    assert fitted.shape == (40, 60, 3)
    # 80x30 becomes 40x15, with 22 columns to the left and 23 to the right; halves by the mean of four pixels.
    means = image.reshape(40, 2, 15, 2, 3).mean(axis=(1, 3))
    assert np.abs(fitted[:, 22:37] - means).max() <= 0.5
    assert (fitted[:, :22] == border).all()
    assert (fitted[:, 37:] == border).all()


def test_the_preprocessor_keeps_to_the_rule() -> None:
    tensor = TensorSpec(name="frame", shape=(1, 40, 60, 3), dtype="uint8", layout="NHWC")
    spec = FrameSpec(size_hw=(40, 60), color="rgb", resize=BOX)
    image = np.full((80, 30, 3), (200, 100, 50), np.uint8)
    given_as_bgr = Preprocessor(spec, tensor)(image)
    assert given_as_bgr[0, 0, 0].tolist() == [10, 20, 30], "the border in the graph's order"
    assert given_as_bgr[0, 20, 30].tolist() == [50, 100, 200]


def test_cells_and_motion_go_in_and_out() -> None:
    place = FramePlace.of((160, 60), (80, 120))  # 80x30 in the middle of 120 columns, from column 45
    cells = np.arange(10 * 15).reshape(10, 15)
    # A cell is 8 columns: 45 / 8 and 75 / 8 to the nearest.
    np.testing.assert_array_equal(place.crop(cells), cells[:, 6:9])
    np.testing.assert_array_equal(place.crop(np.stack([cells, -cells]))[1], -cells[:, 6:9])
    field = np.full((10, 4, 2), (0.5, -1.0), np.float32)
    padded = place.enclose_motion(field)
    assert padded.shape == (10, 16, 2)
    np.testing.assert_array_equal(padded[:, 6:10], field)
    assert not padded[:, :6].any()
    assert not padded[:, 10:].any()
    # Half a cell of 4 over 60 pixels is 7.5 pixels of the frame and 3.75 of the input, which has 120 of them.
    assert resize_field(padded, (80, 120))[40, 60, 0] == pytest.approx(3.75)
