"""Closing in every state, forks, bundles that are replaced, threads that do not start, and what is never closed."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from faulty_runtime import FaultPlan, FaultySession, registered
from numbered_network import CLASSES, image_of
from numbered_runtime import RUNTIME, NumberedRuntime, write_numbered_bundle

from edge_vseg import Pipeline, PipelineOptions, Segmenter, open_source
from edge_vseg import segmenter as segmenter_module
from edge_vseg.errors import (
    BundleFileError,
    ForkError,
    PipelineFailedError,
    SegmenterClosedError,
    SessionError,
)
from edge_vseg.scheduling import background, background_lane, session_pool
from edge_vseg.scheduling.policies import Async, Fixed, Policy, Regional, Sliced
from edge_vseg.scheduling.session_pool import SessionPool
from edge_vseg.types import Frame, Result
from edge_vseg.video import Mailbox

PATIENCE_S = 30.0


class Gate:
    """Holds whoever passes until it is opened; tells when somebody has arrived."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_numbered_bundle(tmp_path / "numbered.evseg")


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(lambda: not set(threading.enumerate()) - before)


@contextmanager
def opened(bundle: Path, policy: Policy, plan: FaultPlan) -> Iterator[Segmenter]:
    with registered(RUNTIME, NumberedRuntime(), plan):
        segmenter = Segmenter.open(bundle, runtime=RUNTIME, threads=1, policy=policy)
        plan.armed = True
        yield segmenter


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)


def push(segmenter: Segmenter, number: int, gap_ms: float = 33.0) -> Result:
    return segmenter.push(image_of(number % CLASSES, number), capture_ns=round(number * gap_ms * 1e6), seq=number)


STATES = ["before the first frame", "after a frame", "in a keyframe", "worker hangs", "in a frame", "frame hangs"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.usefixtures("no_thread_left")
def test_closing_ends_in_every_state(state: str, bundle: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = state.endswith("hangs")
    patience_s = 0.05 if hangs else PATIENCE_S
    monkeypatch.setattr(background, "CLOSE_TIMEOUT_S", patience_s)
    monkeypatch.setattr(segmenter_module, "CLOSE_TIMEOUT_S", patience_s)
    lane = "background" if state in ("in a keyframe", "worker hangs") else "frame"
    plan = FaultPlan(fault="hangs", lane=lane, run=2 if lane == "frame" else 1, hang=gate)
    policy = Async() if lane == "background" else Fixed(period_frames=1)
    with opened(bundle, policy, plan) as segmenter, ThreadPoolExecutor(1) as pool:
        if state != "before the first frame":
            push(segmenter, 0)
        if lane == "background":
            push(segmenter, 1)
            assert gate.reached.wait(PATIENCE_S)
        frame = None
        if state in ("in a frame", "frame hangs"):
            frame = pool.submit(push, segmenter, 1)
            assert gate.reached.wait(PATIENCE_S)
        if not hangs:
            threading.Timer(0.05, gate.opened.set).start()
        begin = time.monotonic()
        closers = [threading.Thread(target=segmenter.close) for _ in range(2)]
        for closer in closers:
            closer.start()
        segmenter.close()
        for closer in closers:
            closer.join(PATIENCE_S)
            assert not closer.is_alive()
        assert time.monotonic() - begin < PATIENCE_S
        with pytest.raises(SegmenterClosedError if not frame or not hangs else SessionError):
            push(segmenter, 2)
        gate.opened.set()
        if frame is not None:
            assert frame.result(PATIENCE_S).seq == 1, "a frame that is under way is answered"
        eventually(lambda: not plan.open)


def test_a_dropped_keyframe_that_hangs_is_noticed(
    bundle: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is too old is dropped before it counts as hanging, and the next keyframe waits behind it."""
    monkeypatch.setattr(background_lane, "MIN_HANG_S", 0.2)
    monkeypatch.setattr(background_lane, "HANG_FACTOR", 1.0)
    plan = FaultPlan(fault="hangs", lane="background", run=2, hang=gate)
    told, ages = [], []
    with opened(bundle, Async(), plan) as segmenter:
        for number in range(40):
            try:
                ages.append(push(segmenter, number, gap_ms=900.0).age_frames)  # too old after three frames
            except SessionError as exc:
                told.append(str(exc))
            time.sleep(0.02)
        gate.opened.set()
        segmenter.close()
    assert len(told) == 1
    assert "hangs in its runtime" in told[0]
    assert "another one takes its place" in caplog.text
    assert plan.runs["infer", "background"] > 3, "keyframes come again"
    assert max(ages) <= 2


def test_a_thread_that_cannot_be_started_is_tried_again(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_lane, "FIRST_PAUSE_S", 0.01)
    start, plan, refused = threading.Thread.start, FaultPlan(), []

    def no_more_threads(thread: threading.Thread) -> None:
        if thread.name == "edge-vseg-background" and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more_threads)
    said = []
    with opened(bundle, Async(), plan) as segmenter:
        for number in range(2000):
            try:
                push(segmenter, number)
            except SessionError as exc:
                said.append(str(exc))
            if plan.runs.get(("infer", "background"), 0) > 3:
                break
            time.sleep(0.005)
        segmenter.close()
    assert len(said) == 2
    assert all("cannot be started: can't start new thread" in each for each in said)
    assert plan.runs["infer", "background"] > 3


def replace_bundle(bundle: Path) -> None:
    """Another bundle in its place, whose classes mean something else."""
    shutil.move(bundle, bundle.with_suffix(".old"))
    write_numbered_bundle(bundle, shift=7)


@pytest.mark.parametrize("policy", [Async(), Fixed(period_frames=2)], ids=lambda policy: policy.name)
def test_a_bundle_that_is_replaced_is_never_mixed_with_the_open_one(policy: Policy, bundle: Path) -> None:
    said = []
    with opened(bundle, policy, FaultPlan()) as segmenter:
        replace_bundle(bundle)
        for number in range(20):
            try:
                result = push(segmenter, number)
            except SessionError as exc:
                said.append(str(exc))
            else:
                assert number - result.labels.max() == result.age_frames
                assert result.labels.min() == result.labels.max()
            time.sleep(0.005)
        segmenter.close()
    if policy.name == "async":  # its worker opens its graphs with the first keyframe
        assert said
        assert "was replaced by another bundle" in said[0] or "is not the file" in said[0]
    else:
        assert said == []


def test_a_bundle_that_is_replaced_while_it_is_opened_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, plan = NumberedRuntime.open, FaultPlan()

    def open_late(*given: object) -> object:
        replace_bundle(bundle)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(NumberedRuntime, "open", open_late)
    with pytest.raises(BundleFileError, match="was replaced"), opened(bundle, Fixed(), plan):
        pass
    assert not plan.open


def test_a_pipeline_does_not_go_on_with_another_bundle(bundle: Path) -> None:
    """A worker that dies is replaced; its labels would mean something else."""
    plan = FaultPlan(fault="session error", run=2, times=10**6)
    with registered(RUNTIME, NumberedRuntime(), plan), Mailbox(name="numbers", fps=30.0) as box:

        def open_segmenter() -> Segmenter:
            return Segmenter.open(bundle, runtime=RUNTIME, threads=1)

        options = PipelineOptions(max_frame_failures=1, max_restarts=1)
        with Pipeline(open_segmenter, box, options=options) as pipeline:
            plan.armed = True
            box.put(image_of(0))
            pipeline.wait(-1, timeout_ms=PATIENCE_S * 1000)
            replace_bundle(bundle)
            box.put(image_of(1))
            with pytest.raises(PipelineFailedError, match="another bundle than the one"):
                pipeline.wait(0, timeout_ms=PATIENCE_S * 1000)


def test_a_supervisor_that_dies_is_a_pipeline_that_failed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = FaultPlan(fault="session error", run=1)
    start = threading.Thread.start
    with registered(RUNTIME, NumberedRuntime(), plan), Mailbox(name="numbers", fps=30.0) as box:
        options = PipelineOptions(max_frame_failures=1)
        opener = lambda: Segmenter.open(bundle, runtime=RUNTIME, threads=1)  # noqa: E731
        with Pipeline(opener, box, options=options) as pipeline:
            plan.armed = True

            def no_more_workers(thread: threading.Thread) -> None:
                if thread.name == "edge-vseg-pipeline":
                    raise RuntimeError("can't start new thread")
                start(thread)

            monkeypatch.setattr(threading.Thread, "start", no_more_workers)
            box.put(image_of(0))
            with pytest.raises(PipelineFailedError, match="can't start new thread"):
                pipeline.wait(-1, timeout_ms=PATIENCE_S * 1000)
            monkeypatch.undo()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_live_source_is_not_read_in_a_forked_child(clip: Path) -> None:
    with open_source(clip, live=True) as source:
        next(source)
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            said = "read"
            try:
                next(source)
            except ForkError:
                source.close()
                said = "ForkError"
            except BaseException as exc:
                said = repr(exc)
            os.write(write, said.encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert pipe.read() == "ForkError"
        os.waitpid(child, 0)
        assert next(source).seq > 0, "the parent's goes on"


def test_what_is_dropped_without_closing_ends_its_thread(clip: Path, bundle: Path) -> None:
    plan, before = FaultPlan(), set(threading.enumerate())
    source = open_source(clip, live=True)
    next(source)
    with opened(bundle, Async(), plan) as segmenter:
        for number in range(1000):
            push(segmenter, number)
            time.sleep(0.005)
            if ("infer", "background") in plan.runs:  # on a busy machine the worker takes its time
                break
    assert ("infer", "background") in plan.runs
    del source, segmenter
    # More than once: what the worker holds while it runs is garbage only afterwards.
    eventually(lambda: gc.collect() >= 0 and not set(threading.enumerate()) - before)


@pytest.mark.parametrize("policy", [Fixed(period_frames=2), Sliced(), Regional(max_drift=0.002), Async()], ids=str)
def test_every_session_is_closed_although_closing_raises(
    policy: Policy, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = FaultPlan()

    def close(session: FaultySession) -> None:
        plan.open.discard(session)
        raise RuntimeError("the driver is gone")

    with opened(bundle, policy, plan) as segmenter:
        for number in range(6):
            push(segmenter, number)
            time.sleep(0.005)
        assert plan.open
        monkeypatch.setattr(FaultySession, "close", close)
        with pytest.raises(SessionError, match="RuntimeError: the driver is gone"):
            segmenter.close()
    eventually(lambda: not plan.open)


def test_a_shared_graph_that_hangs_in_one_camera_is_opened_again_for_the_others(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    from edge_vseg.runtimes import GraphSpec

    monkeypatch.setattr(session_pool, "HANG_S", 0.05)
    monkeypatch.setattr(session_pool, "FIRST_RUN_S", 0.05)
    opened_graphs: list[Held] = []

    class Held:
        provider = "cpu"

        def __init__(self) -> None:
            self.closed = False
            self.hangs = not opened_graphs
            opened_graphs.append(self)

        def run(self, inputs: object) -> dict[str, np.ndarray]:
            if self.hangs:
                gate()
            return {"y": np.zeros(1)}

        def close(self) -> None:
            self.closed = True

    pool, spec = SessionPool(), GraphSpec(inputs=(), outputs=())
    first, second = (pool.opener("net", lambda entry, spec: Held())("whole", spec) for _ in range(2))
    hung = threading.Thread(target=first.run, args=({},), daemon=True)
    hung.start()
    assert gate.reached.wait(PATIENCE_S)
    with pytest.raises(SessionError, match="hangs in the frame of another camera"):
        second.run({})
    assert second.run({})["y"].shape == (1,)
    third = pool.opener("net", lambda entry, spec: Held())("whole", spec)
    assert third.run({})["y"].shape == (1,)
    assert len(opened_graphs) == 2
    for each in (first, second, third):
        each.close()
    assert [each.closed for each in opened_graphs] == [False, True]
    gate.opened.set()
    hung.join(PATIENCE_S)


def test_frames_after_a_gap_show_nothing_from_before_it(bundle: Path) -> None:
    with opened(bundle, Async(), FaultPlan()) as segmenter:
        for number in range(5):
            push(segmenter, number)
        frame = Frame(image=image_of(9), seq=5, capture_ns=10_000_000_000)
        assert (segmenter(frame).source, segmenter.meter is not None) == ("inferred", True)
        segmenter.close()
