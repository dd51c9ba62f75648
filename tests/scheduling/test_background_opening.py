"""A background whose graphs take minutes to open, as those of TensorRT do: it works, and does not hang."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbered_network import CLASSES, Network, NumberedSession, image_of, open_numbered

from edge_vseg import Segmenter
from edge_vseg.decision import Collect, Work
from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions
from edge_vseg.runtimes.backends.onnx_runtime import OnnxRuntime
from edge_vseg.scheduling import background_lane, first_runs, steps
from edge_vseg.scheduling.background import BackgroundWorker
from edge_vseg.scheduling.background_lane import MIN_HANG_S, OPEN_S, BackgroundLane
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.state import BackgroundJob, EngineState, Made, Origin, Track
from edge_vseg.types import Tensor

PATIENCE_S = 30.0
S = 1_000_000_000


@pytest.fixture(autouse=True)
def new_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process have run the same ones."""
    monkeypatch.setattr(first_runs, "_NETWORKS", {})


class Run:
    """A job that is done when it is told to be."""

    duration_ns = 0

    def __init__(self) -> None:
        self.opening_ns = 0
        self.made: Made | None = None
        self.on_wait: Callable[[], object] = lambda: None

    def done(self) -> bool:
        return self.made is not None

    def result(self, timeout: float | None = None) -> Made:
        self.on_wait()
        if self.made is None:
            raise concurrent.futures.TimeoutError
        return self.made

    def cancel_parts(self) -> None:
        raise AssertionError("nobody has a reason to")


class Worker:
    """Of the lane only what a job under way asks for."""

    def __init__(self) -> None:
        self.turns = BackgroundTurns(beside_frames=True)
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


class Lane:
    """A lane with a job that was handed over at 0 s, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.run, self.worker = Run(), Worker()
        clock: Callable[[], int] = lambda: round(self.now_s * S)  # noqa: E731
        given: Any = self.worker
        self.lane = BackgroundLane(lambda: given, lambda image: image, None, CostMeter(0), clock)  # type: ignore
        track = Track.begin(Origin(frame=0, capture_ns=0, pts_ns=None), (4, 4), None)
        self.state = EngineState(job=BackgroundJob(work=Work.KEYFRAME, run=self.run, track=track, started_ns=0))

    def check(self, now_s: float, opening_s: float) -> None:
        self.now_s, self.run.opening_ns = now_s, round(opening_s * S)
        self.lane.check(self.state)


def test_what_is_opened_does_not_hang_until_its_own_limit() -> None:
    made = Lane()
    for now_s in (5.0, 60.0, 0.99 * OPEN_S):
        made.check(now_s, opening_s=now_s)
    with pytest.raises(SessionError, match="hangs in its runtime"):
        made.check(OPEN_S + 1, opening_s=OPEN_S + 1)
    assert made.worker.abandoned
    assert made.state.job is None


def test_what_has_been_opened_has_as_long_as_any_other() -> None:
    made = Lane()
    made.check(300 + 0.9 * MIN_HANG_S, opening_s=300)
    with pytest.raises(SessionError, match="hangs in its runtime"):
        made.check(300 + 1.1 * MIN_HANG_S, opening_s=300)


def test_who_waits_for_a_keyframe_waits_for_the_opening() -> None:
    made, waits = Lane(), []

    def on_wait() -> None:
        waits.append(1)
        made.run.opening_ns += 10 * S
        if len(waits) == 5:
            made.run.made = Made(shown=None, context=None)

    made.run.on_wait = on_wait
    assert made.lane.collect(made.state).shown is None
    assert len(waits) == 5


@pytest.mark.parametrize("step_s", [0.0, 200.0], ids=["nothing is opened", "for too long"])
def test_who_waits_gives_up(step_s: float) -> None:
    made, waits = Lane(), []

    def on_wait() -> None:
        assert len(waits) < 10, "it waits for ever"
        waits.append(1)
        made.run.opening_ns += round(step_s * S)

    made.run.on_wait = on_wait
    with pytest.raises(SessionError, match="hangs in its runtime"):
        made.lane.collect(made.state)
    assert made.worker.abandoned


def test_opening_is_no_part_of_a_keyframes_duration() -> None:
    """Else the network counted as slow until the second keyframe, and the background rested for minutes."""
    turns = BackgroundTurns(beside_frames=True)
    worked: list[int] = []
    turns.job_done = lambda begin_ns, worked_ns: worked.append(worked_ns)  # type: ignore[method-assign]
    worker = BackgroundWorker(lambda: None, turns)  # type: ignore[arg-type, return-value]

    def job(_: object, part: Callable[..., object]) -> object:
        part(steps.OPEN, lambda: time.sleep(0.05))
        return part(steps.INFER, lambda: "made")

    first, second = worker.start(job), worker.start(lambda _, part: part(steps.INFER, lambda: "more"))
    assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == ("made", "more")
    worker.close()
    opening, inference, _ = worker.take_spans()
    assert (opening.step, inference.step) == ("open", "infer")
    assert first.duration_ns == worked[0] == inference.end_ns - inference.start_ns
    assert first.opening_ns >= 50_000_000, "in sum, as long as it slept"


def test_a_graphs_first_run_counts_as_opening() -> None:
    """TensorRT compiles then; else the network counted as slow, and the background rested for minutes."""
    turns = BackgroundTurns(beside_frames=True)
    worked: list[int] = []
    turns.job_done = lambda begin_ns, worked_ns: worked.append(worked_ns)  # type: ignore[method-assign]
    worker = BackgroundWorker(lambda: None, turns)  # type: ignore[arg-type, return-value]

    def job(_: object, part: Callable[..., object]) -> object:
        part(steps.PREPROCESS, lambda: time.sleep(0.002))
        part(steps.INFER, lambda: time.sleep(0.05), first=len(worked) == 0)
        return part(steps.LABELS, lambda: time.sleep(0.002))

    first = worker.start(job)
    first.result(PATIENCE_S)
    second = worker.start(job)
    second.result(PATIENCE_S)
    worker.close()
    spans = worker.take_spans()
    assert [span.step for span in spans] == ["preprocess", "infer", "labels"] * 2, "it is still told what it was"
    lengths_ns = [span.end_ns - span.start_ns for span in spans]
    assert first.opening_ns >= 50_000_000
    assert (first.duration_ns, worked[0]) == (0, lengths_ns[0] + lengths_ns[2])
    assert second.opening_ns == 0
    assert second.duration_ns >= worked[1] == sum(lengths_ns[3:])


@pytest.mark.parametrize("beside_frames", [True, False], ids=["whole", "slices"])
def test_a_real_runtime_that_is_slow_at_its_first_runs_is_not_replaced(
    beside_frames: bool, sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime, held at the first run of every graph for longer than a job may take that hangs."""
    monkeypatch.setattr(background_lane, "MIN_HANG_S", 0.4)
    monkeypatch.setattr(background_lane, "HANG_FACTOR", 0.0)
    opened, slow, open_graph = [], [], OnnxRuntime.open

    def open_slow(runtime: OnnxRuntime, path: Path, spec: GraphSpec, options: SessionOptions) -> Session:
        session = open_graph(runtime, path, spec, options)
        if threading.current_thread().name != "edge-vseg-background":
            return session
        opened.append(path.name)
        return SlowAtFirst(session, slow)

    monkeypatch.setattr(OnnxRuntime, "open", open_slow)
    collected, until = 0, time.monotonic() + PATIENCE_S
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async()) as segmenter:
        segmenter._engine._parts.background.worker.turns.beside_frames = beside_frames
        while collected < 2:
            assert time.monotonic() < until, "no keyframe is ever done"
            result = segmenter(drive[len(slow) % len(drive)])
            collected += any(isinstance(action, Collect) for action in result.decision.actions)
            time.sleep(0.02)
    assert (len(slow) > 1) != beside_frames
    assert len(slow) == len(opened) == len(set(opened)), "nothing was opened again"


def test_opening_that_takes_too_long_counts_as_work() -> None:
    worker = BackgroundWorker(lambda: None, BackgroundTurns(beside_frames=True))  # type: ignore[arg-type, return-value]
    gate, seen = threading.Event(), []

    def job(_: object, part: Callable[..., object]) -> None:
        part(steps.OPEN, lambda: gate.wait(PATIENCE_S), patience_s=0.02)
        part(steps.INFER, lambda: time.sleep(0.02), first=True, patience_s=9.0)

    run = worker.start(job)
    for _ in range(2):
        time.sleep(0.1)
        seen.append(run.opening_ns)
    assert seen == [20_000_000] * 2
    gate.set()
    run.result(PATIENCE_S)
    assert 40_000_000 <= run.opening_ns < 9 * S
    worker.close()


@pytest.mark.parametrize("parts", ["whole", "slices"])
@pytest.mark.parametrize("when", ["in the middle", "after a switch"])
def test_a_graph_that_has_run_before_hangs_soon_also_when_it_is_opened_again(
    parts: str, when: str, sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that dies: each worker hangs in the first run of its sessions, and is replaced in its turn."""
    monkeypatch.setattr(background_lane, "MIN_HANG_S", 0.3)
    monkeypatch.setattr(background_lane, "HANG_FACTOR", 0.0)
    monkeypatch.setattr(background_lane, "FIRST_PAUSE_S", 0.01)
    dead, release, open_graph = threading.Event(), threading.Event(), OnnxRuntime.open

    def open_mortal(runtime: OnnxRuntime, path: Path, spec: GraphSpec, options: SessionOptions) -> Session:
        session = open_graph(runtime, path, spec, options)
        behind = threading.current_thread().name == "edge-vseg-background"
        return Mortal(session, dead, release) if behind else session

    def opened() -> Segmenter:
        return Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async())

    monkeypatch.setattr(OnnxRuntime, "open", open_mortal)
    segmenter, collected, failures, until = opened(), 0, 0, time.monotonic() + PATIENCE_S
    number = 0
    try:
        while failures < 3:
            assert time.monotonic() < until, f"{failures} of 3 workers that hang were noticed"
            number += 1
            segmenter._engine._parts.background.worker.turns.beside_frames = parts == "whole"
            try:
                result = segmenter(drive[number % len(drive)])
                collected += any(isinstance(action, Collect) for action in result.decision.actions)
            except SessionError:
                failures += dead.is_set()
            if collected == 2 and not dead.is_set():
                if when == "after a switch":
                    segmenter.close()
                    segmenter = opened()
                dead.set()
            time.sleep(0.02)
    finally:
        release.set()
        segmenter.close()


class Mortal:
    """A session that hangs once its device is dead, until it is released."""

    def __init__(self, inner: Session, dead: threading.Event, release: threading.Event) -> None:
        self._inner, self._dead, self._release = inner, dead, release
        self.provider, self.close = inner.provider, inner.close

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self._dead.is_set():
            self._release.wait(2 * PATIENCE_S)
        return self._inner.run(inputs)


class SlowAtFirst:
    """A session that takes its time at its first run."""

    def __init__(self, inner: Session, slow: list[int]) -> None:
        self._inner, self._slow, self._ran = inner, slow, False
        self.provider, self.close = inner.provider, inner.close

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self._ran:
            self._ran = True
            self._slow.append(1)
            time.sleep(0.8)
        return self._inner.run(inputs)


class SlowToOpen(Network):
    """Its graphs are opened in the background once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = threading.Event(), threading.Event()
        self.opened: list[str] = []

    def opener(self, entry: str, spec: GraphSpec) -> NumberedSession:
        if threading.current_thread().name == "edge-vseg-background":
            self.opened.append(entry)
            self.reached.set()
            assert self.gate.wait(PATIENCE_S)
        return super().opener(entry, spec)


def test_a_background_that_opens_slowly_is_not_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_lane, "MIN_HANG_S", 0.5)
    monkeypatch.setattr(background_lane, "HANG_FACTOR", 0.0)
    network = SlowToOpen()
    with open_numbered(network, Async()) as segmenter:
        segmenter._engine._parts.background.worker.turns.beside_frames = True
        number, opening_s, collected = 0, 0.0, False
        until = time.monotonic() + PATIENCE_S
        while not collected:
            assert time.monotonic() < until, "no keyframe is ever done"
            result = segmenter.push(image_of(number % CLASSES, number), capture_ns=number * 33_000_000, seq=number)
            collected = any(isinstance(action, Collect) for action in result.decision.actions)
            number += 1
            time.sleep(0.02)
            if network.reached.is_set() and not network.gate.is_set():
                opening_s += 0.02
                if opening_s > 1.0:
                    monkeypatch.setattr(background_lane, "MIN_HANG_S", PATIENCE_S)
                    network.gate.set()
        network.gate.set()
    assert network.opened == ["infer.graph"]
