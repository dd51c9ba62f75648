"""The learning rate of every step."""

from __future__ import annotations

import math

from edge_vseg.export.reference.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Climb in a line to the peak, then fall to zero, or stay.

    Args:
        config: Peak, warm-up and shape.
        step: From 0.
        steps: Steps of the whole run.
    """
    climb = max(1, round(config.warmup * steps))
    if step < climb:
        return config.learning_rate * (step + 1) / climb
    left = 1 - (step - climb) / max(1, steps - climb)
    match config.schedule:
        case "constant":
            return config.learning_rate
        case "poly":
            return config.learning_rate * math.pow(left, 0.9)
        case "one-cycle":
            return config.learning_rate * (1 - math.cos(math.pi * left)) / 2
