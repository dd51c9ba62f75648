"""Fields from block motion vectors that are made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.motion import block_field, resize_field

SIZE_HW = (64, 96)
CELLS_HW = (8, 12)
LAYOUT = np.dtype(
    [
        ("source", "i4"),
        ("w", "u1"),
        ("h", "u1"),
        ("src_x", "i2"),
        ("src_y", "i2"),
        ("dst_x", "i2"),
        ("dst_y", "i2"),
        ("flags", "u8"),
        ("motion_x", "i4"),
        ("motion_y", "i4"),
        ("motion_scale", "u2"),
    ],
    align=True,
)


def block(
    left: int,
    top: int,
    move: tuple[float, float],
    *,
    size_hw: tuple[int, int] = (16, 16),
    source: int = -1,
    scale: int = 4,
) -> np.ndarray:
    """One vector as FFmpeg writes it: centres of blocks, ``src = dst + motion / scale`` cut to whole pixels."""
    one = np.zeros(1, LAYOUT)
    one["source"], one["h"], one["w"], one["motion_scale"] = source, *size_hw, scale
    one["dst_x"], one["dst_y"] = left + size_hw[1] // 2, top + size_hw[0] // 2
    one["motion_x"], one["motion_y"] = round(move[0] * scale), round(move[1] * scale)
    one["src_x"], one["src_y"] = one["dst_x"] + int(move[0]), one["dst_y"] + int(move[1])
    return one


def blocks(move: tuple[float, float], size_hw: tuple[int, int] = SIZE_HW, **options: int) -> np.ndarray:
    """The whole picture in blocks of 16, the last ones reaching over its edge."""
    corners = [(left, top) for top in range(0, size_hw[0], 16) for left in range(0, size_hw[1], 16)]
    return np.concatenate([block(left, top, move, **options) for left, top in corners])


def in_pixels(vectors: np.ndarray, size_hw: tuple[int, int] = SIZE_HW, reach: float = 1.0) -> np.ndarray:
    field = block_field(vectors, size_hw, reach=reach)
    assert field is not None
    assert field.dtype == np.float32
    return field * np.array((size_hw[1] / field.shape[1], size_hw[0] / field.shape[0]))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_uniform_motion(scale: int) -> None:
    field = block_field(blocks((-6, 3), scale=scale), SIZE_HW)
    assert field is not None
    assert field.shape == (*CELLS_HW, 2)
    np.testing.assert_allclose(field, np.broadcast_to((-6 / 8, 3 / 8), field.shape))


def test_fractions_of_a_pixel_count() -> None:
    np.testing.assert_allclose(in_pixels(blocks((0.75, -0.25)))[3, 3], (0.75, -0.25))


@given(
    height=st.integers(17, 130),
    width=st.integers(17, 130),
    dx=st.integers(-20, 20),
    dy=st.integers(-20, 20),
)
def test_any_size_of_frame_keeps_pixels(height: int, width: int, dx: int, dy: int) -> None:
    """Sizes that are no multiple of a cell, at which codecs send blocks that lie partly or wholly outside."""
    field = block_field(blocks((dx, dy), (height + 16, width + 16)), (height, width))
    assert field is not None
    assert field.shape == (-(-height // 8), -(-width // 8), 2)
    there = resize_field(field, (height, width))
    np.testing.assert_allclose(there, np.broadcast_to((dx, dy), there.shape), atol=1e-3)


@pytest.mark.parametrize("size_hw", [(16, 16), (16, 8), (8, 16), (8, 8)])
def test_a_block_covers_its_cells_and_no_others(size_hw: tuple[int, int]) -> None:
    """The picture above a row at rest, the one below in motion; a median leaves such an edge where it is."""
    height, width = size_hw
    rows = [
        block(left, top, (8, 0) if top >= 32 else (0, 0), size_hw=size_hw)
        for top in range(0, SIZE_HW[0], height)
        for left in range(0, SIZE_HW[1], width)
    ]
    field = in_pixels(np.concatenate(rows))
    np.testing.assert_allclose(field[:4], 0)
    np.testing.assert_allclose(field[4:], np.broadcast_to((8, 0), field[4:].shape))


def test_cells_without_a_vector_take_the_nearest() -> None:
    left = [block(x, y, (4, 0)) for y in range(0, 64, 16) for x in (0, 16)]
    right = [block(x, y, (-4, 8)) for y in range(0, 64, 16) for x in (80,)]
    field = in_pixels(np.concatenate(left + right))
    np.testing.assert_allclose(field[:, :6], np.broadcast_to((4, 0), (8, 6, 2)))
    np.testing.assert_allclose(field[:, 8:], np.broadcast_to((-4, 8), (8, 4, 2)))


def test_a_single_outlier_is_removed() -> None:
    vectors = blocks((2, 2))
    stray = block(40, 40, (60, -60), size_hw=(8, 8))
    np.testing.assert_allclose(in_pixels(np.concatenate((vectors, stray))), 2)


def test_future_vectors_are_ignored() -> None:
    past, future = blocks((3, 0)), blocks((-50, 9), source=1)
    np.testing.assert_allclose(in_pixels(np.concatenate((past, future))), in_pixels(past))
    assert block_field(future, SIZE_HW) is None


def test_placeholder_vectors_are_ignored() -> None:
    """What FFmpeg exports for halves of a block that are predicted from one side each."""
    halves = [
        block(x, y + low, (5, 2) if (low == 0) == (source < 0) else (0, 0), size_hw=(8, 16), source=source)
        for y in range(0, 64, 16)
        for x in range(0, 96, 16)
        for low in (0, 8)
        for source in (-1, 1)
    ]
    np.testing.assert_allclose(in_pixels(np.concatenate(halves)), np.broadcast_to((5, 2), (*CELLS_HW, 2)))


def test_a_longer_reach_is_divided() -> None:
    np.testing.assert_allclose(in_pixels(blocks((6, -3)), reach=3), in_pixels(blocks((2, -1))))


@pytest.mark.parametrize("reach", [0.0, -1.0, float("nan")])
def test_an_impossible_reach_is_refused(reach: float) -> None:
    with pytest.raises(ValueError, match="reach must be positive"):
        block_field(blocks((1, 1)), SIZE_HW, reach=reach)


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        pytest.param(np.zeros(0, LAYOUT), False, id="none"),
        pytest.param(np.concatenate([block(0, 0, (1, 1)), block(16, 0, (1, 1))]), False, id="8 of 96 cells"),
        pytest.param(np.concatenate([block(x, 0, (1, 1)) for x in (0, 16, 32)]), True, id="12 of 96 cells"),
    ],
)
def test_too_few_vectors_are_no_field(vectors: np.ndarray, found: bool) -> None:
    assert (block_field(vectors, SIZE_HW) is not None) == found
