"""Which frames the cells of a map with tiles come from: never younger than they are, and no older for ever."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.motion.warp import warp_scores
from edge_vseg.scheduling.cell_origins import MAX_ORIGINS, MIN_SHARE, WHOLE, CellOrigins

HW = (12, 18)
TILES = [(slice(y, y + 4), slice(x, x + 6)) for y in (0, 4, 8) for x in (0, 6, 12)]


def test_a_new_tile_and_the_rest() -> None:
    made, kept = CellOrigins.single(HW).pasted(TILES[:1], None)
    assert kept == [0, 1]
    assert made.cells[:4, :6].all()
    assert made.cells.sum() == 24
    everything, kept = made.pasted(TILES, None)
    assert kept == [2]
    assert not everything.cells.any()


@pytest.mark.parametrize("speed", [0.0, 0.3, 0.5, 1.4])
def test_they_follow_the_scores_and_leave_with_them(speed: float) -> None:
    """The scores of each frame are a plane of their own: what is left of it is what the cell comes from."""
    motion = np.zeros((*HW, 2), np.float32)
    motion[..., 0], motion[..., 1] = -speed, speed / 2
    made, numbers = CellOrigins.single(HW), [0]
    planes = np.zeros((60, *HW), np.float32)
    planes[0] = 1
    for number in range(1, 60):
        place = TILES[number % len(TILES)]
        planes = warp_scores(planes, motion)
        planes[(slice(None), *place)] = 0
        planes[(number, *place)] = 1
        made, kept = made.pasted([place], motion)
        numbers = [[*numbers, number][index] for index in kept]
        oldest = np.array(numbers)[made.cells]
        assert (oldest <= planes.argmax(0)).all(), "a label is older than the map says"
        assert number - numbers[0] < 3 * len(TILES), "an image that is long gone still makes the map old"
        left = planes[: numbers[0]].max(initial=0)
        assert left < 1.3 * MIN_SHARE / WHOLE


def test_more_tiles_than_a_byte_counts() -> None:
    made, ages = CellOrigins.single((1, 300)), [0]
    for number in range(300):
        made, kept = made.pasted([(slice(0, 1), slice(number, number + 1))], None)
        ages = [[*ages, number + 1][index] for index in kept]
    assert len(ages) == MAX_ORIGINS
    truth = np.arange(1, 301)
    given = np.array(ages)[made.cells[0]]
    assert (given <= truth).all(), "rather too old than too young"
    assert (given == truth).sum() >= MAX_ORIGINS - 1
