"""The time spent on each step of a frame, and the short name of its decision."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.scheduling.actions import (
    Advance,
    Collect,
    Decision,
    Detail,
    Infer,
    InferTiles,
    Launch,
    Propagate,
    Refresh,
)
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.types import Result, describe_decision


def test_spent_time_is_summed_by_step_until_popped() -> None:
    meter = CostMeter(2)
    assert meter.pop_spent_ms() == {}
    for name, milliseconds in (("tile", 3), ("labels", 1), ("tile", 4)):
        meter.add(name, milliseconds * 1_000_000)
    assert meter.pop_spent_ms() == {"tile": 7, "labels": 1}
    assert meter.pop_spent_ms() == {}
    assert meter.samples_ms()["tile"] == [4], "the samples stay; the first only until the second"


def test_popped_times_do_not_change() -> None:
    meter = CostMeter(0)
    meter.add("labels", 1_000_000)
    spent = meter.pop_spent_ms()
    meter.add("labels", 5_000_000)
    assert (spent, meter.pop_spent_ms()) == ({"labels": 1}, {"labels": 5})


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((Infer(),), "infer"),
        ((Advance(2), Propagate()), "advance, propagate"),
        ((Advance(), Propagate()), "advance, propagate"),
        ((Refresh(3), Detail()), "refresh, detail"),
        ((InferTiles((4,)),), "infer tile"),
        ((InferTiles((1, 2, 11)),), "infer tile"),
        ((Collect(), Launch()), "collect, launch"),
        ((Propagate(), Propagate()), "propagate"),
    ],
)
def test_decisions_of_one_kind_have_one_name(actions: tuple, words: str) -> None:
    """Whatever the number of slices or tiles and the reason, so that a long run has few kinds."""
    decision = str(Decision(actions=actions, reason="slice 4 of 8: drift, 2 tiles"))
    assert describe_decision(made(decision)) == words


def test_without_a_policy_the_name_is_the_source_of_the_labels() -> None:
    assert describe_decision(made("")) == "inferred"


def made(decision: str) -> Result:
    return Result(labels=np.zeros((1, 1), np.uint8), seq=0, capture_ns=0, done_ns=0, decision=decision)
