"""Newly visible places: constructed cases, a count by brute force, and the renderer's truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.motion import motion_estimator, photometric_error, resize_field
from edge_vseg.motion.grey_pyramid import GreyPyramid
from edge_vseg.motion.uncovered import motion_jump, rivals, uncovered

CELLS = (45, 60)


def moved_square(shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A textured square that moves right over a textured background, by so many cells of 8 pixels.

    Returns:
        The picture before and now, ``(360, 480)`` uint8, the true motion and the strip that was uncovered, by cell.
    """
    rng = np.random.default_rng(5)
    ground, square = (cv2.resize(rng.integers(0, 255, side, np.uint8), None, fx=8, fy=8) for side in (CELLS, (16, 16)))
    before, now = ground.copy(), ground.copy()
    before[80:208, 160:288] = square
    now[80:208, 160 + 8 * shift : 288 + 8 * shift] = square
    motion, strip = np.zeros((*CELLS, 2), np.float32), np.zeros(CELLS, bool)
    motion[10:26, 20 + shift : 36 + shift, 0] = -shift
    strip[10:26, 20 : 20 + shift] = True
    return before, now, motion, strip


@pytest.mark.parametrize("shift", [2, 4, 8])
def test_a_square_uncovers_the_strip_behind_it(shift: int) -> None:
    before, now, motion, strip = moved_square(shift)
    # By pixel, and not interpolated at the edge of the square.
    field = np.kron(8 * motion, np.ones((8, 8, 1), np.float32))
    found = uncovered(motion, photometric_error(now, before, field, CELLS))
    near = cv2.dilate(strip.astype(np.uint8), np.ones((3, 3))) > 0  # the signs are means over 3x3 cells
    assert found[strip].mean() > 0.3
    assert found[~near].max() < 0.05
    assert np.median(found[~near]) < 0.001


def test_the_strip_has_rivals_and_what_was_there_too() -> None:
    _, _, motion, strip = moved_square(4)
    claims = rivals(motion)
    inner = np.zeros(CELLS, bool)
    inner[11:25, 21:23] = True
    assert (claims[inner] == 2).all(), "the background that lay under the square claims the square's place"
    assert (claims[11:25, 25:27] == 2).all(), "and the square claims it"
    assert (claims[11:25, 30:39] == 1).all(), "the rest of the square is claimed once: nothing else comes from there"
    assert (claims[28:, :] == 1)[1:-1, 1:-1].all()
    assert strip[inner].all()


def test_rivals_against_a_count_one_by_one() -> None:
    rng = np.random.default_rng(0)
    motion = cv2.resize(rng.normal(0, 4, (6, 8, 2)).astype(np.float32), (32, 24))
    counts = np.zeros((24, 32))
    places = {}
    for y in range(24):
        for x in range(32):
            there = np.floor(motion[y, x].astype(np.float64) + (x, y) + 0.5).astype(int)
            if 0 <= there[0] < 32 and 0 <= there[1] < 24:
                counts[there[1], there[0]] += 1
                places[y, x] = tuple(there)
    padded = np.pad(counts, 1, mode="edge")
    claims = rivals(motion)
    for (y, x), (column, row) in places.items():
        assert claims[y, x] == pytest.approx(padded[row : row + 3, column : column + 3].mean(), abs=1e-5)


def test_claims_on_what_lies_outside_do_not_count() -> None:
    motion = np.zeros((20, 30, 2), np.float32)
    motion[..., 0] = -10
    claims = rivals(motion)
    assert (claims[:, :-1] == 1).all(), "ten columns lead out, and none of them claims the edge"


def test_a_motion_that_is_no_number_is_outside() -> None:
    motion = np.zeros((20, 30, 2), np.float32)
    motion[3, 4], motion[5, 6], motion[7, 8] = np.nan, np.inf, -np.inf
    assert np.isfinite(rivals(motion)).all()


def test_the_jump_is_that_of_a_ramp() -> None:
    y, x = np.mgrid[0:20, 0:30].astype(np.float32)
    jump = motion_jump(np.dstack((0.3 * x, -0.4 * y)))
    assert jump[1:-1, 1:-1] == pytest.approx(np.full((18, 28), 0.5), abs=1e-5)


def test_nothing_is_uncovered_where_nothing_moves() -> None:
    noise = np.full(CELLS, 0.7, np.float32)
    assert uncovered(np.zeros((*CELLS, 2), np.float32), noise).max() < 0.002


def test_finds_more_of_rendered_truth_than_the_difference_alone() -> None:
    """Of as many cells as are newly visible; on another street than those of the fit."""
    estimator, size = motion_estimator("dis-half"), (360, 480)
    found, grey, hidden = [], [], []
    pyramids = []
    for frame in render_street(StreetOptions(size_hw=size, seed=11, camera="driving"), 8):
        now = GreyPyramid(size)
        now.fill(frame.image)
        if pyramids:
            before = pyramids[-1]
            field, cells = estimator(now.half, before.half), now.eighth.shape
            grey.append(photometric_error(now.quarter, before.quarter, field, cells))
            found.append(uncovered(resize_field(field, cells), grey[-1]))
            hidden.append(cv2.resize(frame.occluded.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA))
        pyramids.append(now)
    share = np.stack(hidden)
    count = round(float(share.sum()))
    assert count > 30
    caught = {
        name: share.ravel()[np.argsort(-np.stack(planes), axis=None)[:count]].mean()
        for name, planes in (("found", found), ("grey", grey))
    }
    assert caught["found"] > 1.3 * caught["grey"]
    assert caught["grey"] > 3 * share.mean()
    assert share.mean() < np.stack(found).mean() < 3 * share.mean(), "it is a share, not a score alone"
