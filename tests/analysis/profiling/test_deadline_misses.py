"""What made a frame late, and which late frames are kept."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.analysis.profiling.deadline_misses import (
    MAX_LATE_FRAMES,
    PLANNED,
    PREEMPTED,
    DeadlineMisses,
    LateFrame,
    miss_cause,
)

USUAL = {"preprocess": 2.0, "infer": 20.0, "fuse": 3.0}


@pytest.mark.parametrize(
    ("steps", "preemptions", "cause"),
    [
        pytest.param({"preprocess": 2.1, "infer": 30.0, "fuse": 3.0}, 0, "infer took longer than usual", id="slow"),
        pytest.param({"preprocess": 9.0, "infer": 22.0, "fuse": 3.0}, 0, "preprocess took longer than usual", id="two"),
        pytest.param({"infer": 40.0}, 1, "infer took longer than usual" + PREEMPTED, id="preempted"),
        pytest.param(
            {"preprocess": 2.0, "infer": 40.0, "tile": 0.1}, 0, "infer took longer than usual", id="one that is fast"
        ),
        pytest.param({"preprocess": 2.0, "infer": 20.0, "fuse": 3.0, "tile": 30.0}, 0, None, id="more than usual"),
        pytest.param({"preprocess": 5.0, "infer": 23.0, "fuse": 6.0, "labels": 3.0}, 9, PLANNED, id="a bit of each"),
        pytest.param({"preprocess": 2.0, "infer": 21.0, "fuse": 3.0}, 0, PLANNED, id="within a tenth of usual"),
        pytest.param({}, 3, PLANNED, id="no steps"),
    ],
)
def test_a_cause_is_the_step_that_explains_half_of_the_excess(steps: dict, preemptions: int, cause: str | None) -> None:
    """The limit is 25 ms, which the usual steps take exactly; labels usually take 1 ms, tiles 30 ms."""
    usual = USUAL | {"labels": 1.0, "tile": 30.0}
    assert miss_cause(steps, 25.0, usual.__getitem__, preemptions=preemptions) == (cause or PLANNED)


def test_half_of_the_excess_is_enough_and_less_is_not() -> None:
    """20 ms over the limit of 5 ms, which nothing usually takes."""
    exact, less = {"a": 10.0, "b": 8.0, "c": 7.0}, {"a": 9.0, "b": 8.0, "c": 8.0}
    assert miss_cause(exact, 5.0, lambda name: 0.0) == "a took longer than usual"
    assert miss_cause(less, 5.0, lambda name: 0.0) == PLANNED


def late(seq: int, total_ms: float, cause: str = PLANNED, at_s: float = 0.0) -> LateFrame:
    return LateFrame(seq=seq, at_s=at_s, total_ms=total_ms, cause=cause, decision="", steps_ms={})


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([40.0, 50.0, 50.5]) | st.floats(34, 99)), max_size=60))
def test_the_worst_are_kept_the_latest_first(frames: list[tuple[int, float]]) -> None:
    """A camera that was opened again may number its frames from 0 again, so even the number may be the same."""
    misses = DeadlineMisses()
    for at_s, (seq, total_ms) in enumerate(frames):
        misses.add(late(seq, total_ms, at_s=at_s))
    ranked = sorted(((total_ms, seq) for seq, total_ms in frames), reverse=True)
    assert [(frame.total_ms, frame.seq) for frame in misses.worst()] == ranked[:MAX_LATE_FRAMES]
    assert misses.count == len(frames)


def test_all_causes_are_counted_not_only_those_of_the_worst() -> None:
    misses, causes = DeadlineMisses(), ["infer took longer than usual"] * 30 + [PLANNED] * 3
    for number, cause in enumerate(causes):
        misses.add(late(number, 90.0 - number, cause))
    assert misses.causes == Counter(causes)
    assert {frame.cause for frame in misses.worst()} == {causes[0]}
