"""What a pipeline hands out: never what is too old, each result once, and to everybody at their own pace."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from live_feed import IMAGE, PATIENCE_S, Feed, Gate, eventually
from reference_bundle import expected_labels

from edge_vseg import Pipeline, PipelineOptions, Segmenter, StaleError, open_source
from edge_vseg.errors import (
    EdgeVsegError,
    FrameError,
    OptionError,
    PipelineClosedError,
    PipelineEndedError,
    PipelineTimeoutError,
)
from edge_vseg.video import Connection

LONG_MS = PATIENCE_S * 1000


def test_the_newest_result(start, feed):
    pipeline = start()
    assert pipeline.active
    seq = feed.put()
    waited = pipeline.wait(-1, timeout_ms=LONG_MS, max_age_ms=LONG_MS)
    latest = pipeline.latest(max_age_ms=LONG_MS)
    assert latest is waited
    with pytest.raises(ValueError, match="read-only"):
        latest.labels[0, 0] = 1
    assert latest.seq == seq
    np.testing.assert_array_equal(latest.labels, expected_labels(IMAGE))
    assert [label.name for label in pipeline.labels] == ["blue", "green", "red"]


def test_before_the_first_result_it_is_stale_for_ever(start, feed):
    pipeline = start()
    with pytest.raises(StaleError, match="no result of feed yet") as raised:
        pipeline.latest(max_age_ms=1e9)
    assert raised.value.age_ms == float("inf")
    assert pipeline.health.state == "stale"


def test_a_camera_that_is_away_is_the_reason(start, feed):
    pipeline = start()
    since_ns = time.monotonic_ns() - 3_200_000_000
    feed.told = Connection(state="reconnecting", since_ns=since_ns, reason="connection refused")
    with pytest.raises(StaleError, match=r"reconnecting to feed since 3\.\d s: connection refused"):
        pipeline.latest()
    with pytest.raises(PipelineTimeoutError, match="no newer result within 1 ms: reconnecting to feed"):
        pipeline.wait(timeout_ms=1)


def test_a_frame_that_was_captured_long_ago_is_not_handed_out(start, feed):
    pipeline = start()
    feed.put(age_ms=10_000)
    eventually(lambda: pipeline.counts.delivered == 1)
    with pytest.raises(StaleError, match=r"frame 0 is 10\d\d\d ms old") as raised:
        pipeline.latest()
    assert 10_000 <= raised.value.age_ms < 10_000 + LONG_MS
    with pytest.raises(StaleError):
        pipeline.latest(max_age_ms=9_999)
    assert pipeline.latest(max_age_ms=10_000 + LONG_MS).seq == 0
    with pytest.raises(PipelineTimeoutError):
        pipeline.wait(-1, timeout_ms=0)


@pytest.mark.parametrize(("still", "stale"), [(False, True), (True, False)], ids=["moved", "nothing moved"])
def test_the_age_of_the_map_counts(still, stale, start, feed):
    """The frame is new and its labels are not: they come from an image of five minutes ago."""
    pipeline = start(change=lambda result: replace(result, map_age_ms=300_000.0, still=still, seen_ns=None))
    feed.put()
    eventually(lambda: pipeline.counts.delivered == 1)
    if stale:
        with pytest.raises(StaleError, match=r"its oldest labels 300\d\d\d ms") as raised:
            pipeline.latest(max_age_ms=LONG_MS)
        assert raised.value.age_ms >= 300_000
        with pytest.raises(PipelineTimeoutError):
            pipeline.wait(-1, timeout_ms=0, max_age_ms=LONG_MS)
    else:
        assert pipeline.latest(max_age_ms=LONG_MS).seq == 0


def test_the_limit_of_the_options_is_the_default(start, feed):
    pipeline = start(max_age_ms=60_000)
    feed.put(age_ms=30_000)
    assert pipeline.wait(-1, timeout_ms=LONG_MS).seq == 0
    assert pipeline.max_age_ms == 60_000
    with pytest.raises(StaleError, match="60000 ms allowed|20000 ms allowed"):
        pipeline.latest(max_age_ms=20_000)


def test_the_latest_result_does_not_wait_for_a_frame_that_hangs(start, feed):
    gate = Gate()
    pipeline = start(lambda frame: gate() if frame.seq == 1 else None, hang_s=1000)
    feed.put()
    first = pipeline.wait(-1, timeout_ms=LONG_MS, max_age_ms=LONG_MS)
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    assert pipeline.latest(max_age_ms=LONG_MS) is first
    assert pipeline.counts.in_flight == 1
    gate.opened.set()


def test_waiting_for_a_later_frame(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            seq = feed.put()
            assert pipeline.wait(seq - 1, timeout_ms=LONG_MS).seq == seq
            later = [pool.submit(pipeline.wait, after, timeout_ms=LONG_MS) for after in (seq, None)]
            with pytest.raises(PipelineTimeoutError):
                pipeline.wait(seq, timeout_ms=0)
            eventually(lambda: len(pipeline._board._changed._waiters) >= 2)
            seq = feed.put()
            assert [each.result(PATIENCE_S).seq for each in later] == [seq, seq]


@pytest.mark.parametrize("wrong", [{"timeout_ms": -1}, {"max_age_ms": 0}, {"max_age_ms": float("nan")}])
def test_impossible_times(wrong, start):
    with pytest.raises(OptionError, match="must"):
        start().wait(**wrong)


def test_each_newest_result_at_most_once_until_the_end(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    seen = []
    feed.put()
    for result in pipeline:
        seen.append(result.seq)
        if len(seen) < 5:
            feed.put()
        else:
            feed.end()
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(PipelineEndedError, match="feed has ended"):
        pipeline.wait(4)
    assert not pipeline.active
    assert pipeline.wait(3).seq == 4, "the last result is there until it is too old"
    assert list(pipeline) == [pipeline.latest()]


def test_a_recording_as_fast_as_it_goes(bundle, clip):
    options = PipelineOptions(playback="flat-out")
    with Pipeline.open(bundle, clip, runtime="reference", options=options) as pipeline:
        seqs = [result.seq for result in pipeline]
        counts = pipeline.counts
    assert (counts.captured, counts.delivered, counts.dropped, counts.failed, counts.in_flight) == (12, 12, 0, 0, 0)
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == 11


def test_a_recording_in_real_time(bundle, clip):
    begin_ns = time.monotonic_ns()
    options = PipelineOptions(max_age_ms=LONG_MS)
    with Pipeline.open(bundle, str(clip), runtime="reference", deadline_ms=1000, options=options) as pipeline:
        results = list(pipeline)
    assert time.monotonic_ns() - begin_ns >= 11 / 30 * 1e9
    assert results[-1].seq == 11
    assert results[-1].deadline_ms == 1000
    counts = pipeline.counts
    assert counts.captured == 12 == counts.delivered + counts.dropped


def test_a_source_of_ones_own_is_owned(bundle, clip):
    source = open_source(clip)
    with Pipeline.open(bundle, source, runtime="reference") as pipeline:
        assert [*pipeline][-1].seq == 11
    assert list(source) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"deadline_ms": 5, "policy": "fixed"}, "deadline_ms or a policy, not both"),
        ({"options": {"playback": "slow"}}, "playback must be"),
        ({"options": {"hang_s": 0}}, "hang_s must be positive"),
        ({"options": {"max_restarts": -1}}, "max_restarts"),
        ({"options": {"max_age_ms": -1}}, "max_age_ms"),
        ({"options": {"max_callback_failures": 0}}, "max_callback_failures"),
    ],
    ids=str,
)
def test_impossible_options(wrong, message, bundle, clip):
    with pytest.raises(OptionError, match=message):
        Pipeline.open(bundle, clip, **(wrong | {"options": PipelineOptions(**wrong.get("options", {}))}))


def test_a_source_that_is_not_there_leaves_nothing_behind(bundle, tmp_path):
    before = threading.enumerate()
    with pytest.raises(EdgeVsegError, match="missing"):
        Pipeline.open(bundle, tmp_path / "missing.mp4", runtime="reference")
    assert threading.enumerate() == before


def test_asyncio_gets_results_while_other_tasks_run(start, feed):
    pipeline = start(max_age_ms=LONG_MS)

    async def main() -> tuple[list[int], int]:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task, seen = asyncio.create_task(other()), []
        feed.put()
        async for result in pipeline:
            seen.append(result.seq)
            before = turns
            while turns == before:  # the other task has its turn
                await asyncio.sleep(0)
            feed.put() if len(seen) < 4 else feed.end()
        task.cancel()
        return seen, turns

    seen, turns = asyncio.run(main())
    assert seen == [0, 1, 2, 3]
    assert turns >= 4


def test_asyncio_waits_with_a_limit(start, feed):
    pipeline = start(max_age_ms=LONG_MS)

    async def main() -> int:
        with pytest.raises(PipelineTimeoutError, match="no newer result within 1 ms"):
            await pipeline.wait_async(timeout_ms=1)
        waiting = asyncio.create_task(pipeline.wait_async(timeout_ms=LONG_MS))
        await asyncio.sleep(0)
        feed.put()
        return (await waiting).seq

    assert asyncio.run(main()) == 0
    assert pipeline._board._listeners == []


def test_asyncio_does_not_poll(start, feed, monkeypatch):
    pipeline = start(max_age_ms=LONG_MS)
    peek, looks = pipeline._board.peek, itertools.count()
    monkeypatch.setattr(pipeline._board, "peek", lambda accept: (next(looks), peek(accept))[1])

    async def main() -> int:
        waiting = asyncio.create_task(pipeline.wait_async(after_seq=0, timeout_ms=LONG_MS))
        await asyncio.sleep(0)
        feed.put()  # not late enough
        await asyncio.to_thread(pipeline.wait, -1, timeout_ms=LONG_MS)
        for _ in range(500):
            await asyncio.sleep(0)
        feed.put()
        return (await waiting).seq

    assert asyncio.run(main()) == 1
    assert next(looks) <= 4


def test_asyncio_hears_that_it_is_closed(start, feed):
    pipeline = start()

    async def main() -> None:
        waiting = asyncio.create_task(pipeline.wait_async())
        await asyncio.sleep(0)
        await asyncio.to_thread(pipeline.close)
        with pytest.raises(PipelineClosedError):
            await waiting

    asyncio.run(main())


def test_a_callback_that_is_slow_loses_results_and_nobody_else_does(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    gate, slow_seen, quick_seen = Gate(), [], []

    def slow(result):
        slow_seen.append(result.seq)
        gate()

    slow_one, quick_one = pipeline.subscribe(slow), pipeline.subscribe(lambda result: quick_seen.append(result.seq))
    for seq in range(6):
        feed.put()
        pipeline.wait(seq - 1, timeout_ms=LONG_MS)
        eventually(lambda seq=seq: quick_seen[-1:] == [seq])
        assert gate.reached.wait(PATIENCE_S)
    assert slow_seen == [0]
    counts = slow_one.counts
    assert (counts.posted, counts.handled, counts.dropped, counts.in_flight) == (6, 0, 4, 2)
    gate.opened.set()
    eventually(lambda: slow_one.counts.handled == 2)
    assert slow_seen == [0, 5]
    assert quick_seen == [0, 1, 2, 3, 4, 5]
    eventually(lambda: quick_one.counts.handled == 6)
    assert quick_one.counts.dropped == quick_one.counts.failed == quick_one.counts.in_flight == 0
    pipeline.close()
    assert not slow_one.active


def test_a_callback_that_raises_goes_on_within_limits(start, feed, caplog):
    pipeline = start(max_age_ms=LONG_MS, max_callback_failures=3)
    outcomes = iter([True, False, True, True, False, False, False, True])

    def shaky(result):
        if not next(outcomes):
            raise ZeroDivisionError(f"in frame {result.seq}")

    subscription = pipeline.subscribe(shaky)
    for number in range(8):
        feed.put()
        pipeline.wait(number - 1, timeout_ms=LONG_MS)
        eventually(lambda number=number: subscription.counts.in_flight == 0 or number >= 7)
    eventually(lambda: not subscription.active)
    counts = subscription.counts
    assert (counts.handled, counts.failed) == (3, 4)
    assert counts.posted == counts.handled + counts.failed + counts.dropped + counts.in_flight
    assert str(subscription.error) == "in frame 6"
    assert "failed 3 times in a row and is called no more" in caplog.text
    assert pipeline.health.state == "ok", "it is nobody else's trouble"


@pytest.mark.parametrize("call", ["subscribe", "subscribe_frames"])
def test_a_subscription_needs_a_function(call, start, feed):
    with pytest.raises(OptionError, match="calls a function with each result, got 3"):
        getattr(start(), call)(3)


def test_a_callback_with_frames_gets_each_result_beside_its_frame(start, feed):
    pipeline, seen = start(max_age_ms=LONG_MS), []
    pipeline.subscribe_frames(lambda frame, result: seen.append((frame, result)))
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (0, 90, 180)]
    for number, picture in enumerate(pictures):
        feed.put(image=picture)
        eventually(lambda number=number: len(seen) > number)
    assert [frame.image.flat[0] for frame, _ in seen] == [0, 90, 180]
    assert [(frame.seq, frame.capture_ns) for frame, _ in seen] == [(each.seq, each.capture_ns) for _, each in seen]


def test_a_subscription_that_is_closed_is_called_no_more(start, feed):
    pipeline, seen = start(max_age_ms=LONG_MS), []
    subscription = pipeline.subscribe(lambda result: (seen.append(result.seq), subscription.close()))
    feed.put()
    eventually(lambda: not subscription.active)
    feed.put()
    pipeline.wait(0, timeout_ms=LONG_MS)
    assert seen == [0]


def test_every_frame_is_accounted_for_at_any_moment(start, feed):
    """Frames are put, segmented, dropped and refused while others count; some results are lost by a subscriber."""

    def refuse(frame):
        if frame.seq % 7 == 3:
            raise FrameError("an odd frame")

    pipeline = start(refuse, max_age_ms=LONG_MS, max_frame_failures=10**6)
    subscription = pipeline.subscribe(lambda result: None)
    done, wrong, looks = threading.Event(), [], itertools.count()

    def look() -> None:
        while not done.is_set():
            counts, own = pipeline.counts, subscription.counts
            if counts.captured != counts.delivered + counts.dropped + counts.failed + counts.in_flight:
                wrong.append(counts)
            if not 0 <= counts.in_flight <= 2 or not 0 <= own.in_flight <= 2:
                wrong.append((counts, own))
            if own.posted != own.handled + own.dropped + own.failed + own.in_flight:
                wrong.append(own)
            next(looks)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for thread in watchers:
        thread.start()
    for number in range(1500):
        feed.put()
        before = feed.counts
        if number % 3 and before.waiting:
            feed.wait_until_read(before.read + 1)
    eventually(lambda: pipeline.counts.in_flight == 0 and subscription.counts.in_flight == 0)
    done.set()
    for thread in watchers:
        thread.join(PATIENCE_S)
    counts = pipeline.counts
    assert wrong == []
    assert next(looks) > 10
    assert counts.captured == 1500
    assert counts.failed > 100
    assert counts.delivered > 500
    assert counts.dropped == 1500 - counts.delivered - counts.failed
    assert subscription.counts.posted == counts.delivered


def test_frames_in_flight_are_dropped_when_it_is_closed(start, feed):
    gate = Gate()
    pipeline = start(lambda frame: gate() if frame.seq == 1 else None, close_s=0.05, hang_s=1000)
    feed.put()
    eventually(lambda: pipeline.counts.delivered == 1)
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    feed.put()
    assert pipeline.counts.in_flight == 2
    pipeline.close()
    counts = pipeline.counts
    assert (counts.captured, counts.delivered, counts.dropped, counts.in_flight) == (3, 1, 2, 0)
    gate.opened.set()
    eventually(lambda: not any(t.name == "edge-vseg-pipeline" for t in threading.enumerate()))
    assert pipeline.counts == counts, "what comes too late changes nothing"


def test_repr(start, feed, bundle: Path):
    pipeline = start(max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    assert repr(pipeline) == "<Pipeline of feed, 1 results>"


def test_a_feed_without_a_rate_is_measured(bundle):
    feed = Feed(fps=None)
    with Pipeline(lambda: Segmenter.open(bundle, runtime="reference"), feed) as pipeline:
        assert pipeline.max_age_ms == 100
