"""What holds on every frame, for any sequence of costs, arrivals, stalls and motion, and for any policy."""

from __future__ import annotations

import gc
import math
import threading
import time
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered_network import CLASSES, SLICES, Network, image_of, make_profile, open_numbered
from numbered_video import MS, Step, Video

from edge_vseg.decision import (
    Action,
    Advance,
    Cancel,
    Collect,
    Decision,
    Detail,
    Hold,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
    Work,
)
from edge_vseg.scheduling import assembly, background_turns
from edge_vseg.scheduling.policies import POLICIES, Async, Deadline, Fixed, FrameLimits, Policy, Regional
from edge_vseg.scheduling.policies.port import MAX_AGE_MS
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.types import Frame, Result

MAX_AGE_FRAMES = Deadline(milliseconds=1.0).max_age_frames + SLICES + 1
quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def steps_of(count: int) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        Step,
        gap_ms=st.sampled_from([5.0, 33.0, 33.0, 33.0, 66.0, 120.0, 700.0, 1500.0, 10_000.0, -50.0]),
        seq=st.sampled_from([1, 1, 1, 1, 1, 2, 3, 40, 0, -3]),
        shift=st.sampled_from([0, 2, 2, 5, -8]),
        size_hw=st.sampled_from([(64, 64), (64, 64), (64, 64), (48, 80), (128, 128)]),
        late_ms=st.sampled_from([0.0, 0.0, 20.0]),
    )
    return st.lists(step, min_size=4, max_size=count)


@dataclass(kw_only=True)
class RandomPolicy:
    """Any legal actions, several in a row, and any estimator."""

    seed: int
    moves: bool = True
    max_age_ms: float | None = None
    name: str = "random"
    needs: str = "any"
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    @property
    def motion(self) -> str:
        return "dis" if self.moves else ""

    @property
    def limits(self) -> FrameLimits:
        return FrameLimits(deadline_ms=10.0, max_age_ms=self.max_age_ms)

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        rng, actions = self._rng, []
        shown, job = situation.age_frames is not None, situation.background_work is not None
        context = situation.context_age_frames is not None
        for _ in range(rng.integers(1, 4)):
            possible: list[Action] = [Infer(), Refresh(int(rng.integers(1, 3)))]
            if shown:
                chosen = tuple(int(tile) for tile in np.flatnonzero(rng.random(len(situation.tile_drift)) < 0.5))
                possible += [InferTiles(chosen)] if chosen else []
                possible += [Propagate(), Propagate(), Hold(), Advance(int(rng.integers(1, SLICES + 2)))]
            if context:
                possible.append(Detail())
            possible += [Collect(), Cancel()] if job else [Launch(Work(rng.choice(list(Work))))]
            action = possible[rng.integers(len(possible))]
            actions.append(action)
            job = isinstance(action, Launch) or (job and not isinstance(action, Collect | Cancel))
            shown = shown or isinstance(action, Infer)
        if not shown:
            actions.append(Infer())
        motion = str(rng.choice(["", "dis", "dis-coarse", "still"])) if self.moves else ""
        return Decision(actions=tuple(actions), next_motion=motion)


def policies() -> st.SearchStrategy[Policy]:
    known = [
        Deadline(milliseconds=8.0),
        Deadline(milliseconds=30.0, max_age_ms=400.0),
        Deadline(milliseconds=3.0, cpu_share=0.4),
        Async(lag_frames=2),
        Regional(max_drift=0.002, max_age_frames=5),
        Fixed(period_frames=3, motion="still"),
        *(make() for name, make in POLICIES.items() if name != "deadline"),
    ]
    seeds, moves = st.integers(0, 10**6), st.booleans()
    free = st.builds(RandomPolicy, seed=seeds, moves=moves, max_age_ms=st.sampled_from([None, 100.0]))
    return st.one_of(st.sampled_from(known), free, free)


@quick
@given(policy=policies(), steps=steps_of(20), network_ms=st.sampled_from([2.0, 40.0, 300.0]), beside=st.booleans())
def test_every_map_tells_its_true_age_and_source(
    policy: Policy, steps: list[Step], network_ms: float, beside: bool
) -> None:
    video = Video(policy, make_profile(network_ms, spread=2.0, beside=beside))
    for step in steps:
        video(step)
    video.segmenter.close()
    assert not video.network.open


@quick
@given(
    policy=st.sampled_from([Async(), Deadline(milliseconds=8.0), Deadline(milliseconds=8.0, needs="")]),
    network_ms=st.sampled_from([20.0, 50.0, 150.0]),
    spread=st.sampled_from([1.0, 2.0]),
    beside=st.booleans(),
    shifts=st.lists(st.integers(2, 6), min_size=40, max_size=55),
)
def test_no_keyframe_starves(policy: Policy, network_ms: float, spread: float, beside: bool, shifts: list[int]) -> None:
    """A map is at most as old as two keyframes take: the one that is shown, and the one under way."""
    video = Video(policy, make_profile(network_ms, spread=spread, beside=beside))
    keyframe_frames = math.ceil(keyframe_ms(network_ms, spread) / 33) + 1
    bound = 2 * keyframe_frames + 1
    if isinstance(policy, Deadline):  # it begins with slices, until it knows that there is time between frames
        bound += policy.max_age_frames + SLICES
    ages = [video(Step(shift=shift)).age_frames for shift in shifts]
    assert max(ages) <= bound
    video.segmenter.close()


def keyframe_ms(network_ms: float, spread: float) -> float:
    """Longest time of a keyframe in the background beside frames that take a few milliseconds each."""
    return network_ms * spread * 1.3 * 33 / (33 - 4 * spread)


@quick
@given(
    policy=st.sampled_from([Async(), Async(lag_frames=2), Deadline(milliseconds=8.0), Fixed()]),
    stall_ms=st.one_of(st.floats(100.0, 3000.0), st.floats(3000.0, 100_000.0)),
    frames_before=st.integers(1, 12),
    counted=st.booleans(),
    beside=st.booleans(),
)
def test_a_stall_is_over_within_a_keyframe(
    policy: Policy, stall_ms: float, frames_before: int, counted: bool, beside: bool
) -> None:
    """Whether the camera counts the frames that were lost, or not."""
    video = Video(policy, make_profile(40.0, beside=beside))
    for _ in range(frames_before):
        video(Step())
    after_ms = 0.0
    limit_ms = 2 * keyframe_ms(40.0, 1.0) + 4 * 33
    for number in range(30):
        step = Step() if number else Step(gap_ms=stall_ms, seq=1 + counted * round(stall_ms / 33))
        result = video(step)
        after_ms += step.gap_ms if number else 0.0
        if stall_ms > MAX_AGE_MS or after_ms > limit_ms:
            assert result.map_age_ms <= max(limit_ms, MAX_AGE_FRAMES * 33)
    video.segmenter.close()


class Core:
    """What ran on the only core, in order: frames begin and end, parts of the background begin and end."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def part(self, outputs: dict) -> dict:
        self.log.append("s")
        time.sleep(0.004)
        self.log.append("e")
        return outputs


def test_a_frame_waits_for_one_slice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one core: no slice begins while a frame is answered but the one that had its turn when the frame came."""
    monkeypatch.setattr(assembly, "usable_cores", lambda: 1)
    network, core = Network(), Core()
    with open_numbered(network, Async()) as segmenter:
        segmenter(image_of(0))
        network.faults = {(f"slice {number}", "background"): core.part for number in range(SLICES)}
        for number in range(1, 50):
            core.log.append("(")
            result = segmenter(image_of(number, number))
            core.log.append(")")
            assert number - result.age_frames in np.unique(result.labels)
            time.sleep(0.003 * (number % 5))
    log = "".join(core.log)
    assert log.count("s") >= 4 * SLICES, "the background got its turns"
    for inside in log.split("(")[1:]:
        assert inside.split(")")[0].count("s") <= 1, log


def test_a_frame_that_waits_for_a_keyframe_lends_it_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would wait for the other: the keyframe for the end of the frame, the frame for the keyframe."""
    monkeypatch.setattr(assembly, "usable_cores", lambda: 1)
    monkeypatch.setattr(background_turns, "MAX_WAIT_S", 1000.0)
    done: list[Result] = []

    def run() -> None:
        with open_numbered(Network(), Async(lag_frames=1)) as segmenter:
            done.extend(segmenter(image_of(number, number)) for number in range(12))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert [result.age_frames for result in done] == [0, *[1] * 11]


@pytest.mark.parametrize("periods", [4, 11, 14, 30])
def test_however_slow_the_network_is_every_frame_of_a_live_camera_has_its_map_in_time(periods: int) -> None:
    video, answered, late = Video(Deadline(milliseconds=20.0), make_profile(33.0 * periods)), [], []
    seq = -1
    while seq < 60 + 6 * periods:
        seq = max(seq + 1, video.clock() // (33 * MS))  # the newest frame; those before it are dropped
        video.clock.advance_to(33 * MS * seq)
        frame = Frame(image=image_of(seq % CLASSES, 2 * seq), seq=seq, capture_ns=33 * MS * seq)
        result = video.segmenter(frame)
        if seq > 2 * periods:  # the first map is made in the frame
            answered.append(seq)
            late += [seq] * (result.latency_ms["total"] > 20.0 or result.decision.over_budget)
            assert result.age_frames <= 2.6 * periods
    video.segmenter.close()
    assert (late, np.diff(answered).max()) == ([], 1)


@pytest.mark.parametrize("name", list(POLICIES))
def test_memory_does_not_grow(name: str) -> None:
    policy = Deadline(milliseconds=8.0) if name == "deadline" else POLICIES[name]()
    video = Video(policy, make_profile(40.0))
    images = [image_of(number, 3 * number) for number in range(CLASSES)]

    def run(frames: range) -> int:
        for number in frames:
            video.clock.advance_to(33 * MS * number)
            image = images[number % CLASSES]
            video.segmenter(Frame(image=image, seq=number, capture_ns=33 * MS * number))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    run(range(40))
    tracemalloc.start()
    try:
        before = run(range(40, 140))
        after = run(range(140, 190))
    finally:
        tracemalloc.stop()
    video.segmenter.close()
    assert after - before < 20_000, "a carried field has 512 bytes, which is 25 kB in 50 frames; one map has 15 kB"
