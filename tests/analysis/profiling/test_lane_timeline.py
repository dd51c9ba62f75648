"""The second that a profile shows, lane by lane; made by hand."""

from __future__ import annotations

from edge_vseg.analysis.profiling.lane_timeline import MAX_SPANS, LaneSpan, LaneTimeline
from edge_vseg.types import BackgroundSpan

MS = 1_000_000


def add(lanes: LaneTimeline, start_ms: int, total_ms: int, *, late: bool = False, **steps: float) -> None:
    lanes.add((start_ms + total_ms) * MS, steps or {"infer": float(total_ms)}, float(total_ms), (), late=late)


def test_steps_follow_each_other_and_the_background_has_its_own_times() -> None:
    lanes = LaneTimeline()
    add(lanes, 5000, 4, motion=1.0, propagate=2.0)
    span = BackgroundSpan(step="infer", start_ns=5010 * MS, end_ns=5030 * MS)
    lanes.add(5043 * MS, {"propagate": 3.0}, 3.0, (span,), late=True)
    (second,) = lanes.seconds()
    assert second.spans == [
        LaneSpan(lane="frame", step="motion", start_ms=0, end_ms=1),
        LaneSpan(lane="frame", step="propagate", start_ms=1, end_ms=3),
        LaneSpan(lane="frame", step="propagate", start_ms=40, end_ms=43),
        LaneSpan(lane="background", step="infer", start_ms=10, end_ms=30),
    ]
    assert (second.from_s, second.begun_ms, second.missed_ms, second.worst_ms) == (0, [0, 40], [43], 4)


def test_the_second_with_most_misses_is_kept_and_the_last_one() -> None:
    lanes = LaneTimeline()
    for start_ms in range(0, 5000, 100):
        # The slowest frame is in second 1, the misses are in second 3.
        total_ms, late = (90, False) if start_ms == 1500 else (5, start_ms // 1000 == 3)
        add(lanes, start_ms, total_ms, late=late)
    worst, last = lanes.seconds()
    assert (worst.from_s, len(worst.missed_ms), len(worst.spans)) == (3, 10, 10)
    assert (last.from_s, len(last.spans)) == (4, 10)


def test_a_part_that_crosses_the_edge_of_a_second_is_in_both() -> None:
    lanes = LaneTimeline()
    add(lanes, 0, 5)
    add(lanes, 990, 5)
    span = BackgroundSpan(step="infer", start_ns=700 * MS, end_ns=1010 * MS)
    lanes.add(1025 * MS, {"propagate": 3.0}, 3.0, (span,), late=True)
    worst, last = sorted(lanes.seconds(), key=lambda second: second.from_s)
    assert worst.spans[-1] == LaneSpan(lane="background", step="infer", start_ms=700, end_ms=1000)
    assert last.spans[-1] == LaneSpan(lane="background", step="infer", start_ms=0, end_ms=10)


def test_a_second_keeps_a_limited_number_of_spans() -> None:
    lanes = LaneTimeline()
    for _ in range(2 * MAX_SPANS):
        add(lanes, 10, 1)
    assert len(lanes.seconds()[0].spans) == MAX_SPANS


def test_without_misses_the_slowest_frame_decides_and_pauses_are_skipped() -> None:
    lanes = LaneTimeline()
    for start_ms, total_ms in ((0, 5), (100, 60), (90_000, 5), (90_100, 6)):
        add(lanes, start_ms, total_ms)
    worst, last = lanes.seconds()
    assert (worst.from_s, worst.worst_ms) == (0, 60)
    assert last.from_s == 90
