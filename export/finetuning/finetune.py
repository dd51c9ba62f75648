"""Fine-tune what all int8 graphs share: weights, biases and ranges."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import onnx

from edge_vseg.export.finetuning.blocks import block_ends
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training import Course, Training
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS
from edge_vseg.export.quantization.preparation import TrainedWeights
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.training_hardware import full_memory_named

log = logging.getLogger(__name__)


def finetune(
    smooth: onnx.ModelProto,
    rounded: onnx.ModelProto,
    ranges: Ranges,
    frames: Sequence[TrainingFrame],
    course: Course,
    *,
    levels: int = FULL_LEVELS,
    progress: Callable[[float, float], None] = lambda share, loss: None,
) -> TrainedWeights:
    """Teach the int8 graph by the float one on frames.

    Args:
        smooth: The float graph, channels equalized; gives scores ``(1, C, h, w)``.
        rounded: The same with weights on the int8 grid.
        ranges: Range of every activation.
        frames: What to train on; the truth is learnt as well where there is one.
        course: How.
        levels: Largest integer of the grid of ``rounded``.
        progress: Called after each step with the share that is done, and the loss.

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
        OptionError: If the memory of a GPU does not suffice.
    """
    student = Student(smooth, rounded, ranges, levels=levels, arithmetic=course.hardware.arithmetic)
    ends = block_ends(smooth)
    log.info("fine-tuning in %d blocks", len(ends) + 1)
    with full_memory_named(course.hardware.device, "give --finetune-device cpu"):
        Training(student, Teacher(smooth), ends, frames, course).run(progress)
    return TrainedWeights(
        smooth=student.write(smooth, on_grid=False),
        rounded=student.write(rounded, on_grid=True),
        ranges=student.ranges(),
        levels=levels,
        by_truth=any(frame.labels is not None for frame in frames),
    )
