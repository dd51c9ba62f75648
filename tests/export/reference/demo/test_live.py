"""Live runs and their scores, on a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_stubs import PERIOD_MS, RATE, FakeTime, SlowSegmenter, blank, random_maps

from edge_vseg.analysis.metrics import StreamingMiou
from edge_vseg.export.reference.demo.live_run import LiveAnswer, run_live
from edge_vseg.export.reference.demo.live_score import LiveClip, score_live, shown_when_due


def run(
    times_ms: list[float], *, maps: list | None = None, age_ms: float = 0.0
) -> tuple[list[LiveAnswer], SlowSegmenter]:
    time = FakeTime()
    segmenter = SlowSegmenter(time, times_ms, maps or random_maps(len(times_ms), 0), age_ms)
    answers = run_live(segmenter, blank(len(times_ms)), RATE, clock=time.clock, sleep=time.sleep)
    return answers, segmenter


@pytest.mark.parametrize(
    ("network_ms", "taken"),
    [
        (10.0, [0, 1, 2, 3, 4, 5, 6]),
        (40.0, [0, 1, 2, 3, 4, 5, 6]),
        (60.0, [0, 1, 3, 4, 6]),
        (80.0, [0, 2, 4, 6]),
        (150.0, [0, 3, 6]),
    ],
    ids=["fast", "one period", "one and a half", "two", "slow"],
)
def test_the_newest_frame_is_taken_whenever_the_network_is_free(network_ms: float, taken: list[int]) -> None:
    answers, segmenter = run([network_ms] * 7)
    assert [answer.seq for answer in answers] == taken
    assert [int(frame.image[0, 0, 0]) for frame in segmenter.seen] == taken
    first = segmenter.seen[0].capture_ns
    assert [frame.capture_ns - first for frame in segmenter.seen] == [round(seq * PERIOD_MS * 1e6) for seq in taken]
    waited = {60.0: 20.0, 150.0: 30.0}.get(network_ms, 0.0)
    assert answers[1].latency_ms == pytest.approx(network_ms + waited)


@given(times_ms=st.lists(st.integers(1, 200), min_size=1, max_size=25), seed=st.integers(0, 99))
def test_streaming_miou_is_that_of_the_metric(times_ms: list[int], seed: int) -> None:
    count = len(times_ms)
    maps, truths = random_maps(count, seed), random_maps(count, seed + 1)
    answers, _ = run([float(ms) for ms in times_ms], maps=maps)
    reference = StreamingMiou(3, RATE)
    for truth, labels, ms in zip(truths, maps, times_ms, strict=True):
        reference.add(truth, labels, ms)
    clip = LiveClip(images=blank(count), truths=truths, rate=RATE, deadline_ms=0.0, lead_in=0, classes=3)
    score = score_live("each", answers, clip, truths)
    assert score.streaming_miou == pytest.approx(reference.miou)
    shown = shown_when_due(answers, count, RATE, 0.0)
    assert sum(answer is None for answer in shown) == reference.unanswered
    ages = [seq - answer.seq for seq, answer in enumerate(shown) if answer is not None]
    if ages:
        assert sum(ages) / len(ages) == pytest.approx(reference.mean_age_frames)
        assert score.age_ms == pytest.approx(PERIOD_MS * reference.mean_age_frames)


def test_a_map_counts_from_when_it_is_there() -> None:
    answers, _ = run([10.0, 10.0, 30.0, 10.0])
    assert [answer.seq for answer in shown_when_due(answers, 4, RATE, 15.0)] == [0, 1, 1, 3]
    assert [answer and answer.seq for answer in shown_when_due(answers, 4, RATE, 5.0)] == [None, 0, 1, 2]
    assert [answer.seq for answer in shown_when_due(answers, 4, RATE, 30.0)] == [0, 1, 2, 3]


def test_score_counts_what_is_late_dropped_and_old() -> None:
    truths = random_maps(7, 3)
    answers, _ = run([80.0, 10.0, 10.0, 10.0, 100.0, 10.0, 10.0], maps=truths, age_ms=20.0)
    assert [answer.seq for answer in answers] == [0, 2, 3, 4, 6]
    clip = LiveClip(images=blank(7), truths=truths, rate=RATE, deadline_ms=15.0, lead_in=2, classes=3)
    score = score_live("it", answers, clip, truths)
    # Frames 2 and 3 are in time, 4 is late, 5 is dropped, 6 waits for the end of 4.
    assert (score.misses, score.dropped) == pytest.approx((0.6, 0.2))
    assert (score.latency.p50, score.latency.max) == pytest.approx((20.0, 100.0))
    # Shown are the maps of frames 2, 3, 3, 3, 3.
    assert score.age_ms == pytest.approx(20 + (0 + 0 + 40 + 80 + 120) / 5)
    assert score.streaming_miou < 1
    clip = LiveClip(images=blank(4), truths=truths[:4], rate=RATE, deadline_ms=15.0, lead_in=2, classes=3)
    perfect = score_live("it", answers[:3], clip, truths[:4])
    assert (perfect.misses, perfect.dropped, perfect.streaming_miou) == (0, 0, 1)


def test_a_clip_without_an_answer_of_its_own_still_has_figures() -> None:
    truths = random_maps(3, 3)
    answers, _ = run([500.0, 10.0, 10.0], maps=truths)
    clip = LiveClip(images=blank(3), truths=truths, rate=RATE, deadline_ms=15.0, lead_in=1, classes=3)
    score = score_live("it", answers[:1], clip, truths)
    assert (score.misses, score.dropped, score.streaming_miou) == (1, 1, 0)
    assert score.latency.max == pytest.approx(500.0)
