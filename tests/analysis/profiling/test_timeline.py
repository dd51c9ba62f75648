"""Intervals of a run against counting the same frames by hand."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.analysis.percentiles import PercentileSketch
from edge_vseg.analysis.profiling.timeline import Interval, Timeline

MAX_INTERVALS = 4
FRAMES = st.lists(
    st.tuples(
        st.floats(0, 100),
        st.floats(0.1, 1e3),
        st.sampled_from(["infer", "propagate", "hold"]),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def filled(
    frames: list[tuple[float, float, str, int, bool]], width_s: float = 1.0, max_intervals: int = MAX_INTERVALS
) -> Timeline:
    timeline = Timeline(width_s, max_intervals)
    for at_s, milliseconds, decision, dropped, missed in frames:
        timeline.add(at_s, milliseconds, decision, dropped=dropped, missed=missed)
    return timeline


def by_hand(frames: list[tuple[float, float, str, int, bool]], begin: float, end: float) -> tuple:
    own = [frame for frame in frames if begin <= frame[0] < end]
    durations = PercentileSketch()
    for frame in own:
        durations.add(frame[1])
    counts = dict(Counter(frame[2] for frame in own)), sum(frame[3] for frame in own), sum(frame[4] for frame in own)
    return durations.percentiles(), *counts


def figures(each: Interval) -> tuple:
    return each.latency_ms, each.decisions, each.dropped, each.missed


@given(FRAMES)
def test_every_interval_holds_its_own_frames_however_often_the_width_doubled(frames) -> None:
    timeline = filled(frames)
    latest = max(frame[0] for frame in frames)
    width = next(width for width in (2.0**n for n in range(9)) if latest < MAX_INTERVALS * width)
    assert timeline.width_s == width
    intervals = list(timeline)
    assert len(intervals) == int(latest / width) + 1 <= MAX_INTERVALS
    for number, each in enumerate(intervals):
        quantiles, *counts = by_hand(frames, number * width, (number + 1) * width)
        assert [each.decisions, each.dropped, each.missed] == counts
        if quantiles is None:
            assert each.latency_ms is None
        else:
            assert each.latency_ms.mean == pytest.approx(quantiles.mean)
            assert (each.latency_ms.count, each.latency_ms.p50) == (quantiles.count, quantiles.p50)
            assert (each.latency_ms.p99, each.latency_ms.max) == (quantiles.p99, quantiles.max)


@given(FRAMES)
def test_intervals_follow_each_other_to_the_last_frame(frames) -> None:
    intervals = list(filled(frames))
    assert intervals[0].from_s == 0
    assert all(before.to_s == after.from_s for before, after in itertools.pairwise(intervals))
    assert intervals[-1].to_s == max(frame[0] for frame in frames)


def test_a_pause_is_an_interval_without_frames() -> None:
    intervals = list(filled([(0.2, 5.0, "infer", 0, False), (2.5, 9.0, "hold", 2, True)]))
    assert [figures(each)[1:] for each in intervals] == [({"infer": 1}, 0, 0), ({}, 0, 0), ({"hold": 1}, 2, 1)]
    assert [(each.from_s, each.to_s) for each in intervals] == [(0, 1), (1, 2), (2, 2.5)]
    assert intervals[1].latency_ms is None


def test_an_odd_interval_at_the_end_is_kept() -> None:
    """Three intervals of at most three: the third has no neighbour when the fourth comes."""
    intervals = list(filled([(at, 10.0 + at, "infer", 1, False) for at in (0.5, 1.5, 2.5, 3.5)], max_intervals=3))
    assert [(each.from_s, each.latency_ms.count, each.latency_ms.max) for each in intervals] == [
        (0, 2, 11.5), (2, 2, 13.5),
    ]  # fmt: skip


def test_a_day_is_no_more_than_so_many_intervals() -> None:
    frames = [(float(second), 5.0 + second % 7, "infer", 0, False) for second in range(0, 86_400, 9)]
    intervals = list(filled(frames, max_intervals=600))
    assert 300 <= len(intervals) <= 600
    assert sum(each.latency_ms.count for each in intervals) == len(frames)
    assert {each.latency_ms.max for each in intervals} == {11.0}


def test_a_frame_after_a_very_long_pause() -> None:
    intervals = list(filled([(0.0, 1.0, "infer", 0, False), (1e7, 2.0, "infer", 0, False)]))
    assert len(intervals) <= MAX_INTERVALS
    assert [each.latency_ms.count for each in (intervals[0], intervals[-1])] == [1, 1]


def test_nothing_has_no_intervals() -> None:
    assert list(Timeline(1.0, MAX_INTERVALS)) == []
