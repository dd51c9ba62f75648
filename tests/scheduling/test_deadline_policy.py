"""The policy deadline: what it takes, and in which order it does without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_vseg.decision import Advance, Cancel, InferTiles, Launch, Propagate, Work
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.scheduling.situation import Aging, Costs, MotionStatistics, Situation

COSTS = Costs(
    infer_ms=10.0,
    slices_ms=(1.5,) * 8,
    fixed_ms=1.5,
    propagate_ms=0.3,
    fuse_ms=0.5,
    carry_ms=0.2,
)


def test_deadline_does_not_speak_of_slices_where_there_are_none() -> None:
    price = replace(COSTS, infer_ms=90.0, slices_ms=(50.0, 50.0))
    now = Situation(frame_index=8, age_frames=2, slice_count=2)
    assert Deadline(milliseconds=20).decide(now, price).reason == "no part fits"
    now, price = replace(now, slice_count=0), replace(price, slices_ms=())
    assert Deadline(milliseconds=20).decide(now, price).reason == "no slices"


def test_deadline_takes_coarser_motion_before_none() -> None:
    motions = {"dis-half": 9.0, "dis-fine": 2.0, "dis": 1.5, "dis-coarse": 1.0, "still": 0.1}
    price = replace(COSTS, fixed_ms=3.0, motion_ms=2.0, motions_ms=motions)
    now = Situation(frame_index=8, age_frames=2, slice_count=8)
    seen = [Deadline(milliseconds=ms).decide(now, price).next_motion for ms in (6.4, 5.9, 5.4, 4.0, 2.4, 1.0)]
    assert seen == ["dis-fine", "dis", "dis-coarse", "dis-coarse", "dis-coarse", "still"]
    now, price = replace(now, slice_count=0), replace(price, slices_ms=())
    whole = [Deadline(milliseconds=ms).decide(now, price).next_motion for ms in (3.4, 2.9, 1.0)]
    assert whole == ["dis-fine", "dis", "still"]


@pytest.mark.parametrize(
    ("motion", "expected"),
    [("still", ["still", "still", "still"]), ("dis-coarse", ["dis-coarse", "dis-coarse", "still"])],
)
def test_deadline_never_takes_finer_motion_than_its_own(motion: str, expected: list[str]) -> None:
    motions = {"dis-fine": 2.0, "dis": 1.5, "dis-coarse": 1.0, "still": 0.1}
    price = replace(COSTS, fixed_ms=1.0, motion_ms=0.0, motions_ms=motions)
    now = Situation(frame_index=8, age_frames=2, slice_count=8)
    seen = [Deadline(milliseconds=ms, motion=motion).decide(now, price).next_motion for ms in (9.0, 2.5, 1.5)]
    assert seen == expected


def test_deadline_gives_up_a_keyframe_for_another_picture_but_not_for_ever() -> None:
    """Where every picture is another, as under a strobe, no keyframe would ever be done."""
    changed = MotionStatistics(speed=0.0, spread=0.0, unexplained=0.3, changed=0.3)
    costs, policy = replace(COSTS, background_ms=100.0), Deadline(milliseconds=10.0)
    busy = Situation(
        frame_index=9, age_frames=3, age_ms=99.0, drift=0.2, motion=changed, background=True, idle_share=0.8,
        period_ms=33.0, background_work=Work.KEYFRAME, slice_count=8,
    )  # fmt: skip
    young = policy.decide(replace(busy, scene_age_ms=150.0), costs)
    assert {type(action) for action in young.actions} >= {Cancel, Launch}
    old = policy.decide(replace(busy, scene_age_ms=250.0), costs)
    assert not {type(action) for action in old.actions} & {Cancel, Launch}


def test_deadline_renews_what_is_too_old_in_the_background() -> None:
    """A slice that takes a frame period leaves no time between frames, and so the background was never used again."""
    price = replace(COSTS, infer_ms=400.0, slices_ms=(40.0,) * 10)
    now = Situation(
        frame_index=90, age_frames=13, drift=0.1, period_ms=33.0, slice_count=10, background=True, idle_share=0.0
    )
    decision = Deadline(milliseconds=20).decide(now, price)
    assert (decision.actions, decision.over_budget) == ((Launch(Work.KEYFRAME), Propagate()), False)
    resting = Deadline(milliseconds=20).decide(replace(now, background_rests=True), price)
    assert (resting.actions, resting.over_budget) == ((Propagate(),), False)
    alone = Deadline(milliseconds=20).decide(replace(now, background=False), price)
    assert (alone.actions, alone.over_budget) == ((Advance(1), Propagate()), True)


def test_deadline_prefers_few_tiles_that_hold_the_drift() -> None:
    price = replace(COSTS, tile_ms=2.0)
    now = Situation(
        frame_index=8,
        age_frames=2,
        slice_count=8,
        drift_rate=0.02,
        tile_drift=(0, 0, 0.2, 0, 0, 0.1),
        tile_age_frames=(2,) * 6,
        context_slices=(2, 6),
        context_age_frames=3,
    )
    decision = Deadline(milliseconds=8).decide(now, price)
    assert decision.actions == (InferTiles((2, 5)),) or set(decision.actions[0].tiles) >= {2, 5}
    # Tiles that lack what surrounds them are worse than a map that is a little old.
    spread = replace(now, tile_drift=(0.1,) * 6, aging=Aging(tile_error=0.06))
    assert not isinstance(Deadline(milliseconds=8).decide(spread, price).actions[0], InferTiles)
