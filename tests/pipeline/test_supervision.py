"""Workers that die, hang or fail, sources that fail, closing, and forks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live_feed import LONG_MS, PATIENCE_S, Gate, eventually, threads_of_pipelines

from edge_vseg.errors import FrameError, PipelineFailedError, SessionError, VideoDecodeError
from edge_vseg.pipeline import supervisor

pytestmark = pytest.mark.usefixtures("no_pauses")


def test_a_frame_that_fails_is_counted_and_the_next_one_taken(start, feed, caplog):
    def refuse(frame):
        if frame.seq < 3:
            raise (FrameError, SessionError)[frame.seq % 2](f"frame {frame.seq} is odd")

    pipeline = start(refuse, max_age_ms=LONG_MS)
    for number in range(3):
        feed.put()
        eventually(lambda number=number: pipeline.counts.failed == number + 1)
    feed.put()
    assert pipeline.wait(2, timeout_ms=LONG_MS).seq == 3
    assert pipeline.counts.delivered == 1
    assert pipeline.health.restarts == 0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1, "one for each run"


def test_a_worker_that_dies_is_replaced(start, feed, caplog):
    opened = []

    def die(frame):
        if frame.seq == 1:
            raise MemoryError("no memory for the arena")

    pipeline = start(die, on_open=lambda: opened.append(1), max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    feed.put()
    eventually(lambda: pipeline.health.restarts == 1)
    feed.put()
    assert pipeline.wait(0, timeout_ms=LONG_MS).seq == 2
    assert len(opened) == 2
    counts = pipeline.counts
    assert (counts.captured, counts.delivered, counts.failed) == (3, 2, 1)
    assert "opened again: it died of MemoryError: no memory for the arena" in caplog.text


def test_failures_in_a_row_are_a_worker_that_died(start, feed):
    def fail(frame):
        if frame.seq < 5:
            raise SessionError("the device was reset")

    pipeline = start(fail, max_frame_failures=5, max_age_ms=LONG_MS)
    for number in range(5):
        feed.put()
        eventually(lambda number=number: pipeline.counts.failed == number + 1)
    feed.put()
    assert pipeline.wait(-1, timeout_ms=LONG_MS).seq == 5
    assert pipeline.health.restarts == 1


def test_a_worker_that_hangs_is_given_up_and_what_it_gives_later_is_left_out(start, feed, caplog):
    gate = Gate()
    pipeline = start(lambda frame: gate() if frame.seq == 1 else None, hang_s=0.5, max_restarts=50, max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    eventually(lambda: pipeline.health.restarts >= 1)
    assert pipeline.counts.failed == 1, "the frame that hangs"
    feed.put()
    assert pipeline.wait(1, timeout_ms=LONG_MS).seq == 2
    delivered = pipeline.counts.delivered
    hung = pipeline._supervisor._hung[0]
    seen, limits = pipeline._monitor.recent(), pipeline._monitor.age_limits
    gate.opened.set()
    hung.join(PATIENCE_S)
    assert not hung.alive, "it ends when its call returns"
    assert pipeline.latest().seq == 2
    assert pipeline.counts.delivered == delivered
    assert (pipeline._monitor.recent(), pipeline._monitor.age_limits) == (seen, limits), "nor is it learnt from"
    assert "it hung in a frame for more than 0.5 s" in caplog.text


def test_a_failure_of_a_worker_that_was_given_up_does_not_count(start, feed):
    gate = Gate()

    def fail_late(frame):
        if frame.seq == 0:
            gate()
            raise SessionError("the device was reset")

    pipeline = start(fail_late, open_s=0.5, hang_s=0.5, max_restarts=50, max_age_ms=LONG_MS)
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    eventually(lambda: pipeline.health.restarts >= 1)
    hung = pipeline._supervisor._hung[0]
    gate.opened.set()
    hung.join(PATIENCE_S)
    assert not hung.alive
    assert pipeline._monitor.recent().failed == 0
    assert pipeline.counts.failed == 1, "as the frame that hung"


def test_a_bundle_that_hangs_when_it_is_opened_again(start, feed):
    gate, opened = Gate(), []

    def open_again():
        opened.append(1)
        if len(opened) == 2:
            gate()

    def die(frame):
        if frame.seq == 0:
            raise MemoryError

    pipeline = start(die, on_open=open_again, open_s=0.5, hang_s=0.5, max_restarts=50, max_age_ms=LONG_MS)
    feed.put()
    eventually(lambda: len(opened) >= 3)
    feed.put()
    assert pipeline.wait(-1, timeout_ms=LONG_MS).seq == 1
    gate.opened.set()


def test_the_first_frame_may_take_as_long_as_the_opening(start, feed):
    """The supervisor looks several times while the first frame takes longer than a hang."""
    gate, looks = Gate(), []
    pipeline = start(gate, hang_s=0.01, open_s=1000, max_age_ms=LONG_MS)
    look = pipeline._supervisor._look
    pipeline._supervisor._look = lambda: (look(), looks.append(1))
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    looked = len(looks)
    eventually(lambda: len(looks) >= looked + 10)
    assert pipeline.health.restarts == 0
    gate.opened.set()
    assert pipeline.wait(-1, timeout_ms=LONG_MS).seq == 0


def test_out_of_limits_it_has_failed_and_stays_closed(start, feed):
    def die(frame):
        raise MemoryError(f"frame {frame.seq}")

    pipeline = start(die, max_restarts=2, max_age_ms=LONG_MS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pipeline.wait, timeout_ms=LONG_MS)
        for number in range(3):
            feed.put()
            eventually(lambda number=number: pipeline.counts.failed == number + 1)
        with pytest.raises(PipelineFailedError, match="stays closed: the segmenter cannot be kept alive"):
            waiting.result(PATIENCE_S)
    for ask in (pipeline.latest, pipeline.wait, lambda: list(pipeline), lambda: pipeline.subscribe(print)):
        with pytest.raises(PipelineFailedError, match="MemoryError: frame 2") as raised:
            ask()
        assert isinstance(raised.value.__cause__, MemoryError)
    health = pipeline.health
    assert (health.state, health.restarts) == ("failed", 2)
    assert "frame 2" in health.reason
    assert health.since_ns <= time.monotonic_ns()
    assert pipeline.counts.in_flight == 0
    pipeline.close()
    with pytest.raises(PipelineFailedError):
        pipeline.latest()
    assert pipeline.health.state == "failed"
    assert threads_of_pipelines() == []


def test_a_restart_that_cannot_open_the_bundle_counts(start, feed):
    opened = []

    def open_once():
        opened.append(1)
        if len(opened) > 1:
            raise SessionError("the device is gone")

    def die(frame):
        raise MemoryError

    pipeline = start(die, on_open=open_once, max_restarts=3)
    feed.put()
    eventually(lambda: pipeline.health.state == "failed")
    assert len(opened) == 4
    assert "SessionError: the device is gone" in pipeline.health.reason


def test_restarts_long_ago_do_not_count(start, feed):
    def die(frame):
        if frame.seq % 2:
            raise MemoryError

    pipeline = start(die, max_restarts=1, restart_window_s=1e-9, max_age_ms=LONG_MS)
    for number in range(6):
        feed.put()
        eventually(lambda number=number: pipeline.counts.failed + pipeline.counts.delivered == number + 1)
    eventually(lambda: pipeline.health.restarts == 3)
    assert pipeline.health.state != "failed"


def test_a_source_that_fails_for_good(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    cause = VideoDecodeError("the cable came off")
    feed.end(cause)
    eventually(lambda: pipeline.health.state == "failed")
    with pytest.raises(PipelineFailedError, match="feed failed: the cable came off") as raised:
        pipeline.latest()
    assert raised.value.__cause__ is cause


def test_a_machine_that_throttles_is_degraded(start, feed, monkeypatch):
    class Hot:
        def __init__(self, root: Path) -> None:
            assert root == Path("/")

        def read(self) -> tuple[str, ...]:
            return ("core too hot",)

    monkeypatch.setattr(supervisor, "Throttle", Hot)
    pipeline = start(max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    eventually(lambda: pipeline.health.state == "degraded")
    assert pipeline.health.reason == "the machine slows down: core too hot"
    assert pipeline.health.throttled == ("core too hot",)
