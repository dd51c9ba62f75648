"""Which frame's map is shown: by hand, and against the streaming metric, which simulates one worker on its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.analysis.evaluation.newest_frame import AnswerTimes, NewestFrame
from edge_vseg.analysis.metrics import StreamingMiou
from edge_vseg.errors import OptionError


def shown(timeline: NewestFrame | AnswerTimes, latencies_ms: Sequence[float]) -> list[int]:
    return [timeline.add(ms) for ms in latencies_ms]


def test_one_request_by_hand() -> None:
    """A frame every 100 ms, 150 ms for each map.

    Frame 1 runs from 100 to 250, then frame 2, which waited, until 400: exactly when frame 4 comes, which is taken, so
    that frame 3 is dropped. It runs until 550, then frame 5 until 700: frame 7 is taken, and frame 6 dropped.
    """
    timeline = NewestFrame(100.0)
    assert shown(timeline, [150.0] * 8) == [0, 0, 0, 1, 2, 2, 4, 5]
    assert timeline.dropped == 2
    assert timeline.load == pytest.approx(1.0), "from frame 1 to frame 7, when it is asked last"
    assert timeline.oldest == 5


def test_what_is_done_within_the_lag_counts() -> None:
    """The same 60 ms after each arrival: the maps done at 250 and 550 are there, too."""
    assert shown(NewestFrame(100.0, lag_ms=60.0), [150.0] * 8) == [0, 0, 1, 1, 2, 4, 4, 5]
    assert shown(NewestFrame(100.0, lag_ms=1e9), [90.0] * 4) == [0, 1, 2, 3], "until the next frame at most"


def test_two_requests_with_cores_of_their_own() -> None:
    """A network of three periods: frames 1 and 2 until 4 and 5, then frames 4 and 5 until 7 and 8.

    Two maps in three periods, where one request gives one.
    """
    timeline = NewestFrame(100.0, requests=2)
    assert shown(timeline, [300.0] * 9) == [0, 0, 0, 0, 1, 2, 2, 4, 5]
    assert timeline.dropped == 2, "3 and 6; 7 and 8 are under way"
    alone = NewestFrame(100.0)
    assert shown(alone, [300.0] * 9) == [0, 0, 0, 0, 1, 1, 1, 4, 4]


def test_two_requests_that_share_the_cores() -> None:
    """Frame 1 has 200 ms of its work done when frame 2 comes; halved from then on.

    In periods: frame 1 of 2 runs alone from 1 to 2, shared from 2 to 4. Frame 2 has 1 left then; frame 4 is taken;
    frame 2 is done at 6, when frame 4 has 1 left and frame 6 is taken; frame 4 is done at 8.
    """
    timeline = NewestFrame(100.0, requests=2, slowdown=2.0)
    assert shown(timeline, [200.0] * 10) == [0, 0, 0, 0, 1, 1, 2, 2, 4, 4]
    assert timeline.load == pytest.approx(1.0), "the machine is busy, and no busier"


def test_load_by_hand() -> None:
    """Forty of a hundred milliseconds; two requests beside each other are twice the load."""
    timeline = NewestFrame(100.0, lag_ms=100.0)
    shown(timeline, [40.0] * 9)
    assert timeline.load == pytest.approx(0.4)
    both = NewestFrame(100.0, lag_ms=100.0, requests=2)
    shown(both, [200.0] * 41)
    assert both.load == pytest.approx((40 + 39) / 40)


def test_answers_come_in_order() -> None:
    """Frame 2 is answered 130 ms late, frame 3 after it; frame 4 is in time again."""
    late = [20.0, 20.0, 230.0, 150.0, 60.0, 20.0]
    assert shown(AnswerTimes(100.0), late) == [0, 0, 1, 1, 1, 4]
    assert shown(AnswerTimes(100.0, lag_ms=50.0), late) == [0, 1, 1, 1, 3, 5]
    assert shown(AnswerTimes(100.0, lag_ms=60.0), late) == [0, 1, 1, 1, 4, 5]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.sampled_from([4, 12]), st.sampled_from([7.5, 29.97]))
def test_one_request_is_the_worker_of_the_streaming_metric(parts: list[int], of_a_period: int, rate: float) -> None:
    """Ages tell which frame is shown; latencies in quarters and twelfths of a period make ties frequent."""
    latencies_ms = [0.0, *(part / of_a_period * 1e3 / rate for part in parts)]
    timeline, metric = NewestFrame(1e3 / rate), StreamingMiou(2, rate)
    pixel = np.zeros((1, 1), np.uint8)
    for latency_ms in latencies_ms:
        metric.add(pixel, pixel, latency_ms)
    ages = [seq - newest for seq, newest in enumerate(shown(timeline, latencies_ms))]
    assert metric.mean_age_frames == pytest.approx(np.mean(ages))
    assert metric.dropped == timeline.dropped


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 900), min_size=2, max_size=40), st.floats(1, 2), st.floats(0, 100))
def test_maps_never_get_older_and_none_is_kept_from_being_shown(
    latencies_ms: list[float], slowdown: float, lag_ms: float
) -> None:
    timeline = NewestFrame(100.0, lag_ms=lag_ms, requests=2, slowdown=slowdown)
    last = 0
    for seq, latency_ms in enumerate(latencies_ms):
        newest = timeline.add(latency_ms)
        assert last <= newest <= seq
        assert timeline.oldest == newest
        last = newest


def test_a_cut_begins_another_stream() -> None:
    for timeline in (NewestFrame(100.0), AnswerTimes(100.0)):
        assert shown(timeline, [250.0] * 3) == [0, 0, 0]
        timeline.cut()
        assert shown(timeline, [50.0] * 3) == [0, 0, 1]


@pytest.mark.parametrize("given", [{"period_ms": 0.0}, {"lag_ms": -1.0}, {"requests": 0}, {"slowdown": 0.5}], ids=str)
def test_impossible_values_raise(given: dict) -> None:
    with pytest.raises(OptionError, match="expected a positive period_ms"):
        NewestFrame(**{"period_ms": 1.0} | given)
