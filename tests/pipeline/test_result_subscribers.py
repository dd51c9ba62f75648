"""Who hears of a pipeline's results: tasks of asyncio, callbacks at their own pace, and counts that add up for all."""

from __future__ import annotations

import asyncio
import itertools
import threading

import numpy as np
import pytest
from live_feed import LONG_MS, PATIENCE_S, Gate, eventually

from edge_vseg.errors import FrameError, OptionError, PipelineClosedError, PipelineTimeoutError


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
