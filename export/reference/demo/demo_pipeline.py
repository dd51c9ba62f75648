"""Run the demo: render, export, run every graph, run one under a deadline, write the report, video and picture."""

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
from edge_vseg.export.reference.demo.demo_picture import StillFrameSelector, write_demo_picture
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.scheduling.policies import Deadline, Fixed, Policy
from edge_vseg.types import IGNORE_ID, Result
from edge_vseg.video import VideoWriter, open_source

SIZE_HW = (360, 480)
RATE = 15.0
CALIBRATION_SEED, SHOWN_SEED = 11, 7
"""Calibrate on one street, show another. Training uses neither."""
CALIBRATION_FRAMES = 90
DEADLINE_SHARE = 0.8
"""The deadline, as a share of the time that the scheduled graph takes for a frame."""
MAX_SLICE_OVERHEAD = 0.3
"""Slices that together take this share longer than the whole graph leave nothing to gain from spreading them."""


Observer = Callable[[LabelledFrame, Result, float], None]
"""Called with a frame, its result, and the milliseconds that the frame takes without a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Options of the demo.

    Attributes:
        network: A network with shipped weights.
        video: Run on this video instead of a rendered street; then there is no ground truth.
        frames: Number of frames to run on.
        runtimes: Runtimes to export for.
    """

    network: Literal["small", "middle"] = "middle"
    video: Path | None = None
    frames: int = 100
    runtimes: tuple[str, ...] = ("onnxruntime", "openvino", "tflite")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Files and figures of a demo run.

    Attributes:
        bundle: The bundle.
        overlay: Overlay video of the run under the deadline.
        picture: A frame of that run as a still picture.
        report: HTML report; the export report is inside the bundle.
        frames: Number of frames.
        scores: Accuracy and speed of every graph.
        scheduled: Accuracy and speed of one graph under the deadline, against running it on every frame.
    """

    bundle: Path
    overlay: Path
    picture: Path
    report: Path
    frames: int
    scores: tuple[VariantScore, ...]
    scheduled: PolicyScore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """Frames with ground truth, if there is any, and their rate in Hz."""

    frames: Sequence[LabelledFrame]
    rate: float


def run_demo(folder: Path, options: DemoOptions, progress: Callable[[str], None] = lambda step: None) -> DemoResult:
    """Export a shipped network, run it on every runtime, then run one graph under a deadline.

    Args:
        folder: Output folder; gets ``street.evseg``, ``report.html``, ``overlay.mp4``, ``picture.png`` and
            ``calibration.mp4``. Files of these names are replaced.
        options: Options.
        progress: Called with the name of each step.

    Raises:
        OptionError: If a runtime is unknown.
        VideoError: If the video cannot be read or has no frames.
        ExportError: If the export fails as a whole.
    """
    export_options = ExportOptions(
        labels=named_labels("camvid"), size_hw=SIZE_HW, normalization=NORMALIZATION, runtimes=options.runtimes
    )
    progress("reading frames" if options.video else "rendering two streets")
    clip = _read_clip(options)
    folder.mkdir(parents=True, exist_ok=True)
    sample_video = options.video or _write_street(folder / "calibration.mp4", CALIBRATION_SEED)
    bundle = folder / "street.evseg"
    samples = sample_frames([str(sample_video)], calibration=24, validation=16, seed=0)
    export_bundle(f"edge_vseg.export.reference.zoo:{options.network}", bundle, samples, export_options, progress)
    progress("running every graph")
    scores = compare_variants(bundle, clip.frames)
    progress("running one graph under a deadline")
    examples, still = FrameLog(), StillFrameSelector()
    overlay, picture, report = folder / "overlay.mp4", folder / "picture.png", folder / "report.html"
    scheduled = _run_scheduled(bundle, scores, clip, overlay, (examples.add, lambda f, r, _: still.add(f, r)))
    progress("writing the report")
    opened = open_bundle(bundle)
    write_demo_page(report, opened, scores, scheduled, examples)
    if still.best is not None:
        write_demo_picture(picture, still.best, opened.manifest.labels)
    return DemoResult(
        bundle=bundle,
        overlay=overlay,
        picture=picture,
        report=report,
        frames=len(clip.frames),
        scores=scores,
        scheduled=scheduled,
    )


def _run_scheduled(
    bundle: Path, scores: Sequence[VariantScore], clip: _Clip, overlay: Path, observers: Sequence[Observer]
) -> PolicyScore:
    """Run one graph under a policy, write the overlay video, and call the observers with each result."""
    variant, policy = _choose_policy(bundle, scores)
    labels = open_bundle(bundle).manifest.labels
    height, width = clip.frames[0].image.shape[:2]
    with VideoWriter(overlay, clip.rate, (height, width)) as writer:

        def observe(frame: LabelledFrame, result: Result, every_ms: float) -> None:
            for observer in observers:
                observer(frame, result, every_ms)
            writer.write(draw_overlay(frame.image, result.labels, labels, source=result.source))

        deadline = policy.milliseconds if isinstance(policy, Deadline) else None
        options = EvaluationOptions(variant=variant, deadline_ms=deadline, video_rate=clip.rate)
        return evaluate_policy(bundle, clip.frames, policy, options, observe=observe)


def _choose_policy(bundle: Path, scores: Sequence[VariantScore]) -> tuple[str, Policy]:
    """The fastest graph that slices well, under a deadline; without one, the fastest graph with keyframes.

    A graph slices well if its slices cost little more than the whole graph and each takes at most half of the deadline.
    """
    manifest = open_bundle(bundle).manifest
    ranked = sorted(scores, key=lambda score: score.total_ms)
    for score in ranked:
        variant, deadline_ms = manifest.variant(score.variant), round(DEADLINE_SHARE * score.total_ms, 1)
        if not variant.slices or (variant.slice_overhead or 0.0) > MAX_SLICE_OVERHEAD:
            continue
        if max(part.latency_ms or 0.0 for part in variant.slices) < deadline_ms / 2:
            return score.variant, Deadline(milliseconds=deadline_ms)
    return ranked[0].variant, Fixed(period_frames=3)


def _read_clip(options: DemoOptions) -> _Clip:
    if options.video is None:
        street = render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=SHOWN_SEED), options.frames)
        return _Clip(frames=[LabelledFrame(image=frame.image, labels=frame.labels) for frame in street], rate=RATE)
    with open_source(options.video, max_frames=options.frames) as source:
        images = [frame.image for frame in source]
        rate = source.fps or RATE
    unlabelled = [LabelledFrame(image=image, labels=np.full(image.shape[:2], IGNORE_ID, np.uint8)) for image in images]
    return _Clip(frames=unlabelled, rate=rate)


def _write_street(path: Path, seed: int) -> Path:
    with VideoWriter(path, RATE, SIZE_HW) as writer:
        for frame in render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=seed), CALIBRATION_FRAMES):
            writer.write(frame.image, pts_ns=frame.pts_ns)
    return path
