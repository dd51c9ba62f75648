"""The time left, with a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from edge_vseg.export import ExportOptions, TrainingLength
from edge_vseg.export.progress import plan_steps
from edge_vseg.export.time_left import PlannedStep, TimeLeft

PLAN = plan_steps("package.module:net", ExportOptions(size_hw=(360, 480), targets=("x86_64",)))


class Run:
    """Plays an export; ``seconds`` says what a step takes."""

    def __init__(self, plan: Sequence[PlannedStep], seconds: Callable[[PlannedStep], float]) -> None:
        self.now = 1000.0
        self.left = TimeLeft(plan, lambda: self.now)
        self.durations = [(step, seconds(step)) for step in plan]

    def play(self) -> list[tuple[float, float, float | None]]:
        """Share that is done, seconds that really remain, and what is said, four times in each step."""
        total = remaining = sum(duration for _, duration in self.durations)
        seen = []
        for step, duration in self.durations:
            if not duration:
                continue
            self.left.begin(step.line)
            for _ in range(4):
                seen.append((1 - remaining / total, remaining, self.left.seconds))
                self.now += duration / 4
                remaining -= duration / 4
        return seen


@pytest.mark.parametrize("factor", [0.3, 1.0, 7.0])
def test_a_machine_of_another_speed(factor: float) -> None:
    seen = Run(PLAN, lambda step: factor * step.seconds).play()
    assert all(left is not None for done, _, left in seen if done > 0.15)
    for _, remaining, left in seen:
        if left is not None:
            assert remaining - 1e-6 <= left <= remaining * 1.001 + 1e-6


def test_nothing_is_said_before_anything_is_known() -> None:
    run = Run(PLAN, lambda step: step.seconds)
    assert run.left.text == ""
    run.left.begin(PLAN[0].line)
    assert run.left.seconds is None
    assert run.left.text == ""


def test_a_slow_runtime_is_learnt() -> None:
    """Everything of TFLite takes four times as long as planned: that shows with its first step."""

    def seconds(step: PlannedStep) -> float:
        return step.seconds * (4 if "tflite" in step.line else 1)

    seen = Run(PLAN, seconds).play()
    late = [(remaining, left) for done, remaining, left in seen if done > 0.75 and left is not None]
    assert late
    for remaining, left in late:
        assert 0.6 * remaining <= left <= 1.6 * remaining + 5


def test_a_step_that_takes_too_long() -> None:
    """The time left never falls below the steps to come, and grows with what is overdue."""
    plan = [PlannedStep(line=name, phase=0, seconds=10.0) for name in "abcd"]
    run = Run(plan, lambda step: 10.0)
    said = []
    run.left.begin("a")
    run.now += 10
    run.left.begin("b")
    for _ in range(6):
        said.append(run.left.seconds)
        run.now += 10
    assert said[:2] == pytest.approx([30, 22.5])
    assert said == sorted(said[:2], reverse=True) + sorted(said[2:])
    assert all(each >= 20 for each in said), "c and d are still to come"


def test_steps_that_are_not_needed_are_not_waited_for() -> None:
    """Mixed precision ranks layers only where int8 alone does not do."""
    skipped = "finding the layers"
    seen = Run(PLAN, lambda step: 0.0 if step.line.startswith(skipped) else step.seconds).play()
    after = [(remaining, left) for done, remaining, left in seen if done > 0.8 and left is not None]
    assert after
    for remaining, left in after:
        assert left == pytest.approx(remaining, abs=1e-6)


def test_what_was_found_in_the_work_folder_tells_nothing() -> None:
    def seconds(step: PlannedStep) -> float:
        return 0.001 if step.line.startswith(("building", "checking")) else 2 * step.seconds

    seen = Run(PLAN, seconds).play()
    for done, remaining, left in seen:
        if left is not None and done > 0.6:
            assert left == pytest.approx(remaining, rel=0.01)


def test_lines_that_nobody_planned() -> None:
    run = Run(PLAN[:3], lambda step: step.seconds)
    for line in (PLAN[0].line, "a surprise", PLAN[1].line, "another"):
        run.left.begin(line)
        run.now += 20
    assert run.left.seconds is not None
    assert run.left.seconds > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "about 10 s left"), (41, "about 50 s left"), (91, "about 2 min left"), (600, "about 10 min left")],
)
def test_words(seconds: float, text: str) -> None:
    run = Run([PlannedStep(line=name, phase=0, seconds=seconds) for name in "ab"], lambda step: seconds)
    run.left.begin("a")
    run.now += seconds
    run.left.begin("b")
    assert run.left.text == text


def test_fine_tuning_counts_by_its_length() -> None:
    options = ExportOptions(size_hw=(360, 480), targets=("x86_64",), finetune=TrainingLength(seconds=600))
    plan = plan_steps("package.module:net", options)
    training = sum(step.seconds for step in plan if step.line == "fine-tuning:")
    assert training == pytest.approx(600, rel=0.06)
    larger = plan_steps("package.module:net", ExportOptions(size_hw=(360, 480)), macs=10**10)
    assert sum(step.seconds for step in larger) > 3 * sum(step.seconds for step in PLAN)
