"""How long a training will take, from a few of its own steps."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import torch

from edge_vseg.export.reference.training.batches import batches
from edge_vseg.export.reference.training.checkpoint import RunState
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import (
    check_run,
    class_weights,
    computing_on,
    new_state,
    to_device,
    train_step,
)
from edge_vseg.export.reference.training.teachers import Teacher
from edge_vseg.export.reference.training.training_data import TrainingData, class_statistics
from edge_vseg.export.reference.training.validation import evaluate_network

WARM_STEPS, TIMED_STEPS = 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a run will take on this machine.

    Attributes:
        frames: Training frames.
        steps: Steps in all.
        step_s: Seconds of a step with its batch, measured.
        evaluation_s: Seconds of an evaluation, of which there is one every ``evaluate_every`` epochs.
        evaluations: How many.
    """

    frames: int
    steps: int
    step_s: float
    evaluation_s: float
    evaluations: int

    @property
    def total_s(self) -> float:
        """Seconds in all, without reading the data."""
        return self.steps * self.step_s + self.evaluations * self.evaluation_s

    def __str__(self) -> str:
        hours, seconds = divmod(self.total_s, 3600)
        return (
            f"{self.frames} frames, {self.steps} steps of {self.step_s:.2f} s and {self.evaluations} evaluations of"
            f" {self.evaluation_s:.0f} s: about {hours:.0f} h {seconds / 60:.0f} min on this machine"
        )


def plan_training(
    config: TrainConfig, data: TrainingData, *, device: str = "cpu", teacher: Teacher | None = None
) -> TrainingPlan:
    """Run a few steps, and leave nothing behind.

    Args:
        config: Training options.
        data: Frames.
        device: Torch device.
        teacher: A trained network to distil from.
    """
    check_run(config, data, teacher)
    with computing_on(device):
        if teacher is not None:
            teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        state = new_state(config, device, None, data.labels)
        step_s = _seconds_of_a_step(state, config, data, device, teacher)
        some = data.val[:2]
        begin_s = time.perf_counter()
        evaluate_network(state.average.network.network, some, len(data.labels))
        one_s = (time.perf_counter() - begin_s) / max(1, len(some))
    return TrainingPlan(
        frames=len(data.train),
        steps=config.epochs * -(-len(data.train) // config.batch),
        step_s=step_s,
        evaluation_s=one_s * len(data.val),
        evaluations=-(-config.epochs // config.evaluate_every) if data.val else 0,
    )


def _seconds_of_a_step(
    state: RunState, config: TrainConfig, data: TrainingData, device: str, teacher: Teacher | None
) -> float:
    """Mean time from one batch to the next, which are made meanwhile: the slower of the two decides, as in a run."""
    statistics = class_statistics(data.train, len(data.labels))
    weights = class_weights(config, statistics, device)
    # The timed batches have a source of their own: during the first step, which is slow, they would be made ahead.
    for first, steps in ((0, WARM_STEPS), (WARM_STEPS, TIMED_STEPS)):
        with contextlib.closing(batches(config, data, first, first + steps + 1, statistics)) as made:
            batch = next(made)
            begin_s = time.perf_counter()
            for _ in range(steps):
                # It gives its losses as numbers, and so waits for the device.
                train_step(state, to_device(batch, device), config, config.learning_rate, weights, teacher)
                batch = next(made)
            took_s = time.perf_counter() - begin_s
    return took_s / TIMED_STEPS
