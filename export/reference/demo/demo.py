"""Export the shipped network, run every graph and one inside a deadline, and write what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import (
    EvaluationOptions,
    PolicyScore,
    VariantScore,
    compare_variants,
    evaluate_policy,
)
from edge_vseg.analysis.evaluation.frame_log import FrameLog
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import named_labels
from edge_vseg.calibration import sample_frames
from edge_vseg.export import ExportOptions, export_bundle
from edge_vseg.export.reference.demo.demo_page import write_demo_page
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.scheduling.policies import Deadline, Fixed, Policy
from edge_vseg.types import IGNORE_ID, Result
from edge_vseg.video import VideoWriter, open_source

SIZE_HW = (360, 480)
RATE = 15.0
CALIBRATION_SEED, SHOWN_SEED = 11, 7
"""Two streets: the one that is shown never calibrates, and neither is trained on."""
CALIBRATION_FRAMES = 90
DEADLINE_SHARE = 0.8
"""The deadline, as a share of what the fastest graph takes for every frame."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo does.

    Attributes:
        network: A network whose weights are shipped.
        video: A video to run on instead of the rendered street; it has no truth.
        frames: Frames to run on.
        runtimes: Runtimes to export for.
    """

    network: Literal["small", "middle"] = "middle"
    video: Path | None = None
    frames: int = 100
    runtimes: tuple[str, ...] = ("onnxruntime", "openvino", "tflite")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo wrote and found.

    Attributes:
        bundle: The bundle.
        overlay: The overlay video, of the frames inside the deadline.
        report: The report; the export's own is in the bundle.
        frames: Frames that it ran on.
        scores: Figures of every graph.
        scheduled: Figures of the fastest graph that can be scheduled, inside a deadline, against every frame.
    """

    bundle: Path
    overlay: Path
    report: Path
    frames: int
    scores: tuple[VariantScore, ...]
    scheduled: PolicyScore


def run_demo(folder: Path, options: DemoOptions, progress: Progress = lambda step: None) -> DemoResult:
    """Export the shipped network, run it on every runtime, and draw what it sees.

    Args:
        folder: Gets ``street.evseg``, ``overlay.mp4``, ``report.html`` and the sample clip; what is there by
            these names is replaced.
        options: What to do.
        progress: Called with the name of every step.

    Raises:
        OptionError: If a runtime is unknown.
        VideoError: If the video cannot be read or has no frames.
        ExportError: If an export step fails as a whole.
    """
    wanted = ExportOptions(
        labels=named_labels("camvid"), size_hw=SIZE_HW, normalization=NORMALIZATION, runtimes=options.runtimes
    )
    progress("reading frames" if options.video else "rendering two streets")
    shown, rate = _frames(options)
    folder.mkdir(parents=True, exist_ok=True)
    sample = options.video or _write_clip(folder / "calibration.mp4", CALIBRATION_SEED)
    bundle = folder / "street.evseg"
    _export(options.network, bundle, sample, wanted, progress)
    progress("running every graph")
    scores = compare_variants(bundle, shown)
    progress("keeping a deadline")
    seen, overlay = FrameLog(), folder / "overlay.mp4"
    variant, policy = _pick(bundle, scores)
    scheduled = _schedule(bundle, variant, policy, shown, rate, seen, overlay)
    progress("writing the report")
    report = folder / "report.html"
    write_demo_page(report, open_bundle(bundle), scores, scheduled, seen)
    return DemoResult(
        bundle=bundle, overlay=overlay, report=report, frames=len(shown), scores=scores, scheduled=scheduled
    )


def _pick(bundle: Path, scores: Sequence[VariantScore]) -> tuple[str, Policy]:
    """The fastest graph whose slices all fit into half of its deadline; without any, the fastest with keyframes."""
    manifest = open_bundle(bundle).manifest
    ranked = sorted(scores, key=lambda score: score.total_ms)
    for score in ranked:
        slices, deadline = manifest.variant(score.variant).slices, round(DEADLINE_SHARE * score.total_ms, 1)
        if slices and max(part.latency_ms or 0.0 for part in slices) < deadline / 2:
            return score.variant, Deadline(milliseconds=deadline)
    return ranked[0].variant, Fixed(period=3)


def _schedule(
    bundle: Path,
    variant: str,
    policy: Policy,
    frames: Sequence[LabelledFrame],
    rate: float,
    seen: FrameLog,
    overlay: Path,
) -> PolicyScore:
    labels = open_bundle(bundle).manifest.labels
    with VideoWriter(overlay, rate, (frames[0].image.shape[0], frames[0].image.shape[1])) as writer:

        def observe(frame: LabelledFrame, result: Result, every_ms: float) -> None:
            seen.add(frame, result, every_ms)
            writer.write(draw_overlay(frame.image, result.labels, labels, source=result.source))

        deadline = policy.milliseconds if isinstance(policy, Deadline) else None
        options = EvaluationOptions(variant=variant, deadline_ms=deadline, video_rate=rate)
        return evaluate_policy(bundle, frames, policy, options, observe=observe)


def _frames(options: DemoOptions) -> tuple[list[LabelledFrame], float]:
    """Frames with their truth, if there is any, and how many of them a second has."""
    if options.video is None:
        street = render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=SHOWN_SEED), options.frames)
        return [LabelledFrame(image=frame.image, labels=frame.labels) for frame in street], RATE
    with open_source(options.video, max_frames=options.frames) as source:
        images = [frame.image for frame in source]
        rate = source.fps or RATE
    frames = [LabelledFrame(image=image, labels=np.full(image.shape[:2], IGNORE_ID, np.uint8)) for image in images]
    return frames, rate


def _write_clip(path: Path, seed: int) -> Path:
    with VideoWriter(path, RATE, SIZE_HW) as writer:
        for frame in render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=seed), CALIBRATION_FRAMES):
            writer.write(frame.image, pts_ns=frame.pts_ns)
    return path


def _export(network: str, bundle: Path, video: Path, wanted: ExportOptions, progress: Progress) -> None:
    taken = sample_frames([str(video)], calibration=24, validation=16, seed=0)
    export_bundle(f"edge_vseg.export.reference.zoo:{network}", bundle, taken, wanted, progress)
