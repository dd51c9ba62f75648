"""Learning-rate schedules."""

from __future__ import annotations

import math

from edge_vseg.export.reference.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up to the peak, then constant or falling to zero.

    Args:
        config: Peak, warm-up and schedule.
        step: The step, from 0.
        steps: Steps of the whole run.
    """
    warmup_steps = max(1, round(config.warmup * steps))
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    left = 1 - (step - warmup_steps) / max(1, steps - warmup_steps)
    match config.schedule:
        case "constant":
            return config.learning_rate
        case "poly":
            return config.learning_rate * math.pow(left, 0.9)
        case "one-cycle":
            return config.learning_rate * (1 - math.cos(math.pi * left)) / 2
