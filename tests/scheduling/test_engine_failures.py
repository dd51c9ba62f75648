"""What a failure leaves behind: nothing that is shown later, and ages that stay true."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numbered_network import Network, image_of, make_profile
from numbered_video import MS, Step, Video

from edge_vseg.errors import SessionError
from edge_vseg.scheduling.policies import POLICIES, Async, Clockwork, Deadline, Feature, Fixed, Policy, Regional, Sliced
from edge_vseg.scheduling.shown_labels import LabelWarper
from edge_vseg.scheduling.state import ShownMap, Track
from edge_vseg.types import Frame, Tensor


class Once:
    """A fault on the n-th run of a graph, and no other."""

    def __init__(self, run: int, fault: Callable[[dict[str, Tensor]], object]) -> None:
        self.run, self.fault, self.runs = run, fault, 0

    def __call__(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.runs += 1
        if self.runs == self.run:
            self.fault(outputs)
        return outputs


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def spoil(value: float) -> Callable[[dict[str, Tensor]], None]:
    def fault(outputs: dict[str, Tensor]) -> None:
        for tensor in outputs.values():
            tensor.reshape(-1)[5] = value

    return fault


# Scores are warped bilinearly and the frames of cells by the nearest: where tiles of three frames meet, the oldest may
# win a cell that counts as younger, and the map says it is a frame younger than that cell.
NAMES = list(POLICIES)


WHERE = [
    pytest.param(Fixed(period_frames=2), "infer", id="frame lane"),
    pytest.param(Async(), "infer", id="background"),
    pytest.param(Sliced(), "slice 0", id="first slice"),
    pytest.param(Sliced(), "slice 3", id="last slice"),
    pytest.param(Feature(), "slice 2", id="context"),
    pytest.param(Regional(max_drift=0.002, max_age_frames=3), "tile", id="tile"),
]


def answers_with(video: Video, error: type[BaseException], count: int = 24) -> list[int]:
    """Give frames, check every answer; returns the numbers of the frames that raised."""
    raised = []
    for number in range(count):
        try:
            video(Step(shift=3))
        except error:
            raised.append(number)
    return raised


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("policy", "graph"), WHERE)
def test_a_value_that_is_not_finite_is_refused_once_and_never_remembered(
    policy: Policy, graph: str, value: float
) -> None:
    network = Network()
    video = Video(policy, make_profile(40.0), network)
    fault = network.faults[graph, "frame"] = Once(3, spoil(value))
    raised = answers_with(video, SessionError)
    assert fault.runs > fault.run
    assert len(raised) == 1, raised


@pytest.mark.parametrize(("policy", "graph"), [each for each in WHERE if each.id != "background"])
def test_an_interrupt_inside_the_network_leaves_true_ages(policy: Policy, graph: str) -> None:
    network = Network()
    video = Video(policy, make_profile(40.0), network)
    network.faults[graph, "frame"] = Once(3, interrupt)
    assert len(answers_with(video, KeyboardInterrupt)) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["motion", "warp", "new labels"])
def test_an_interrupt_elsewhere_leaves_true_ages(name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Deadline(milliseconds=8.0) if name == "deadline" else POLICIES[name]()
    video, calls = Video(policy, make_profile(40.0)), []
    owner, method = {
        "motion": (type(video.engine._parts.observer), "_estimator"),
        "warp": (LabelWarper, "__call__"),
        "new labels": (type(video.engine._parts.labels._maker), "_new_label_map"),
    }[place]
    original = getattr(owner, method)

    def sometimes(*given: object) -> object:
        calls.append(1)
        if len(calls) in (3, 8):
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(owner, method, sometimes)
    assert len(answers_with(video, KeyboardInterrupt)) == sum(len(calls) >= number for number in (3, 8))


def test_a_motion_that_failed_is_made_up_for_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tracks as where the camera dropped that frame."""
    fields = []
    for fails in (True, False):
        video = Video(Fixed(period_frames=99), make_profile(40.0))
        for number in range(6):
            frame = Frame(image=image_of(number, 2 * number), seq=number, capture_ns=33 * MS * number)
            if number != 3:
                video.segmenter(frame)
            elif fails:
                with (
                    monkeypatch.context() as patch,
                    pytest.raises(SessionError, match="motion of frame 3 cannot be estimated"),
                ):
                    patch.setattr("edge_vseg.scheduling.observation.resize_field", _fail)
                    video.segmenter(frame)
        assert video.state.shown is not None
        fields.append(video.state.shown.track.motion)
        assert video.state.age_frames(video.state.shown.oldest) == 5
    np.testing.assert_array_equal(*fields)


def _fail(*_: object) -> None:
    raise cv2.error("out of memory")


@pytest.mark.parametrize("name", NAMES)
def test_what_the_caller_overwrites_is_never_seen(name: str) -> None:
    policy = Deadline(milliseconds=8.0) if name == "deadline" else POLICIES[name]()
    video = Video(policy, make_profile(40.0))
    for _ in range(24):
        result = video(Step(shift=3))
        result.labels[:] = 59
        video.frames[-1].image[:] = 59
        video._last = None  # its labels are gone


@pytest.mark.parametrize("name", list(POLICIES))
def test_what_is_read_late_is_that_of_its_own_frame(name: str) -> None:
    policy = Deadline(milliseconds=8.0) if name == "deadline" else POLICIES[name]()
    at_once, late = [], []
    for kept in (at_once, late):
        video = Video(policy, make_profile(40.0))
        for number in range(58):
            video.clock.advance_to(33 * MS * number)
            frame = Frame(image=image_of(number, 2 * number), seq=number, capture_ns=33 * MS * number)
            result = video.segmenter(frame)
            kept.append(_read(result) if kept is at_once else result)
    for number in range(8):
        for ours, theirs in zip(_read(late[number]), at_once[number], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _read(result) -> list[np.ndarray]:
    return [result.probabilities.copy(), result.age_map.copy(), result.age_ms_map.copy(), result.uncertainty.copy()]


def test_ages_count_frames_of_the_video_and_not_calls() -> None:
    video = Video(Fixed(period_frames=99), make_profile(40.0))
    assert [video(Step(seq=seq, gap_ms=40.0)).age_frames for seq in (1, 1, 4, 1, 14)] == [0, 1, 5, 6, 20]


@pytest.mark.parametrize("name", ["fixed", "adaptive", "async", "deadline"])
def test_networks_that_give_label_maps_have_true_ages(name: str) -> None:
    policy = Deadline(milliseconds=8.0, needs="") if name == "deadline" else POLICIES[name]()
    video = Video(policy, make_profile(40.0), Network("labels"))
    ages = [video(Step(shift=3)).age_frames for _ in range(40)]
    assert max(ages) > 0
    assert ages.count(0) < 40


@pytest.mark.parametrize(
    ("policy", "graph"),
    [(Sliced(), "slice 2"), (Clockwork(), "slice 1")],
    ids=["sliced", "clockwork"],
)
def test_a_picture_that_a_slice_cannot_take_is_given_up(policy: Policy, graph: str) -> None:
    """The fault is the picture's: on the same tensors it would come again and again."""
    network, bad = Network(), {7, 8}

    def fault(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        for tensor in outputs.values():
            if set(np.unique(tensor[np.isfinite(tensor)]).astype(int)) & bad:
                spoil(np.nan)(outputs)
        return outputs

    network.faults[graph, "frame"] = fault
    video, raised = Video(policy, make_profile(40.0), network), []
    for number in range(30):
        try:
            video(Step(shift=3))
        except SessionError:
            raised.append(number)
    assert raised, "nothing failed, so nothing is shown"
    assert len(raised) <= 2 * len(bad), raised
    assert max(raised) < 20, raised


def test_a_keyframe_older_than_the_map_is_not_finished() -> None:
    video = Video(Sliced(period_frames=4), make_profile(40.0))
    while video.state.keyframe is None:
        video(Step())
    video(Step())
    state = video.state
    assert state.keyframe is not None
    assert state.now is not None
    newer = ShownMap(track=Track.begin(state.now, video.observer.statistics_hw), origins=(state.now,))
    assert video.engine._parts.frame_lane._supersede(state, newer)
    assert state.shown is newer
    assert state.keyframe is None
