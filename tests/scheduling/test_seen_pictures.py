"""A map is as old as the last picture that it was true of: rest ages nothing, and motion begins at once."""

from __future__ import annotations

import numpy as np
import pytest
from numbered_network import make_profile
from numbered_video import MS, Step, Video

from edge_vseg.decision import Infer
from edge_vseg.scheduling.policies import Adaptive, Deadline, Fixed, Policy, Regional, limits_of, renewal_ms
from edge_vseg.scheduling.state import EngineState, MotionStep, Origin, ShownMap, Track
from edge_vseg.types import Frame

HW = (4, 6)


def at(frame: int) -> Origin:
    return Origin(frame=frame, capture_ns=frame * 100 * MS)


def step(*, changed: bool) -> MotionStep:
    still = np.zeros((*HW, 2), np.float32)
    return MotionStep.of(still, still, np.zeros(HW, np.float32), still=True, changed=changed)


def test_a_map_is_of_the_picture_until_that_changes() -> None:
    track = Track.begin(at(0), HW)
    shown = ShownMap(track=track, origins=(at(0),), fused=np.ones((1, *HW), np.float32))
    state = EngineState(shown=shown)
    for number in range(1, 6):
        track.extend(step(changed=False), at(number))
    assert shown.still
    track.extend(step(changed=True), at(6))
    track.extend(step(changed=False), at(7))  # no way back
    assert shown.seen == at(5)
    state.forget_older(at(5).capture_ns)
    assert state.shown is shown
    assert (shown.ages(at(7), None, HW) == 7).all()
    assert (shown.unseen_frames(at(7), track.seen, None, HW) == 2).all()
    assert (shown.scene_ages_ms(at(7), None, HW) == 200).all()
    state.forget_older(at(5).capture_ns + 1)
    assert state.shown is None


def test_tiles_leave_the_rest_as_it_was_seen() -> None:
    """Cells of frame 0 were seen in frame 5, those of frame 6 are the present picture's."""
    track = Track.begin(at(6), HW)
    cells = np.zeros(HW, np.uint8)
    cells[:, 3:] = 1
    shown = ShownMap(
        track=track, origins=(at(0), at(6)), cells=cells, fused=np.ones((1, *HW), np.float32), moved=True,
        last_seen={at(0): at(5)},
    )  # fmt: skip
    track.extend(step(changed=False), at(7))
    assert shown.seen == at(5)
    assert shown.unseen_frames(at(7), track.seen, None, HW)[0].tolist() == [2, 2, 2, 0, 0, 0]
    assert shown.ages(at(7), None, HW)[0].tolist() == [7, 7, 7, 1, 1, 1]


def same(video: Video, number: int) -> Frame:
    """The last picture again, so far on."""
    frame = video.frames[-1]
    return Frame(image=frame.image, seq=frame.seq + number, capture_ns=frame.capture_ns + number * 33 * MS)


@pytest.mark.parametrize(
    "policy",
    [
        Fixed(period_frames=1000),
        Adaptive(max_drift=1.0, max_age_frames=1000),
        Deadline(milliseconds=10.0, max_age_frames=1000, min_drift=0.9),
        Regional(max_drift=0.9, max_age_frames=1000),
    ],
    ids=lambda policy: policy.name,
)
def test_motion_after_a_long_rest_costs_no_inference(policy: Policy) -> None:
    """Five seconds of one picture are more than maps may be old; what begins to move was true a frame ago."""
    video = Video(policy, make_profile(100.0))
    for _ in range(3):
        video(Step(shift=0))
    last = video.frames[-1]
    for number in range(1, 151):
        result = video.segmenter(same(video, number))
    assert result.still
    assert result.labels_ns == result.capture_ns
    sure = float(result.uncertainty.max())
    assert sure < 0.1
    seen_ns = result.capture_ns
    for number in range(151, 156):
        image = np.roll(last.image, number - 150, axis=1)
        image[..., 0] = last.image[..., 0]
        result = video.segmenter(
            Frame(image=image, seq=last.seq + number, capture_ns=last.capture_ns + number * 33 * MS)
        )
        assert not any(isinstance(action, Infer) for action in result.decision.actions), result.decision
        assert not result.over_budget
        assert result.source != "inferred"
        if policy.name != "deadline":  # whose background makes new maps
            assert result.labels_ns == seen_ns
        assert float(result.uncertainty.max()) < 0.5


def test_a_slow_video_leaves_regional_its_own_renewal() -> None:
    """At ten frames a second thirty frames are three seconds, and the limit of two would renew the whole map."""
    policy = Regional(max_drift=0.9, max_age_frames=30)
    assert renewal_ms(policy, 100.0) == 3000.0
    assert renewal_ms(Adaptive(), 100.0) == 0.0
    assert limits_of(policy).oldest_ms(0.0, renewal_ms(policy, 100.0)) == 4500.0
    assert Deadline(milliseconds=9.0, max_age_ms=700.0).limits.oldest_ms(0.0, 3000.0) == 700.0
    video = Video(policy, make_profile(20.0))
    results = [video(Step(gap_ms=100.0)) for _ in range(50)]
    inferred = [number for number, result in enumerate(results) if result.source == "inferred"]
    assert inferred[0] == 0
    assert 21 not in inferred
    assert all(result.decision.reason != "first frame" for result in results[1:])
