"""How long a training will take, from a few of its own steps."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from edge_vseg.export.reference.training.batches import make_batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.loop import check_run, class_weights, new_state, to_device, train_step
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
        step_s: Seconds of a step, measured.
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
    if teacher is not None:
        teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    statistics = class_statistics(data.train, len(data.labels))
    state, weights = new_state(config, device, None, data.labels), class_weights(config, statistics, device)
    times_s = []
    with ThreadPoolExecutor(2) as pool:
        for step in range(WARM_STEPS + TIMED_STEPS):
            batch = to_device(make_batch(config, data, step, pool, statistics), device)
            begin_s = time.perf_counter()
            train_step(state, batch, config, config.learning_rate, weights, teacher)
            if device != "cpu":
                torch.cuda.synchronize()
            times_s.append(time.perf_counter() - begin_s)
    some = data.val[:2]
    begin_s = time.perf_counter()
    evaluate_network(state.average.network.network, some, len(data.labels))
    one_s = (time.perf_counter() - begin_s) / max(1, len(some))
    return TrainingPlan(
        frames=len(data.train),
        steps=config.epochs * -(-len(data.train) // config.batch),
        step_s=min(times_s[WARM_STEPS:]),
        evaluation_s=one_s * len(data.val),
        evaluations=-(-config.epochs // config.evaluate_every) if data.val else 0,
    )
