"""Fine-tune the weights of all int8 graphs, if that is asked for and helps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import onnx

from edge_vseg.analysis.metrics import Confusion
from edge_vseg.bundle.manifest import FrameSpec
from edge_vseg.errors import CalibrationError, OptionError
from edge_vseg.export.finetuning.training_frame import TrainingFrame, check_truth, with_truth
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
MAX_LABELLED = 512
REPORTS = 20
"""Lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinetunedWeights:
    """What int8 graphs share after fine-tuning.

    Attributes:
        prepared: With trained weights and ranges, if they are better.
        key: Fingerprint of what they were trained on and for how long; ``None`` if they were not, or not taken.
        verdict: Whether they were taken, and why; empty if nothing was trained.
    """

    prepared: Int8Preparation
    key: str | None = None
    verdict: str = ""


def finetune_weights(job: ExportJob, built: BuiltFloatGraph, prepared: Int8Preparation) -> FinetunedWeights:
    """Teach the int8 graph by the float one on calibration frames, and by labels if there are any.

    Args:
        job: The export.
        built: The float graph.
        prepared: What int8 graphs share so far.

    Returns:
        The same with trained weights and ranges; ``prepared`` as it is if that is not asked for, or if int8 is no
        better on the one in four frames that were set aside: by mIoU if there are labels, else by agreement with float.

    Raises:
        CalibrationError: If there are too few calibration frames, or too few with labels.
        OptionError: If the network gives no scores to learn from, or labels have classes that it does not know.
    """
    length = job.options.finetune
    if length is None:
        return FinetunedWeights(prepared=prepared)
    if built.graph.head_spec.kind == "labels":
        raise OptionError("--finetune learns from scores, and this network gives labels; export it without its argmax")
    frames = prepared.frames
    if len(frames) < 2 * SET_ASIDE:
        raise CalibrationError(f"--finetune needs {2 * SET_ASIDE} calibration frames or more, got {len(frames)}")
    from edge_vseg.export.finetuning.finetune import finetune  # torch takes long to import

    truth = labelled_frames(job, built)
    judge: Judge = _ByTruth(truth[::SET_ASIDE]) if truth else _ByFloat(frames[::SET_ASIDE])
    pictures = [picture for frame in truth for picture in (frame.image, frame.labels) if picture is not None]
    key = fingerprint("finetune", built.sha256, frames_sha256([*frames, *pictures]), job.options.seed)
    before = judge.score(prepared)
    trained = finetune(
        prepared.equalized,
        prepared.weights(()),
        prepared.ranges,
        [*_not_aside([TrainingFrame(image=frame) for frame in frames]), *_not_aside(truth)],
        length=length,
        seed=job.options.seed,
        checkpoint=job.work.root / f"finetune-{key[:16]}.pt",
        progress=_reports(job.progress, length),
    )
    tuned = prepared.with_trained(trained)
    after = judge.score(tuned)
    taken = after > before
    verdict = f"fine-tuning {'taken' if taken else 'dropped'}: {judge.tell(prepared, before, after)}"
    job.progress(verdict)
    if not taken:
        return FinetunedWeights(prepared=prepared, verdict=verdict)
    return FinetunedWeights(prepared=tuned, key=fingerprint(key, length), verdict=verdict)


def labelled_frames(job: ExportJob, built: BuiltFloatGraph) -> list[TrainingFrame]:
    """Up to :data:`MAX_LABELLED` labelled frames at the input size, evenly out of all.

    Raises:
        CalibrationError: If there are some, but too few.
        OptionError: If they have classes that the network does not know.
    """
    if not job.truth:
        return []
    spec = FrameSpec(size_hw=built.graph.size_hw, resize=job.resize)
    every = -(-len(job.truth) // MAX_LABELLED)
    chosen = [job.truth[number] for number in range(0, len(job.truth), every)]
    check_truth(chosen, len(built.graph.labels))
    found = [taken for frame in chosen if (taken := with_truth(frame, spec)) is not None]
    if len(found) < 2 * SET_ASIDE:
        raise CalibrationError(f"--labels needs {2 * SET_ASIDE} labelled frames or more, got {len(found)}")
    return found


class Judge(Protocol):
    """Says whether int8 became better."""

    def score(self, prepared: Int8Preparation) -> float:
        """How good int8 is, 0 to 1."""
        ...

    def tell(self, prepared: Int8Preparation, before: float, after: float) -> str:
        """In words, for people."""
        ...


class _ByFloat:
    """By the classes of the float graph."""

    def __init__(self, frames: Sequence[Image]) -> None:
        self._frames = frames

    def score(self, prepared: Int8Preparation) -> float:
        return int8_agreement(prepared, self._frames)

    def tell(self, prepared: Int8Preparation, before: float, after: float) -> str:
        return f"{before:.2%} of the pixels before, {after:.2%} after"


class _ByTruth:
    """By mIoU on labelled frames."""

    def __init__(self, frames: Sequence[TrainingFrame]) -> None:
        self._frames = frames

    def score(self, prepared: Int8Preparation) -> float:
        return truth_miou(_int8_graph(prepared), self._frames)

    def tell(self, prepared: Int8Preparation, before: float, after: float) -> str:
        whole = truth_miou(prepared.model, self._frames)
        return (
            f"mIoU {100 * before:.2f} before, {100 * after:.2f} after, float {100 * whole:.2f}, on {len(self._frames)}"
            " labelled frames that were set aside"
        )


def truth_miou(graph: onnx.ModelProto, frames: Sequence[TrainingFrame]) -> float:
    """Mean IoU, 0 to 1, of a graph that gives scores, on frames with labels at the input size."""
    confusion: Confusion | None = None
    for frame, (scores,) in zip(frames, run_frames(graph, [frame.image for frame in frames]), strict=True):
        assert frame.labels is not None
        height, width = frame.labels.shape
        planes = np.stack([cv2.resize(plane, (width, height)) for plane in scores])
        found = planes.argmax(0) if len(planes) > 1 else planes[0] > 0
        confusion = confusion or Confusion(max(2, len(planes)))
        confusion.add(frame.labels, found.astype(np.uint8))
    return confusion.mean_iou if confusion else 0.0


def int8_agreement(prepared: Int8Preparation, frames: Sequence[Image]) -> float:
    """Share of pixels, at the size of the output, in which an int8 graph without float nodes agrees with float."""
    return class_agreement(run_frames(prepared.model, frames), run_frames(_int8_graph(prepared), frames))


def _int8_graph(prepared: Int8Preparation) -> onnx.ModelProto:
    # One recipe stands in for all; it is not run by integer kernels, which saturate on some CPUs.
    return quantize_onnxruntime(prepared.weights(()), prepared.ranges, recipe_for("arm64"))


def _not_aside(frames: Sequence[TrainingFrame]) -> list[TrainingFrame]:
    return [frame for number, frame in enumerate(frames) if number % SET_ASIDE]


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
