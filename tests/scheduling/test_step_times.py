"""The time spent on each step of a frame, and the short name of its decision."""

from __future__ import annotations

import pytest

from edge_vseg.decision import (
    Advance,
    Cancel,
    Collect,
    Decision,
    Detail,
    Infer,
    InferTiles,
    Lane,
    Launch,
    Propagate,
    Refresh,
    Work,
)
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.steps import Step, StepKind


def test_spent_time_is_summed_by_step_of_a_frame() -> None:
    meter = CostMeter(2)
    for step, milliseconds in ((steps.TILE, 3), (steps.LABELS, 1), (steps.TILE, 4)):
        meter.add(step, milliseconds * 1_000_000)
    assert meter.end_frame(9.0) == {"tile": 7, "labels": 1}
    meter.begin_frame()
    assert meter.end_frame(0.0) == {}
    assert meter.samples_ms()[steps.TILE] == [4], "the samples stay; the first only until the second"


def test_spent_times_of_a_frame_do_not_change() -> None:
    meter = CostMeter(0)
    meter.add(steps.LABELS, 1_000_000)
    spent = meter.end_frame(1.0)
    meter.begin_frame()
    meter.add(steps.LABELS, 5_000_000)
    assert (spent, meter.end_frame(5.0)) == ({"labels": 1}, {"labels": 5})


@pytest.mark.parametrize(
    ("step", "kind", "detail"),
    [
        (steps.INFER, StepKind.INFER, ""),
        (steps.slice_step(3), StepKind.SLICE, "3"),
        (steps.motion_step("dis-fine"), StepKind.MOTION, "dis-fine"),
    ],
)
def test_steps_know_their_kind(step: Step, kind: StepKind, detail: str) -> None:
    assert (step.kind, step.detail) == (kind, detail)
    again = Step.named(str(step))
    assert (again, again.kind, again.detail) == (step, kind, detail)
    with pytest.raises(ValueError, match="nonsense"):
        Step.named("nonsense 3")


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((Infer(),), "infer"),
        ((Advance(2), Propagate()), "advance, propagate"),
        ((Advance(), Propagate()), "advance, propagate"),
        ((Refresh(3), Detail()), "refresh, detail"),
        ((InferTiles((4,)),), "infer tiles"),
        ((InferTiles((1, 2, 11)),), "infer tiles"),
        ((Collect(), Launch()), "collect, launch"),
        ((Propagate(), Propagate()), "propagate"),
        ((Cancel(), Launch(Work.CONTEXT)), "cancel, launch"),
    ],
)
def test_decisions_of_one_kind_have_one_name(actions: tuple, words: str) -> None:
    """Whatever the number of slices or tiles and the reason, so that a long run has few kinds."""
    assert Decision(actions=actions, reason="slice 4 of 8: drift, 2 tiles").summary == words


def test_actions_say_their_lane() -> None:
    assert {action.lane for action in (Infer(), Advance(), Refresh(), Detail(), Propagate())} == {Lane.FRAME}
    assert {action.lane for action in (Launch(), Collect(), Cancel())} == {Lane.BACKGROUND}
