"""Keyframes in the background: priority, failure, hanging, and what the deadline policy makes of them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.errors import SessionError
from edge_vseg.scheduling import background as module
from edge_vseg.scheduling.actions import Collect, Infer, Launch, Propagate
from edge_vseg.scheduling.background import NICENESS, BackgroundWorker
from edge_vseg.scheduling.policies import Async, Deadline
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Frame, Tensor

COSTS = Costs(infer_ms=60.0, fixed_ms=2.0, before_actions_ms=1.0, propagate_ms=0.5, fuse_ms=1.0)


class Closing:
    """Stands for a session; remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def worker(run: Callable[[object, Tensor], Tensor], session: Closing | None = None) -> BackgroundWorker:
    return BackgroundWorker(lambda: session or Closing(), run)  # type: ignore[arg-type, return-value]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness belongs to the process")
def test_the_session_is_opened_and_run_at_low_priority() -> None:
    seen: list[int] = []

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def open_session() -> Closing:
        seen.append(nice())
        return Closing()

    def run(_: object, tensor: Tensor) -> Tensor:
        seen.append(nice())
        return tensor

    before = nice()
    made = BackgroundWorker(open_session, run)  # type: ignore[arg-type]
    made.start(np.zeros(3)).result()
    made.close()
    assert seen == [before + NICENESS] * 2 or before > 19 - NICENESS
    assert nice() == before, "the frame thread keeps its own"


def test_runs_are_done_in_order_and_timed() -> None:
    made, session = [], Closing()
    slow = worker(lambda _, tensor: (time.sleep(0.01), tensor + 1)[1], session)
    made = [slow.start(np.full(2, number)) for number in range(3)]
    assert [int(run.result()[0]) for run in made] == [1, 2, 3]
    assert all(run.duration_ns >= 9_000_000 for run in made)
    slow.close()
    assert session.closed.is_set()
    slow.close()


def test_an_error_belongs_to_its_run_and_the_next_goes_on() -> None:
    answers = iter([SessionError("out of memory"), 7])

    def run(_: object, tensor: Tensor) -> Tensor:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return tensor + answer

    made = worker(run)
    first, second = made.start(np.zeros(1)), made.start(np.zeros(1))
    with pytest.raises(SessionError, match="out of memory"):
        first.result()
    assert second.result() == 7
    made.close()


def test_closing_does_not_wait_for_a_runtime_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.05)
    release = threading.Event()
    made = worker(lambda _, tensor: (release.wait(20), tensor)[1])
    run = made.start(np.zeros(1))
    made.close()
    assert "hangs" in caplog.text
    assert not run.done()
    release.set()


def test_a_keyframe_that_fails_is_told_on_its_frame_and_old_maps_keep_their_age(
    sliced_bundle: Path, drive: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(99))
    true_run = module.BackgroundWorker.__init__

    def failing(self: BackgroundWorker, open_session: object, run: Callable[..., Tensor]) -> None:
        def sometimes(session: object, tensor: Tensor) -> Tensor:
            if next(calls) == 0:
                raise RuntimeError("the runtime died")
            return run(session, tensor)

        true_run(self, open_session, sometimes)  # type: ignore[arg-type]

    monkeypatch.setattr(module.BackgroundWorker, "__init__", failing)
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=Async(lag_frames=1)) as segmenter:
        frames = [Frame(image=image, seq=n, capture_ns=n * 10**8) for n, image in enumerate([*drive, *drive[::-1]])]
        assert segmenter(frames[0]).source == "inferred"
        assert segmenter(frames[1]).age_frames == 1
        with pytest.raises(SessionError, match="failed: the runtime died; the next frame starts another"):
            segmenter(frames[2])
        after = [segmenter(frame) for frame in frames[3:7]]
        assert after[0].age_frames == 3, "two frames since, and the one that failed"
        assert after[0].decision.startswith("launch")
        assert after[1].age_frames == 1, "a fresh keyframe, one frame old"


@pytest.mark.parametrize(
    ("situation", "actions"),
    [
        pytest.param({"age_frames": None}, (Infer(),), id="first frame"),
        pytest.param({"background": True}, (Launch(), Propagate()), id="idle"),
        pytest.param({"background": True, "worker_age_frames": 2}, (Propagate(),), id="busy"),
        pytest.param(
            {"background": True, "worker_age_frames": 2, "worker_done": True}, (Collect(), Launch()), id="done"
        ),
        pytest.param({"worker_age_frames": 2, "worker_done": True}, (Collect(),), id="done, no time for another"),
        pytest.param({"worker_age_frames": 2}, (Propagate(),), id="busy, no time for another"),
    ],
)
def test_deadline_keeps_the_background_busy(situation: dict, actions: tuple) -> None:
    now = Situation(**({"frame_index": 5, "age_frames": 3, "slice_count": 8} | situation))
    assert Deadline(milliseconds=10.0).decide(now, COSTS).actions == actions


def test_deadline_needs_no_background_where_the_network_fits() -> None:
    now = Situation(frame_index=5, age_frames=3, background=True)
    assert Deadline(milliseconds=100.0).decide(now, COSTS).actions == (Infer(),)


def test_deadline_has_a_finer_motion_where_no_slices_run_beside_it() -> None:
    price = Costs(
        infer_ms=60.0, slices_ms=(4.0,) * 8, fixed_ms=3.0, motion_ms=1.0, motions_ms={"dis-fine": 2.0, "dis": 1.0},
        propagate_ms=0.5,
    )  # fmt: skip
    now = Situation(frame_index=5, age_frames=3, slice_count=8)
    policy = Deadline(milliseconds=10.0)
    assert policy.decide(now, price).next_motion != "dis-fine"
    busy = Situation(frame_index=5, age_frames=3, slice_count=8, background=True)
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
                said.add(segmenter(image).decision.partition(" ")[0].strip(","))
                clock.now += pause_ns
            actions[pause_ns] = said
    assert "launch" not in actions[0]
    assert module.usable_cores() < 2 or "launch" in actions[60_000_000]
