"""How much of the time between frames is idle."""

from __future__ import annotations

import pytest

from edge_vseg.scheduling.frame_pace import FramePace


def paced(period: int, busy: int, frames: int = 12) -> FramePace:
    pace = FramePace()
    for number in range(frames):
        pace.arrive(number * period)
        pace.finish(number * period + busy)
    return pace


def test_before_the_second_frame_nothing_is_known() -> None:
    assert paced(100, 10, frames=0).idle_share == 1
    assert paced(100, 10, frames=1).idle_share == 1


@pytest.mark.parametrize(("busy", "share"), [(10, 0.9), (75, 0.25), (100, 0.0)])
def test_what_is_not_busy_is_idle(busy: int, share: float) -> None:
    assert paced(100, busy).idle_share == pytest.approx(share)


def test_frames_that_come_while_one_is_answered_leave_nothing_idle() -> None:
    pace = FramePace()
    for number in range(6):
        pace.arrive(number * 100)
        pace.finish(number * 100 + 130)
    assert pace.idle_share == 0


def test_it_follows_a_change_within_some_frames() -> None:
    pace = paced(100, 10)
    for number in range(12):
        pace.arrive(1200 + number * 10)
        pace.finish(1200 + number * 10 + 10)
    assert pace.idle_share < 0.25
