"""Fine-tune the weights of all int8 graphs, if that is asked for and helps."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import onnx

from edge_vseg.analysis.metrics import Confusion
from edge_vseg.bundle.manifest import FrameSpec
from edge_vseg.errors import CalibrationError, OptionError, UnsupportedOperatorError
from edge_vseg.export.finetuning.training_frame import SET_ASIDE, TrainingFrame, frames_with_truth
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.pipeline.float_graph_step import BuiltFloatGraph
from edge_vseg.export.pipeline.job import ExportJob, Progress
from edge_vseg.export.pipeline.work_folder import frames_sha256, step_fingerprint
from edge_vseg.export.quantization.activations import class_agreement, open_float, run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.imaging.label_maps import LabelMapper
from edge_vseg.types import Image

REPORTS = 20
"""Lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinetunedWeights:
    """What int8 graphs share after fine-tuning.

    Attributes:
        prepared: With trained weights and ranges, if they are better.
        key: Fingerprint of what they were trained on and for how long; ``None`` if they were not, or not taken.
        verdict: Whether they were taken, and why; empty if nothing was to be trained.
    """

    prepared: Int8Preparation
    key: str | None = None
    verdict: str = ""


def finetune_weights(
    job: ExportJob, built: BuiltFloatGraph, prepared: Int8Preparation, grids: Collection[int]
) -> FinetunedWeights:
    """Teach the int8 graph by the float one on calibration frames, and by labels if there are any.

    Args:
        job: The export.
        built: The float graph.
        prepared: What int8 graphs share so far.
        grids: Largest weight integers of the graphs that will be built. Trained is the finest; others are found from
            the same weights, with the learnt ranges.

    Returns:
        The same with trained weights and ranges; ``prepared`` as it is if that is not asked for, if the network has an
        operator that cannot be trained here, or if int8 is worse on any grid, or better on none, on the one in four
        frames that were set aside: by mIoU if there are labels, else by agreement with float.

    Raises:
        CalibrationError: If there are too few calibration frames, or too few with labels.
        OptionError: If the network gives no scores to learn from, labels have classes that it does not know, or
            ``options.finetune_device`` cannot be used here or has too little memory.
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
    from edge_vseg.export.finetuning.training import Course
    from edge_vseg.export.training_hardware import TrainingHardware

    hardware = TrainingHardware.of(job.options.finetune_device)
    truth = labelled_frames(job, built)
    aside = truth[::SET_ASIDE]
    judge: Judge = _ByTruth(aside, built.graph.head_spec.align) if truth else _ByFloat(frames[::SET_ASIDE])
    grids = sorted(grids, reverse=True)
    pictures = [picture for frame in truth for picture in (frame.image, frame.labels) if picture is not None]
    key = step_fingerprint(
        "finetune", built.sha256, frames_sha256([*frames, *pictures]), job.options.seed, length, hardware.key, grids[0]
    )
    before = [judge.score(prepared, levels) for levels in grids]
    try:
        trained = finetune(
            prepared.equalized,
            prepared.weights((), levels=grids[0]),
            prepared.ranges,
            [*_not_aside([TrainingFrame(image=frame) for frame in frames]), *_not_aside(truth)],
            Course(
                length=length,
                seed=job.options.seed,
                align=built.graph.head_spec.align,
                hardware=hardware,
                checkpoint=job.work.root / f"finetune-{key[:16]}.pt",
            ),
            levels=grids[0],
            progress=_reports(job.progress, length),
        )
    except UnsupportedOperatorError as exc:
        verdict = f"fine-tuning dropped: this network cannot be trained here: {exc}"
        job.progress(verdict)
        return FinetunedWeights(prepared=prepared, verdict=verdict)
    tuned = prepared.with_trained(trained)
    after = [judge.score(tuned, levels) for levels in grids]
    taken = after != before and all(new >= old for old, new in zip(before, after, strict=True))
    told = (f"{levels} levels: {judge.tell(*scores)}" for levels, *scores in zip(grids, before, after, strict=True))
    verdict = f"fine-tuning {'taken' if taken else 'dropped'}: {', '.join(told)}; {judge.setting(prepared)}"
    job.progress(verdict)
    if not taken:
        return FinetunedWeights(prepared=prepared, verdict=verdict)
    return FinetunedWeights(prepared=tuned, key=key, verdict=verdict)


def labelled_frames(job: ExportJob, built: BuiltFloatGraph) -> list[TrainingFrame]:
    """Labelled frames at the input size, evenly out of all.

    Raises:
        CalibrationError: If there are some, but too few.
        OptionError: If they have classes that the network does not know.
    """
    if not job.truth:
        return []
    spec = FrameSpec(size_hw=built.graph.size_hw, resize=job.resize)
    found = frames_with_truth(job.truth, spec, len(built.graph.labels))
    if len(found) < 2 * SET_ASIDE:
        raise CalibrationError(f"--labels needs {2 * SET_ASIDE} labelled frames or more, got {len(found)}")
    return found


class Judge(Protocol):
    """Says whether int8 became better."""

    def score(self, prepared: Int8Preparation, levels: int) -> float:
        """How good int8 is with weights on a grid, 0 to 1."""
        ...

    def tell(self, before: float, after: float) -> str:
        """Two scores in words."""
        ...

    def setting(self, prepared: Int8Preparation) -> str:
        """What they were measured on."""
        ...


class _ByFloat:
    """By the classes of the float graph."""

    def __init__(self, frames: Sequence[Image]) -> None:
        self._frames = frames

    def score(self, prepared: Int8Preparation, levels: int) -> float:
        return int8_agreement(prepared, self._frames, levels)

    def tell(self, before: float, after: float) -> str:
        return f"{before:.2%} of the pixels before, {after:.2%} after"

    def setting(self, prepared: Int8Preparation) -> str:
        return f"{len(self._frames)} frames that were set aside"


class _ByTruth:
    """By mIoU on labelled frames."""

    def __init__(self, frames: Sequence[TrainingFrame], align: str) -> None:
        self._frames = frames
        self._align = align

    def score(self, prepared: Int8Preparation, levels: int) -> float:
        return truth_miou(_int8_graph(prepared, levels), self._frames, self._align)

    def tell(self, before: float, after: float) -> str:
        return f"mIoU {100 * before:.2f} before, {100 * after:.2f} after"

    def setting(self, prepared: Int8Preparation) -> str:
        whole = truth_miou(prepared.model, self._frames, self._align)
        return f"float has {100 * whole:.2f}; {len(self._frames)} labelled frames that were set aside"


def truth_miou(graph: onnx.ModelProto, frames: Sequence[TrainingFrame], align: str = "half_pixel") -> float:
    """Mean IoU, 0 to 1, of a graph that gives scores, on frames with labels at the input size."""
    session = open_float(graph)
    confusion: Confusion | None = None
    for frame in frames:
        assert frame.labels is not None
        (scores,) = session.run(None, {FRAME: frame.image[None]})[0]
        confusion = confusion or Confusion(len(scores))
        height, width = frame.labels.shape
        confusion.add(frame.labels, LabelMapper((height, width), align)(scores))
    return confusion.mean_iou if confusion else 0.0


def int8_agreement(prepared: Int8Preparation, frames: Sequence[Image], levels: int = FULL_LEVELS) -> float:
    """Share of pixels, at the size of the output, in which an int8 graph without float nodes agrees with float."""
    return class_agreement(run_frames(prepared.model, frames), run_frames(_int8_graph(prepared, levels), frames))


def _int8_graph(prepared: Int8Preparation, levels: int) -> onnx.ModelProto:
    # One recipe stands in for all; it is not run by integer kernels, which saturate on some CPUs.
    recipe = replace(recipe_for("arm64"), levels=levels)
    return quantize_onnxruntime(prepared.weights((), levels=levels), prepared.ranges, recipe)


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
