"""What is counted of results, made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge_vseg.analysis.profiling.deadline_misses import BESIDE_BACKGROUND, PLANNED, PREEMPTED, TOO_SMALL
from edge_vseg.analysis.profiling.recorder import BATCH_FRAMES, LAST_FRAMES, Recorder
from edge_vseg.decision import Advance, Decision, Infer, InferTiles, Propagate
from edge_vseg.types import INFERRED, BackgroundSpan, Result

IMAGE = np.zeros((4, 6, 3), np.uint8)
USUAL = {"preprocess": 2.0, "infer": 20.0, "labels": 3.0}


def result(seq: int = 0, decision: Decision = INFERRED, total: float | None = None, **more: object) -> Result:
    """Of a frame that takes what is usual, but for the steps that are given; captured 40 ms before it is done."""
    steps = {name: float(ms) for name, ms in (USUAL | more.pop("steps", {})).items()}
    latency = {**steps, "total": sum(steps.values()) if total is None else total}
    return Result(
        labels=IMAGE[..., 0], seq=seq, capture_ns=0, done_ns=40_000_000, latency_ms=latency,
        decision=decision, **more,
    )  # fmt: skip


def recorded(results: Sequence[Result], limit_ms: float | None = None, rate: float = 10.0) -> Recorder:
    recorder = Recorder(limit_ms, seconds=len(results) / rate)
    for number, each in enumerate(results):
        recorder.add(IMAGE, each, number / rate)
    recorder.flush()
    return recorder


def cause(found: Recorder) -> str:
    """The one cause; a loaded machine may have set this thread aside as well."""
    ((only, count),) = found.misses.causes.items()
    assert count == found.misses.count == 1
    return only.removesuffix(PREEMPTED)


def test_jitter_is_the_absolute_change_between_frames() -> None:
    found = recorded([result(seq, total=total) for seq, total in enumerate((5.0, 30.0, 50.0, 40.0, 40.0))])
    assert found.change.percentiles().mean == pytest.approx((25 + 20 + 10 + 0) / 4)
    assert found.change.quantile(1) == 25


def test_gaps_in_sequence_numbers_are_dropped_frames() -> None:
    found = recorded([result(seq) for seq in (7, 8, 11, 12, 20)])
    assert (found.frames, found.dropped) == (5, 2 + 7)
    assert [each.dropped for each in found.seconds] == [9]


def test_frames_over_the_limit_are_misses_and_one_at_the_limit_is_none() -> None:
    usual = [result(seq) for seq in range(6)]
    found = recorded(
        [
            *usual,
            result(6, total=30.0),
            result(7, Decision(actions=(Infer(),), reason="keyframe"), steps={"infer": 51.0}),
        ],
        limit_ms=30,
    )
    assert cause(found) == "infer took longer than usual"
    (late,) = found.misses.worst()
    assert (late.seq, late.total_ms, late.at_s, late.decision) == (7, 56, 0.7, "infer: keyframe")
    assert late.steps_ms == {"preprocess": 2, "infer": 51, "labels": 3}
    assert [(each.missed, each.latency_ms.count) for each in found.seconds] == [(1, 8)]


def test_the_usual_time_is_the_median_of_previous_frames() -> None:
    """One slow frame among quick ones, and a step of which nobody knows what is usual."""
    slow = result(5, steps={"labels": 40.0})
    assert cause(recorded([result(seq) for seq in range(5)] + [slow], limit_ms=30)) == "labels took longer than usual"
    new = result(5, steps={"tile": 40.0})
    assert cause(recorded([result(seq) for seq in range(5)] + [new], limit_ms=30)).startswith("tile, whose usual")


def test_a_frame_planned_over_the_deadline_is_blamed_on_no_step() -> None:
    usual = [result(seq) for seq in range(5)]
    late = result(5, Decision(actions=(Advance(1), Propagate()), over_budget=True), steps={"infer": 40.0})
    assert cause(recorded([*usual, late], limit_ms=30)) == TOO_SMALL


def test_the_first_frame_has_no_usual_time() -> None:
    assert cause(recorded([result(0)], limit_ms=20)) == "infer, whose usual time was not known yet"


def test_a_wait_outside_the_steps_is_not_blamed_on_one() -> None:
    """Steps as usual, one a hair slower, and 35 ms in which a worker was waited for."""
    waited = result(5, total=60.0, steps={"preprocess": 2.3})
    assert (
        cause(recorded([result(seq) for seq in range(5)] + [waited], limit_ms=30)) == "waiting took longer than usual"
    )


MS = 1_000_000


@pytest.mark.parametrize("frames_before", [3, BATCH_FRAMES - 1, BATCH_FRAMES, BATCH_FRAMES + 1])
@pytest.mark.parametrize(
    ("own", "next_one", "beside"),
    [
        pytest.param((-100, 40), (50, 60), True, id="told with the frame"),
        pytest.param((-200, -100), (10, 60), True, id="told by the next"),
        pytest.param((-200, -15), (41, 60), False, id="not beside it"),
        pytest.param((-100, 5), (41, 60), False, id="for a little of it"),
    ],
)
def test_the_background_beside_a_late_frame_is_named(
    frames_before: int, own: tuple[int, int], next_one: tuple[int, int], beside: bool
) -> None:
    """A part that still runs when the frame is answered is told by the next result. Late: -17 to 40 ms."""

    def span(times: tuple[int, int]) -> tuple[BackgroundSpan, ...]:
        return (BackgroundSpan(step="infer", start_ns=times[0] * MS, end_ns=times[1] * MS),)

    late = result(frames_before, steps={"infer": 52.0}, background=span(own))
    after = result(frames_before + 1, background=span(next_one))
    found = recorded([*(result(seq) for seq in range(frames_before)), late, after], limit_ms=30)
    assert cause(found) == "infer took longer than usual" + (BESIDE_BACKGROUND if beside else "")


def test_a_limit_below_what_is_usual_is_planned() -> None:
    found = recorded([result(seq) for seq in range(9)], limit_ms=10)
    assert found.misses.count == 9
    assert sum(count for each, count in found.misses.causes.items() if each.startswith(PLANNED)) == 8


def test_without_a_limit_nothing_is_missed() -> None:
    assert recorded([result(0), result(1, total=1e4)]).misses.count == 0


def test_steps_count_the_frames_that_have_them() -> None:
    found = recorded([result(0), result(1), result(2, steps={"tile": 5.0}), result(3, steps={"tile": 7.0})])
    assert {name: each.count for name, each in found.steps.items()} == {
        "preprocess": 4, "infer": 4, "labels": 4, "tile": 2,
    }  # fmt: skip


def test_what_was_done_and_how_old_maps_are() -> None:
    made = [
        result(0, source="inferred"),
        result(1, Decision(actions=(Advance(2), Propagate())), source="propagated", age_frames=3),
        result(2, Decision(actions=(InferTiles((1, 2, 5, 9)),)), source="partial", age_frames=2),
    ]
    found = recorded(made)
    assert found.sources == {"inferred": 1, "propagated": 1, "partial": 1}
    assert found.oldest_frames == 3
    assert [each.decisions for each in found.seconds] == [{"infer": 1, "advance, propagate": 1, "infer tiles": 1}]


def test_example_frames_are_spread_over_the_run() -> None:
    found = recorded([result(seq) for seq in range(100)])
    assert [example.when for example in found.examples] == [f"{at:.1f} s" for at in (1, 3, 5, 7, 9)]
    assert [example.result.seq for example in found.examples] == [10, 30, 50, 70, 90]


def test_an_example_frame_is_a_copy() -> None:
    recorder, image = Recorder(None, seconds=1.0, examples=1), IMAGE.copy()
    recorder.add(image, result(), 0.6)
    image[:] = 9
    assert not recorder.examples[0].image.any()


def test_an_example_frame_is_downscaled() -> None:
    image = np.zeros((1080, 1920, 3), np.uint8)
    labels = np.repeat(np.arange(2, dtype=np.uint8), 960)[None].repeat(1080, 0)
    recorder = Recorder(None, seconds=1.0, examples=1)
    recorder.add(image, replace(result(), labels=labels), 0.6)
    (example,) = recorder.examples
    assert example.image.shape == (236, 420, 3)
    assert example.result.labels.shape == (236, 420)
    assert example.result.labels.base is None or example.result.labels.base.nbytes < 420 * 420
    assert example.result.labels.mean() == 0.5


def test_a_run_longer_than_announced_takes_no_more_memory() -> None:
    recorder = Recorder(10.0, seconds=1.0)
    for number in range(5 * LAST_FRAMES):
        recorder.add(IMAGE, result(number), number * 60.0)
    recorder.flush()
    assert len(recorder.examples) == 5
    assert len(recorder.last) == LAST_FRAMES
    assert len(list(recorder.seconds)) <= 120
    assert len(list(recorder.minutes)) <= 120
    assert sum(each.latency_ms.count for each in recorder.minutes if each.latency_ms) == recorder.frames
    assert recorder.overhead_ms > 0
    assert math.isfinite(recorder.overhead_ms)


def test_what_is_counted_together_is_all_counted_in_the_end() -> None:
    recorder = Recorder(26.0, seconds=10.0)
    for seq in range(BATCH_FRAMES + 3):
        recorder.add(IMAGE, result(seq, steps={"infer": 22.0 if seq == BATCH_FRAMES + 1 else 20.0}), seq / 10)
    assert (recorder.frames, recorder.latency.count, recorder.misses.count) == (BATCH_FRAMES + 3, BATCH_FRAMES, 0)
    recorder.flush()
    recorder.flush()
    assert (recorder.latency.count, recorder.change.count, recorder.misses.count) == (
        BATCH_FRAMES + 3,
        BATCH_FRAMES + 2,
        1,
    )
