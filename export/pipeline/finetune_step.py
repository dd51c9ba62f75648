"""Fine-tune the weights of all int8 graphs, if that is asked for and helps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph
from edge_vseg.export.pipeline.job import ExportJob, Progress
from edge_vseg.export.pipeline.work_folder import fingerprint, frames_sha256
from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.types import Image

SET_ASIDE = 4
"""One in so many calibration frames is not trained on, and decides whether the result is taken."""
REPORTS = 20
"""Lines of progress."""


def finetune_weights(job: ExportJob, built: BuiltFloatGraph, prepared: Int8Preparation) -> Int8Preparation:
    """Teach the int8 graph by the float one on three quarters of the calibration frames.

    Args:
        job: The export.
        built: The float graph.
        prepared: What int8 graphs share so far.

    Returns:
        The same with trained weights and ranges; ``prepared`` if that is not asked for, or if int8 agrees no better
        with float on the frames that were set aside.

    Raises:
        CalibrationError: If there are too few calibration frames.
        OptionError: If the network gives no scores to learn from.
    """
    length = job.options.finetune
    if length is None:
        return prepared
    if built.graph.head_spec.kind == "labels":
        raise OptionError("--finetune learns from scores, and this network gives labels; export it without its argmax")
    frames = prepared.frames
    if len(frames) < 2 * SET_ASIDE:
        raise CalibrationError(f"--finetune needs {2 * SET_ASIDE} calibration frames or more, got {len(frames)}")
    from edge_vseg.export.finetuning.finetune import finetune  # torch takes long to import

    aside = frames[::SET_ASIDE]
    before = int8_agreement(prepared, aside)
    key = fingerprint("finetune", built.sha256, frames_sha256(frames), job.options.seed)
    trained = finetune(
        prepared.equalized,
        prepared.weights(()),
        prepared.ranges,
        [frame for number, frame in enumerate(frames) if number % SET_ASIDE],
        length=length,
        seed=job.options.seed,
        checkpoint=job.work.root / f"finetune-{key[:16]}.pt",
        progress=_reports(job.progress, length),
    )
    tuned = prepared.with_trained(trained)
    after = int8_agreement(tuned, aside)
    taken = after > before
    job.progress(f"fine-tuning {'taken' if taken else 'dropped'}: {before:.2%} of the pixels before, {after:.2%} after")
    return tuned if taken else prepared


def int8_agreement(prepared: Int8Preparation, frames: Sequence[Image]) -> float:
    """Share of pixels, at the size of the output, in which an int8 graph without float nodes agrees with float."""
    # A recipe whose sums saturate on no CPU stands in for all.
    graph = quantize_onnxruntime(prepared.weights(()), prepared.ranges, recipe_for("arm64"))
    return class_agreement(run_frames(prepared.model, frames), run_frames(graph, frames))


def _reports(progress: Progress, length: TrainingLength) -> Callable[[float, float], None]:
    """Pass on some of the steps, with the time that is left."""
    start = time.monotonic()
    told = -1

    def report(share: float, loss: float) -> None:
        nonlocal told
        if int(share * REPORTS) == told:
            return
        told = int(share * REPORTS)
        spent_s = time.monotonic() - start
        left_s = (
            length.seconds * (1 - share) if length.seconds is not None else spent_s * (1 - share) / max(share, 1e-9)
        )
        progress(f"fine-tuning: {share:.0%}, {left_s / 60:.0f} min left, loss {loss:.2g}")

    return report
