"""Tiles cover a frame once, with their halo around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.errors import OptionError
from edge_vseg.imaging.tiles import ALIGNMENT_PX, cores, divide, tile_means


@given(
    frame=st.tuples(st.integers(12, 90), st.integers(12, 90)),
    tile=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    stride=st.sampled_from([4, 8]),
    halo=st.sampled_from([0, 16, 32]),
)
def test_cores_cover_the_frame_once_and_keep_their_halo(frame: tuple, tile: tuple, stride: int, halo: int) -> None:
    frame_hw, tile_hw = tuple(8 * side for side in frame), tuple(32 * side for side in tile)
    if any(r > f or r < 2 * halo + ALIGNMENT_PX for r, f in zip(tile_hw, frame_hw, strict=True)):
        return
    cells_hw = (frame_hw[0] // stride, frame_hw[1] // stride)
    covered = np.zeros(cells_hw, int)
    for each in divide(frame_hw, tile_hw, cells_hw, halo):
        top, left, bottom, right = each.core
        covered[top:bottom, left:right] += 1
        for axis in (0, 1):
            begin, end = each.crop[axis], each.crop[axis + 2]
            assert (end - begin, begin >= 0, end <= frame_hw[axis]) == (tile_hw[axis], True, True)
            assert begin % ALIGNMENT_PX == 0 or end == frame_hw[axis]
            assert each.inner[axis] == each.core[axis] - begin // stride
            # Cells are whole: a boundary in the middle of one is rounded by less than a cell.
            assert begin == 0 or each.core[axis] * stride >= begin + halo - stride
            assert end == frame_hw[axis] or each.core[axis + 2] * stride <= end - halo + stride
    assert (covered == 1).all()


def test_a_tile_as_large_as_the_frame_is_the_frame() -> None:
    (only,) = divide((96, 128), (96, 128), (24, 32), 32)
    assert only.core == only.inner == (0, 0, 24, 32)


@pytest.mark.parametrize("tile", [(448, 256), (64, 256), (190, 256)], ids=["larger", "all-halo", "uneven"])
def test_sizes_that_do_not_fit_are_refused(tile: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="do not fit"):
        divide((360, 480), tile, (90, 120), 32)


def test_tile_means_at_any_resolution() -> None:
    tiles = divide((360, 480), (192, 256), (90, 120), 32)
    fine = np.zeros((90, 120), np.float32)
    for number, part in enumerate(cores(fine, tiles, (90, 120))):
        part[:] = number
    assert tile_means(fine, tiles, (90, 120)) == pytest.approx(range(len(tiles)))
    coarse = np.random.default_rng(0).random((45, 60), np.float32)
    weights = [(r.core[2] - r.core[0]) * (r.core[3] - r.core[1]) / (90 * 120) for r in tiles]
    assert np.dot(weights, tile_means(coarse, tiles, (90, 120))) == pytest.approx(coarse.mean(), rel=0.05)
