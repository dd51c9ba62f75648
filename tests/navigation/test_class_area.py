"""Presence of classes with hysteresis, against what a list of shares says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.navigation import AreaThresholds, ClassPresence, follow_areas

MS = 1_000_000


def with_share(tenths: int) -> np.ndarray:
    labels = np.zeros((2, 5), np.uint8)
    labels.reshape(-1)[:tenths] = 4
    return labels


def follow(shares: list[int], thresholds: AreaThresholds) -> list[ClassPresence]:
    before: dict[int, ClassPresence] = {}
    found = []
    for number, tenths in enumerate(shares):
        before = follow_areas(before, with_share(tenths), number * 100 * MS, {4: thresholds})
        found.append(before[4])
    return found


def test_it_does_not_flicker_between_the_thresholds() -> None:
    found = follow([0, 2, 3, 2, 1, 2, 3], AreaThresholds(enter=0.3, leave=0.2))
    assert [each.present for each in found] == [False, False, True, True, False, False, True]
    assert [each.since_ns // MS for each in found] == [0, 0, 200, 200, 400, 400, 600]
    assert [each.share for each in found] == [0.0, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3]


def test_a_threshold_of_0_means_that_nothing_is_left() -> None:
    found = follow([3, 1, 0, 0, 0], AreaThresholds(enter=0.3, leave=0.0, hold_ms=100))
    assert [each.present for each in found] == [True, True, True, False, False]
    assert found[3].since_ns == 200 * MS


def test_it_must_hold_for_a_while() -> None:
    found = follow([0, 3, 2, 3, 3, 3, 1, 3, 1, 1, 1], AreaThresholds(enter=0.3, leave=0.2, hold_ms=200))
    assert [each.present for each in found] == [False] * 5 + [True] * 5 + [False]
    assert found[5].since_ns == 300 * MS, "when it came, not when it was believed"
    assert found[10].since_ns == 800 * MS


@given(st.lists(st.integers(0, 10), min_size=1, max_size=40), st.integers(1, 10), st.integers(0, 10), st.integers(0, 4))
def test_any_course(shares: list[int], enter: int, leave: int, hold: int) -> None:
    leave = min(leave, enter)
    found = follow(shares, AreaThresholds(enter=enter / 10, leave=leave / 10, hold_ms=100 * hold))
    present = shares[0] >= enter
    for number, (tenths, each) in enumerate(zip(shares, found, strict=True)):
        past = shares[max(0, number - hold) : number + 1]
        if number and len(past) == hold + 1 and number - hold > 0:
            if not present and all(share >= enter for share in past):
                present = True
            elif present and all(share < leave or share == 0 for share in past):
                present = False
        assert (each.present, each.share) == (present, tenths / 10)


def test_classes_are_followed_apart() -> None:
    limits = AreaThresholds(enter=0.5, leave=0.1)
    found = follow_areas({}, with_share(3), 7, {0: limits, 4: limits, 9: limits})
    assert {number: (each.share, each.present) for number, each in found.items()} == {
        0: (0.7, True),
        4: (0.3, False),
        9: (0.0, False),
    }


@pytest.mark.parametrize("wrong", [(0.2, 0.3, 0), (0.0, 0.0, 0), (1.2, 0.1, 0), (0.2, -0.1, 0), (0.2, 0.1, -1)])
def test_impossible_thresholds(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(OptionError):
        AreaThresholds(enter=wrong[0], leave=wrong[1], hold_ms=wrong[2])


def test_what_is_no_label_map() -> None:
    with pytest.raises(FrameError):
        follow_areas({}, np.zeros((2, 2)), 0, {0: AreaThresholds(enter=0.5, leave=0.1)})  # type: ignore[arg-type]
