"""Several cameras, one background lane: who comes next, who waits, and what happens when the worker hangs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.decision import Collect
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.scheduling.background import BackgroundRun, BackgroundWorker, Bid, JobCancelledError
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.policies import Async
from edge_vseg.scheduling.shared_background import PROMISED_NS, SharedBackground
from edge_vseg.scheduling.steps import slice_step
from edge_vseg.types import Frame

PATIENCE_S = 20.0


class Sessions:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Gate:
    """A job that runs until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, sessions: object, part: Callable[..., object]) -> object:
        return part(slice_step(0), self._wait)

    def _wait(self) -> str:
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        return "made"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(clock: Clock) -> Iterator[SharedBackground]:
    made = SharedBackground(BackgroundTurns(beside_frames=True, clock=clock))
    yield made
    for camera in made.cameras:
        camera.close()


def joined(shared: SharedBackground, sessions: Sessions | None = None, key: str = "net", **more: float):
    camera = shared.join(**more)
    camera.network = key
    return camera.connect(lambda: sessions or Sessions())  # type: ignore[arg-type, return-value]


def bid(gain: float, cost_ms: float = 60.0, period_ms: float = 33.0) -> Bid:
    return Bid(gain=gain, cost_ms=cost_ms, period_ms=period_ms)


def finish(run: BackgroundRun[object], gate: Gate) -> object:
    gate.go_on.set()
    return run.result(PATIENCE_S)


def test_the_camera_that_gains_most_comes_first(shared: SharedBackground, clock: Clock) -> None:
    calm, busy = joined(shared), joined(shared)
    assert calm.grants(bid(0.01))  # nobody else has asked
    calm.start(lambda sessions, part: part(slice_step(0), lambda: 1)).result(PATIENCE_S)
    assert busy.grants(bid(0.2))
    assert busy.grants(bid(0.2)), "it is still its turn"
    assert not calm.grants(bid(0.01)), "the other one may begin at this moment"
    # What it was allowed and did not take keeps the others waiting no longer than a frame takes to begin.
    clock.ns += PROMISED_NS
    assert calm.grants(bid(0.01))
    gate = Gate()
    run = calm.start(gate)
    assert gate.begun.wait(PATIENCE_S)
    assert not busy.grants(bid(0.2)), "the worker is busy for longer than a period"
    assert finish(run, gate) == "made"
    assert not calm.grants(bid(0.01)), "the other one waits and gains more"
    assert busy.grants(bid(0.2))


def test_gain_counts_by_the_millisecond_and_by_weight(shared: SharedBackground) -> None:
    small, large = joined(shared), joined(shared)
    large.grants(bid(0.1, cost_ms=100))
    large.start(lambda sessions, part: None).result(PATIENCE_S)
    large.grants(bid(0.1, cost_ms=100))
    large.start(lambda sessions, part: None).result(PATIENCE_S)
    assert small.grants(bid(0.05, cost_ms=20))
    heavy = joined(shared, weight=100.0)
    small.start(lambda sessions, part: None).result(PATIENCE_S)
    assert heavy.grants(bid(0.01, cost_ms=100))


def test_one_frame_may_wait_for_the_end_of_the_keyframe_before(shared: SharedBackground, clock: Clock) -> None:
    first, second, third = joined(shared), joined(shared), joined(shared)
    gate = Gate()
    assert first.grants(bid(0.1))
    run = first.start(gate)
    assert gate.begun.wait(PATIENCE_S)
    assert not second.grants(bid(0.1))
    clock.ns += 40_000_000  # of 60 ms
    assert second.grants(bid(0.1))
    queued = second.start(lambda sessions, part: part(slice_step(0), lambda: "next"))
    assert not third.grants(bid(0.9)), "one waits already"
    assert finish(run, gate) == "made"
    assert queued.result(PATIENCE_S) == "next"
    assert third.grants(bid(0.9))


def test_nobody_starves(shared: SharedBackground, clock: Clock) -> None:
    quiet, loud = joined(shared, max_wait_ms=500), joined(shared)
    quiet.grants(bid(0.0))
    served = 0
    for _ in range(40):
        clock.ns += 33_000_000
        if loud.grants(bid(0.5)):
            loud.start(lambda sessions, part: None).result(PATIENCE_S)
        if quiet.grants(bid(0.0)):
            quiet.start(lambda sessions, part: None).result(PATIENCE_S)
            served += 1
    assert 2 <= served <= 4


def begun_by_a_camera_in_step(shared: SharedBackground, clock: Clock, *, seconds: float, delay_ns: int) -> list[float]:
    """When a camera whose frames come right after those of a still one begins keyframes, which are done at once."""
    still, moving = joined(shared), joined(shared)
    begun = []
    for frame in range(round(seconds * 30)):
        clock.ns = frame * 33_333_333
        still.grants(bid(0.0005))  # and begins nothing: it gains too little
        clock.ns += delay_ns
        if moving.grants(bid(0.05)):
            moving.start(lambda sessions, part: None).result(PATIENCE_S)
            begun.append(clock.ns / 1e9)
    return begun


@pytest.mark.parametrize("delay_ns", [1_000_000, PROMISED_NS - 1, PROMISED_NS + 1])
def test_a_still_camera_starves_none_that_is_in_step_with_it(
    shared: SharedBackground, clock: Clock, delay_ns: int
) -> None:
    begun = begun_by_a_camera_in_step(shared, clock, seconds=10.0, delay_ns=delay_ns)
    assert sum(at > 5 for at in begun) > 0.9 * 5 * 30


def test_what_a_camera_did_not_begin_in_its_frame_is_free_after_it(shared: SharedBackground) -> None:
    still, other = joined(shared), joined(shared)
    still.turns.begin_frame()
    assert still.grants(bid(0.0))
    assert not other.grants(bid(0.1)), "it may still begin in this frame"
    other.turns.end_frame(None)
    assert not other.grants(bid(0.1)), "that was the end of another frame"
    still.turns.end_frame(None)
    assert other.grants(bid(0.1))


def test_while_the_lane_rests_nobody_has_had_a_turn(shared: SharedBackground, clock: Clock) -> None:
    """Two cameras want every turn, and the lane rests three quarters of the time: the quiet one has its turns, too."""
    quiet, loud = joined(shared, max_wait_ms=500), joined(shared, max_wait_ms=60_000)
    cameras, begun = {"quiet": (quiet, 0.01), "loud": (loud, 0.5)}, {"quiet": 0, "loud": 0}
    shared.turns.duty = 0.25
    for _ in range(600):
        clock.ns += 33_000_000
        for name, (camera, gain) in cameras.items():
            if camera.grants(bid(gain)) and not camera.turns.rests(clock.ns, 16_500_000):
                camera.start(lambda sessions, part: None).result(PATIENCE_S)
                shared.turns.job_done(clock.ns, 60_000_000)
                begun[name] += 1
            camera.turns.end_frame(None)
    assert begun["quiet"] >= 0.8 * 600 * 33 / (500 + 240), "each time that it has waited too long, after the rest"
    assert begun["loud"] > begun["quiet"]


def test_what_a_camera_may_have_to_wait(shared: SharedBackground) -> None:
    camera = joined(shared, max_wait_ms=700)
    assert camera.wait_ms(100.0) == 700
    shared.turns.duty = 0.25
    assert camera.wait_ms(100.0) == 700 + 300, "a quarter of the time is work"
    alone = BackgroundWorker(lambda: Sessions(), BackgroundTurns(beside_frames=True))  # type: ignore[arg-type, return-value]
    assert alone.wait_ms(100.0) == 0
    alone.turns.duty = 0.5
    assert alone.wait_ms(100.0) == 100


def test_a_camera_that_has_stalled_keeps_nobody_waiting(shared: SharedBackground, clock: Clock) -> None:
    stalled, other = joined(shared), joined(shared)
    other.grants(bid(0.9))
    other.start(lambda sessions, part: None).result(PATIENCE_S)
    gate = Gate()
    other.grants(bid(0.9))
    run = other.start(gate)
    assert gate.begun.wait(PATIENCE_S)
    assert not stalled.grants(bid(0.9))
    finish(run, gate)
    assert not other.grants(bid(0.1)), "the other one asked a moment ago, and gains more"
    clock.ns += 200_000_000
    assert other.grants(bid(0.1))


def test_cameras_of_one_network_share_its_sessions(shared: SharedBackground) -> None:
    mine, other = Sessions(), Sessions()
    seen: list[object] = []
    cameras = [joined(shared, mine), joined(shared, Sessions()), joined(shared, other, key="another")]
    for camera in cameras:
        camera.start(lambda sessions, part: seen.append(sessions)).result(PATIENCE_S)
    assert seen == [mine, mine, other]
    for camera in cameras[:2]:
        camera.close()
    assert not mine.closed.is_set()
    cameras[2].close()
    assert mine.closed.wait(PATIENCE_S)
    assert other.closed.wait(PATIENCE_S)


def test_a_segmenter_that_is_opened_again_takes_the_place_of_the_one_before(shared: SharedBackground) -> None:
    old, other = joined(shared), joined(shared)
    new = old.renewed()
    assert old.grants(bid(0.1)), "the new one is not there yet"
    old.start(lambda sessions, part: None).result(PATIENCE_S)
    new.network = "net"
    new.connect(lambda: Sessions())  # type: ignore[arg-type, return-value]
    assert shared.cameras == [other, new]
    assert not old.grants(bid(0.9)), "its place is taken"
    old.close()  # one that hung comes back late
    assert shared.cameras == [other, new]
    assert new.grants(bid(0.9))


def test_the_old_segmenter_has_its_place_again_if_the_new_one_does_not_stay(shared: SharedBackground) -> None:
    old = joined(shared)
    old.renewed().connect(lambda: Sessions()).close()  # type: ignore[arg-type, return-value]
    assert old.grants(bid(0.1))
    assert shared.cameras == [old]


def test_spans_belong_to_their_camera(shared: SharedBackground) -> None:
    one, two = joined(shared), joined(shared)
    one.start(lambda sessions, part: part(slice_step(0), lambda: time.sleep(0.001))).result(PATIENCE_S)
    two.start(lambda sessions, part: part(slice_step(7), lambda: None)).result(PATIENCE_S)
    assert [span.step for span in one.take_spans()] == ["slice 0"]
    assert [span.step for span in two.take_spans()] == ["slice 7"]
    assert one.take_spans() == ()


def test_a_worker_that_hangs_is_replaced_for_all(shared: SharedBackground) -> None:
    hanging, other = joined(shared), joined(shared)
    gate = Gate()
    run = hanging.start(gate)
    assert gate.begun.wait(PATIENCE_S)
    queued = other.start(lambda sessions, part: part(slice_step(0), lambda: 1))
    hanging.abandon()
    with pytest.raises(JobCancelledError, match="another camera"):
        queued.result(PATIENCE_S)
    assert other.start(lambda sessions, part: part(slice_step(0), lambda: 2)).result(PATIENCE_S) == 2
    gate.go_on.set()
    with pytest.raises(JobCancelledError):
        run.result(PATIENCE_S)


class FinishesJustThen(Future):  # type: ignore[type-arg]
    """A keyframe that the worker finishes after it was looked at, and before it could be given up."""

    def done(self) -> bool:
        before = super().done()
        if not before:
            self.set_result("made after all")
        return before


def test_a_worker_that_comes_back_as_it_is_given_up_harms_nobody(shared: SharedBackground) -> None:
    hanging, other = joined(shared), joined(shared)
    run = FinishesJustThen()
    other._under_way = run
    hanging.abandon()
    assert run.result(0) == "made after all"
    assert other.start(lambda sessions, part: part(slice_step(0), lambda: 2)).result(PATIENCE_S) == 2


def test_between_frames_means_between_those_of_all_cameras(clock: Clock) -> None:
    turns = BackgroundTurns(beside_frames=False, clock=clock)
    shared = SharedBackground(turns)
    one, two = joined(shared), joined(shared)
    one.turns.begin_frame()
    two.turns.begin_frame()
    one.turns.end_frame(None)
    ran = threading.Event()
    run = one.start(lambda sessions, part: part(slice_step(0), ran.set))
    assert not ran.wait(0.05)
    two.turns.end_frame(None)
    assert ran.wait(PATIENCE_S)
    run.result(PATIENCE_S)
    # Half of four cores for all: what the frame lanes take is taken once, and the other half is left once.
    one.turns.share_cores(allowed=2.0, frame_lane=0.1, background=4.0)
    two.turns.share_cores(allowed=2.0, frame_lane=0.3, background=4.0)
    two.turns.end_frame(None)
    assert turns.duty == pytest.approx((2 - 0.4) / 4)
    one.turns.share_cores(allowed=math.inf, frame_lane=0.1, background=4.0)
    one.turns.end_frame(None)
    assert turns.duty == pytest.approx((2 - 0.4) / 4), "the most modest camera counts"
    two.turns.share_cores(allowed=math.inf, frame_lane=0.3, background=4.0)
    two.turns.end_frame(None)
    assert turns.duty == 1.0
    one.close()
    two.close()


def test_a_worker_that_could_not_be_started_is_asked_again(
    shared: SharedBackground, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = joined(shared), joined(shared)
    whole = BackgroundWorker.start

    def fails(*_: object) -> None:
        raise SessionError("can't start new thread")

    monkeypatch.setattr(BackgroundWorker, "start", fails)
    assert one.grants(bid(0.1))
    with pytest.raises(SessionError):
        one.start(lambda sessions, part: "made")
    monkeypatch.setattr(BackgroundWorker, "start", whole)
    assert two.grants(bid(0.2)), "nobody waits"
    assert two.start(lambda sessions, part: "made").result(PATIENCE_S) == "made"


@pytest.mark.parametrize(
    "more",
    [
        {"weight": 0.0},
        {"weight": math.inf},
        {"max_wait_ms": -1.0},
        {"max_wait_ms": math.inf},
        {"max_wait_ms": 1e305},
        {"max_wait_ms": math.nan},
    ],
    ids=str,
)
def test_what_is_not_positive_and_finite_is_refused(shared: SharedBackground, more: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be positive and finite"):
        shared.join(**more)


def test_every_camera_gets_maps_of_its_own_picture(sliced_bundle) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(2)]
    with Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1) as plain:
        expected = [plain(picture).labels for picture in pictures]
    assert not np.array_equal(*expected)
    shared = SharedBackground()
    cameras = [
        Segmenter.open(
            sliced_bundle,
            runtime="onnxruntime",
            threads=1,
            policy=Async(motion=""),
            options=OpenOptions(background=shared.join(max_wait_ms=50)),
        )
        for _ in pictures
    ]
    keyframes = [0, 0]
    for seq in range(40):
        for number, (camera, picture) in enumerate(zip(cameras, pictures, strict=True)):
            result = camera(Frame(image=picture, seq=seq, capture_ns=time.monotonic_ns()))
            assert np.array_equal(result.labels, expected[number])
            keyframes[number] += any(isinstance(action, Collect) for action in result.decision.actions)
        time.sleep(0.01)
    for camera in cameras:
        camera.close()
    assert shared.cameras == []
    assert min(keyframes) > 0
