"""How a pipeline ends: closed by anybody, dropped, or in a forked child; nobody waits on, and no thread is left."""

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
from live_feed import IMAGE, LONG_MS, PATIENCE_S, Gate, eventually, threads_of_pipelines

from edge_vseg import Pipeline, PipelineOptions, Segmenter
from edge_vseg.errors import ForkError, PipelineClosedError, SegmenterBusyError, SegmenterClosedError

pytestmark = pytest.mark.usefixtures("no_pauses")


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
