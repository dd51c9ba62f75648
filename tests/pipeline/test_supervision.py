"""Workers that die, hang or fail, sources that fail, closing, and forks."""

from __future__ import annotations

import gc
import os
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live_feed import IMAGE, PATIENCE_S, Gate, eventually

from edge_vseg import Pipeline, PipelineOptions, Segmenter
from edge_vseg.errors import (
    ForkError,
    FrameError,
    PipelineClosedError,
    PipelineFailedError,
    SegmenterBusyError,
    SegmenterClosedError,
    SessionError,
    VideoDecodeError,
)
from edge_vseg.pipeline import supervisor

LONG_MS = PATIENCE_S * 1000


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.001)


def threads_of_pipelines() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-vseg")]


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


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc")
def test_pipelines_that_come_and_go_leave_nothing(bundle, clip):
    def use() -> None:
        with Pipeline.open(bundle, clip, runtime="reference", options=PipelineOptions(max_age_ms=LONG_MS)) as pipeline:
            pipeline.subscribe(lambda result: None)
            pipeline.wait(-1, timeout_ms=LONG_MS)

    def left() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    use()
    descriptors, threads = left()
    for _ in range(8):
        use()
    eventually(lambda: left()[0] <= descriptors and left()[1] <= threads)


def test_a_pipeline_that_is_dropped_ends(bundle, feed, caplog):
    threads = threading.active_count()
    pipeline = Pipeline.open(bundle, feed, runtime="reference", options=PipelineOptions(max_age_ms=LONG_MS))
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    assert threading.active_count() > threads
    del pipeline
    gc.collect()
    eventually(lambda: threading.active_count() <= threads)
    assert "the pipeline of feed was dropped without close()" in caplog.text


def test_a_pipeline_that_is_dropped_goes_on_for_its_callback(bundle, feed):
    results = []
    pipeline = Pipeline.open(bundle, feed, runtime="reference", options=PipelineOptions(max_age_ms=LONG_MS))
    dropped = weakref.ref(pipeline)
    subscription = pipeline.subscribe(results.append)
    del pipeline
    gc.collect()
    feed.put()
    eventually(lambda: results)
    dropped().close()
    assert not subscription.active


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


def test_closing_wakes_whoever_waits_and_leaves_no_thread(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    seen = []
    subscription = pipeline.subscribe(lambda result: seen.append(result.seq))
    with ThreadPoolExecutor(2) as pool:
        waiting, iterating = pool.submit(pipeline.wait), pool.submit(list, pipeline)
        eventually(lambda: len(pipeline._board._changed._waiters) == 2)
        closing = [threading.Thread(target=pipeline.close) for _ in range(4)]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(PATIENCE_S)
        with pytest.raises(PipelineClosedError):
            waiting.result(PATIENCE_S)
        assert iterating.result(PATIENCE_S) == []
    for ask in (pipeline.latest, pipeline.wait, lambda: list(pipeline), lambda: pipeline.subscribe(print)):
        with pytest.raises(PipelineClosedError, match="closed; open it again"):
            ask()
    assert not subscription.active
    assert threads_of_pipelines() == []
    pipeline.close()


def test_a_closed_pipeline_is_stale_from_then_on(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    assert pipeline.health.state == "ok"
    before_ns = time.monotonic_ns()
    pipeline.close()
    health = pipeline.health
    assert (health.state, health.reason) == ("stale", "the pipeline is closed")
    assert before_ns - 1 <= health.since_ns <= time.monotonic_ns()


def test_a_callback_may_close(start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    closed = threading.Event()
    pipeline.subscribe(lambda result: (pipeline.close(), closed.set()))
    feed.put()
    assert closed.wait(PATIENCE_S)
    with pytest.raises(PipelineClosedError):
        pipeline.latest()
    eventually(lambda: threads_of_pipelines() == [])


def test_a_callback_may_close_while_another_thread_closes(start, feed):
    pipeline, gate = start(max_age_ms=LONG_MS, close_s=1000), Gate()
    pipeline.subscribe(lambda result: (gate(), pipeline.close()))
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    closer = threading.Thread(target=pipeline.close, daemon=True)
    closer.start()
    eventually(pipeline._closing.locked)
    gate.opened.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive(), "each waits for the other"


def test_closing_does_not_wait_for_a_frame_that_hangs(start, feed, caplog):
    gate = Gate()
    pipeline = start(gate, hang_s=1000, close_s=0.05)
    feed.put()
    assert gate.reached.wait(PATIENCE_S)
    pipeline.close()
    assert "hangs in its runtime" in caplog.text
    gate.opened.set()
    eventually(lambda: threads_of_pipelines() == [])


def in_child(work) -> str:
    """What a forked child says of some work."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process that has threads is the test
        child = os.fork()
    if child == 0:
        try:
            said = f"returned {work()!r}"
        except BaseException as exc:
            said = f"{type(exc).__name__}: {exc}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where an earlier test has loaded it
def test_a_forked_child_is_told(start, feed, bundle: Path):
    pipeline = start(max_age_ms=LONG_MS)
    feed.put()
    pipeline.wait(-1, timeout_ms=LONG_MS)
    asks = [pipeline.latest, pipeline.wait, lambda: list(pipeline), lambda: pipeline.health, lambda: pipeline.counts]
    for ask in asks:
        assert in_child(ask).startswith("ForkError: this pipeline was opened before the process was forked")
    assert in_child(pipeline.close) == "returned None"
    feed.put()
    assert pipeline.wait(0, timeout_ms=LONG_MS).seq == 1, "the parent's goes on"
    with Segmenter.open(bundle, runtime="reference") as segmenter:
        assert in_child(lambda: segmenter(IMAGE)).startswith("ForkError: this segmenter was opened")
        assert in_child(segmenter.close) == "returned None"
        assert segmenter(IMAGE).seq == 0
    with pytest.raises(SegmenterClosedError):
        segmenter(IMAGE)
    assert issubclass(ForkError, Exception)


def test_two_threads_in_one_segmenter(bundle: Path, monkeypatch):
    gate = Gate()
    monkeypatch.setattr("edge_vseg.segmenter.check_image", gate)
    with Segmenter.open(bundle, runtime="reference") as segmenter, ThreadPoolExecutor(1) as pool:
        first = pool.submit(segmenter, IMAGE)
        assert gate.reached.wait(PATIENCE_S)
        with pytest.raises(SegmenterBusyError, match="another thread is in this segmenter"):
            segmenter(IMAGE)
        gate.opened.set()
        assert first.result(PATIENCE_S).seq == 0
