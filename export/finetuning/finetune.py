"""Fine-tune what all int8 graphs share: weights, biases and ranges."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from edge_vseg.export.finetuning.blocks import block_ends
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training import Training
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.quantization.preparation import TrainedWeights
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.training_length import TrainingLength

log = logging.getLogger(__name__)


def finetune(
    smooth: onnx.ModelProto,
    rounded: onnx.ModelProto,
    ranges: Ranges,
    frames: Sequence[TrainingFrame],
    *,
    length: TrainingLength,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[float, float], None] = lambda share, loss: None,
) -> TrainedWeights:
    """Teach the int8 graph by the float one on frames.

    Args:
        smooth: The float graph, channels equalized; gives scores ``(1, C, h, w)``.
        rounded: The same with weights on the int8 grid.
        ranges: Range of every activation.
        frames: What to train on; the truth is learnt as well where there is one.
        length: When to stop.
        seed: Of the choice and the variants of frames.
        checkpoint: File in which the state is kept, and from which training goes on.
        progress: Called after each step with the share that is done, and the loss.

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
    """
    student = Student(smooth, rounded, ranges)
    ends = block_ends(smooth)
    log.info("fine-tuning in %d blocks", len(ends) + 1)
    training = Training(
        student, Teacher(smooth), ends, frames, length=length, seed=seed, checkpoint=checkpoint
    )  # fmt: skip
    training.run(progress)
    return TrainedWeights(
        smooth=student.write(smooth, on_grid=False),
        rounded=student.write(rounded, on_grid=True),
        ranges=student.ranges(),
        by_truth=any(frame.labels is not None for frame in frames),
    )
