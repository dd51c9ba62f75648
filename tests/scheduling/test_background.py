"""Keyframes in the background: priority, failure, hanging, and what the deadline policy makes of them."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.decision import Collect, Infer, Launch, Propagate, Work
from edge_vseg.errors import SessionError
from edge_vseg.scheduling import assembly, background_lane
from edge_vseg.scheduling import background as module
from edge_vseg.scheduling.background import NICENESS, BackgroundWorker, JobCancelledError
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.policies import Async, Deadline
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.scheduling.steps import slice_step
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import Frame, Result, Tensor

FREE: dict = {"background": True, "idle_share": 0.5}
BUSY: dict = {"background_work": Work.KEYFRAME, "background_age_frames": 2, "background_drift": 0.04}
COSTS = Costs(infer_ms=60.0, fixed_ms=2.0, propagate_ms=0.5, fuse_ms=1.0)


class Sessions:
    """Stands for the sessions of a lane; remembers whether they were closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def worker(sessions: Sessions | None = None, turns: BackgroundTurns | None = None) -> BackgroundWorker:
    turns = turns or BackgroundTurns(beside_frames=True)
    return BackgroundWorker(lambda: sessions or Sessions(), turns)  # type: ignore[arg-type, return-value]


def job(work: Callable[[], object], parts: int = 1) -> Callable[..., object]:
    """A job of some parts that all do the same; it returns what the last one returned."""

    def run(_: object, part: Callable[..., object]) -> object:
        return [part(slice_step(number), work) for number in range(parts)][-1]

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness belongs to the process")
def test_sessions_are_opened_and_run_at_low_priority() -> None:
    seen: list[int] = []

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def open_sessions() -> Sessions:
        seen.append(nice())
        return Sessions()

    before = nice()
    made = BackgroundWorker(open_sessions, BackgroundTurns(beside_frames=True))  # type: ignore[arg-type]
    made.start(job(lambda: seen.append(nice()))).result()
    made.close()
    assert seen == [before + NICENESS] * 2 or before > 19 - NICENESS
    assert nice() == before, "the frame thread keeps its own"


def test_jobs_are_done_in_order_and_timed() -> None:
    made, sessions = [], Sessions()
    slow, answers = worker(sessions), itertools.count(1)
    made = [slow.start(job(lambda: (time.sleep(0.01), next(answers))[1])) for _ in range(3)]
    assert [run.result() for run in made] == [1, 2, 3]
    assert all(run.duration_ns >= 9_000_000 for run in made)
    spans = slow.take_spans()
    assert [span.step for span in spans] == ["slice 0"] * 3
    assert all(one.end_ns <= other.start_ns for one, other in itertools.pairwise(spans))
    assert slow.take_spans() == ()
    slow.close()
    assert sessions.closed.is_set()
    slow.close()


def test_an_error_belongs_to_its_job_and_the_next_goes_on() -> None:
    def fail() -> None:
        raise SessionError("out of memory")

    made = worker()
    first, second = made.start(job(fail)), made.start(job(lambda: 7))
    with pytest.raises(SessionError, match="out of memory"):
        first.result()
    assert second.result() == 7
    made.close()


def test_a_cancelled_job_stops_before_its_next_part() -> None:
    begun, go_on, counted = threading.Event(), threading.Event(), []

    def part() -> None:
        counted.append(1)
        begun.set()
        go_on.wait(20)

    made = worker()
    run = made.start(job(part, parts=5))
    begun.wait(20)
    run.cancel_parts()
    go_on.set()
    with pytest.raises(JobCancelledError):
        run.result(20)
    assert len(counted) == 1
    made.close()


def test_closing_does_not_wait_for_a_runtime_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.05)
    begun, release = threading.Event(), threading.Event()
    made = worker()
    run = made.start(job(lambda: (begun.set(), release.wait(20))))
    begun.wait(20)
    made.close()
    assert "hangs" in caplog.text
    assert not run.done()
    release.set()


class Failing(VariantSessions):
    """Sessions of the background that fail on their first runs; those of the frame lane have been given theirs."""

    failures = 0
    error: BaseException = RuntimeError("the runtime died")
    hang: threading.Event | None = None

    def run_whole(self, tensor: Tensor) -> Tensor:
        if self._given is None and type(self).failures > 0:
            type(self).failures -= 1
            if self.hang is not None:
                self.hang.wait(30)
            raise self.error
        return super().run_whole(tensor)


def frames_of(images: list[np.ndarray], start: int = 0) -> list[Frame]:
    return [Frame(image=image, seq=n, capture_ns=n * 10**8) for n, image in enumerate(images, start)]


def answer_or_error(segmenter: Segmenter, frame: Frame) -> Result | SessionError:
    try:
        return segmenter(frame)
    except SessionError as error:
        return error


def settle(segmenter: Segmenter) -> None:
    """Wait until the worker is done with what it has been given, the opening of its graphs included."""
    job, until = segmenter._engine.state.job, time.monotonic() + 20
    while job is not None and not job.run.done():
        assert time.monotonic() < until, "it is never done"
        time.sleep(0.002)


@pytest.mark.serial
def test_a_keyframe_that_fails_is_told_on_the_next_frame_and_old_maps_keep_their_age(
    sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "VariantSessions", Failing)
    monkeypatch.setattr(Failing, "failures", 1)
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async()) as segmenter:
        answers = []
        for frame in frames_of([*drive, *drive[::-1]]):
            answers.append(answer_or_error(segmenter, frame))
            settle(segmenter)
    assert [type(each) for each in answers[:4]] == [Result, Result, SessionError, Result]
    assert "the keyframe in the background failed: the runtime died" in str(answers[2])
    assert answers[3].age_frames == 3, "two frames since, and the one that failed"
    assert answers[3].decision.summary.startswith("launch")
    assert answers[-1].age_frames <= 2, "keyframes come again"


def test_a_worker_that_keeps_failing_rests_and_then_tries_again(
    sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "VariantSessions", Failing)
    monkeypatch.setattr(Failing, "failures", 3)
    monkeypatch.setattr(background_lane, "FIRST_PAUSE_S", 0.2)
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async()) as segmenter:
        answers = []
        for frame in frames_of([*drive, *drive[::-1]] * 3):
            answers.append(answer_or_error(segmenter, frame))
            settle(segmenter)
            time.sleep(0.03)
    errors = [number for number, each in enumerate(answers) if isinstance(each, SessionError)]
    assert len(errors) == 3
    assert errors[1] - errors[0] == 2, "the first failure is tried again at once"
    assert errors[2] - errors[1] > 4, "after the second it rests"
    resting = answers[errors[1] + 1]
    assert "is not free" in resting.decision.reason
    assert resting.age_frames == errors[1] + 1, "an old map says its age"
    assert answers[-1].age_frames <= 3


@pytest.mark.serial
def test_a_worker_that_hangs_is_replaced(
    sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(assembly, "VariantSessions", Failing)
    monkeypatch.setattr(Failing, "failures", 1)
    monkeypatch.setattr(Failing, "hang", release)
    monkeypatch.setattr(Failing, "has_run", lambda sessions, number=None: True)  # its first run may take minutes
    monkeypatch.setattr(background_lane, "MIN_HANG_S", 0.2)
    monkeypatch.setattr(background_lane, "HANG_FACTOR", 1.0)
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.5)
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async()) as segmenter:
        answers = []
        for frame in frames_of([*drive, *drive[::-1]]):
            answers.append(answer_or_error(segmenter, frame))
            time.sleep(0.03)
        begin = time.monotonic()
    assert time.monotonic() - begin < 20, "closing waits for no worker that hangs"
    (told,) = [each for each in answers if isinstance(each, SessionError)]
    assert "hangs in its runtime" in str(told)
    assert "another one takes its place" in caplog.text
    assert answers[-1].age_frames <= 3
    release.set()


def test_on_one_core_slices_run_between_frames_only() -> None:
    """On a clock of its own: after an answer until the next arrival, and never while a frame is answered."""
    turns, log = BackgroundTurns(beside_frames=False), []
    made = worker(turns=turns)
    turns.begin_frame()
    run = made.start(job(lambda: (log.append("slice"), time.sleep(0.01)), parts=6))
    time.sleep(0.05)
    assert log == [], "the frame has no answer yet"
    while not run.done():
        turns.end_frame(time.monotonic_ns() + 25_000_000)
        time.sleep(0.025)
        turns.begin_frame()
        log.append("frame")
        time.sleep(0.02)
        log.append("answer")
    made.close()
    inside = "".join({"slice": "s", "frame": "(", "answer": ")"}[each] for each in log)
    assert inside.count("s") == 6
    # A slice that has begun is finished, so one at most ends after the arrival; none begins then.
    assert all(len(between.split(")")[0]) <= 1 for between in inside.split("(")[1:]), inside


def test_a_part_longer_than_every_pause_still_gets_its_turn() -> None:
    turns = BackgroundTurns(beside_frames=False)
    turns.done(slice_step(0), 10**12)
    turns.end_frame(time.monotonic_ns() + 10_000_000_000)
    assert turns.wait(slice_step(0))


def test_a_share_of_the_machine_makes_the_background_rest_between_jobs() -> None:
    """Jobs of 30 ms with a duty of 0.3, on a clock of its own: begun on frames of 40 ms, as soon as it has rested."""
    now = 0
    turns = BackgroundTurns(beside_frames=True, clock=lambda: now)
    turns.duty = 0.3
    begun = []
    for frame in range(200):
        now = 40 * frame
        if not turns.rests(now, 20):
            begun.append(frame)
            turns.job_done(now, 30)
    assert len(begun) * 30 / (200 * 40) == pytest.approx(0.3, abs=0.01)
    assert set(np.diff(begun)) == {2, 3}, "100 ms are 2.5 frames: what is begun early is rested later"
    turns.duty = 1.0
    turns.job_done(now, 30)
    assert not turns.rests(now + 60, 0)


def test_a_busy_moment_does_not_make_the_background_rest_for_seconds() -> None:
    """The first frame takes the whole network: nothing is left of the share for that moment."""
    turns = BackgroundTurns(beside_frames=True, clock=lambda: 0)
    turns.duty = -0.4
    turns.job_done(0, 30)
    assert turns.rests(1400, 0)
    turns.duty = 0.3
    assert turns.rests(90, 0)
    assert not turns.rests(100, 0)


@pytest.mark.parametrize(
    ("situation", "actions"),
    [
        pytest.param({"age_frames": None}, (Infer(),), id="first frame"),
        pytest.param(FREE, (Launch(), Propagate()), id="idle"),
        pytest.param({**FREE, **BUSY}, (Propagate(),), id="busy"),
        pytest.param({**FREE, **BUSY, "background_done": True}, (Collect(), Launch(), Propagate()), id="done"),
        pytest.param({**BUSY, "background_done": True}, (Collect(), Propagate()), id="done, no time for another"),
        pytest.param(BUSY, (Propagate(),), id="busy, no time for another"),
    ],
)
def test_deadline_keeps_the_background_busy(situation: dict, actions: tuple) -> None:
    now = Situation(**({"frame_index": 5, "age_frames": 3, "slice_count": 8, "drift": 0.05} | situation))
    assert Deadline(milliseconds=10.0).decide(now, COSTS).actions == actions


def test_deadline_needs_no_background_where_the_network_fits() -> None:
    now = Situation(frame_index=5, age_frames=3, **FREE)
    assert Deadline(milliseconds=100.0).decide(now, COSTS).actions == (Infer(),)


def test_deadline_has_a_finer_motion_where_no_slices_run_beside_it() -> None:
    price = Costs(
        infer_ms=60.0, slices_ms=(4.0,) * 8, fixed_ms=3.0, motion_ms=1.0, propagate_ms=0.5,
        motions_ms={"dis-half": 9.0, "dis-fine": 2.0, "dis": 1.0},
    )  # fmt: skip
    now = Situation(frame_index=5, age_frames=3, slice_count=8)
    policy = Deadline(milliseconds=10.0)
    assert policy.decide(now, price).next_motion != "dis-fine"
    busy = Situation(frame_index=5, age_frames=3, slice_count=8, **FREE)
    assert policy.decide(busy, price).next_motion == "dis-fine"


def test_a_camera_gets_the_background_and_a_file_does_not(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    """The same frames on a clock of their own: with pauses between them, and without."""

    class Clock:
        now = 0

        def __call__(self) -> int:
            self.now += 50_000
            return self.now

    actions: dict[int, set[str]] = {}
    for pause_ns in (0, 60_000_000):
        clock = Clock()
        options, policy = OpenOptions(precision="int8", clock=clock), Deadline(milliseconds=1.5)
        with Segmenter.open(sliced_bundle, threads=1, policy=policy, options=options) as segmenter:
            said = set()
            for image in (*drive, *drive[::-1]):
                said.add(segmenter(image).decision.summary.partition(",")[0])
                clock.now += pause_ns
            actions[pause_ns] = said
    assert "launch" not in actions[0]
    assert "launch" in actions[60_000_000]
