"""A background whose graphs take minutes to open, as those of TensorRT do: it works, and does not hang."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from numbered_network import CLASSES, Network, NumberedSession, image_of, open_numbered

from edge_vseg.decision import Collect, Work
from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec
from edge_vseg.scheduling import background_lane, steps
from edge_vseg.scheduling.background import BackgroundWorker
from edge_vseg.scheduling.background_lane import MIN_HANG_S, OPEN_S, BackgroundLane
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.state import BackgroundJob, EngineState, Made, Origin, Track

PATIENCE_S = 30.0
S = 1_000_000_000


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
