"""The demo: the shipped network on a rendered street, exported, run on every runtime, and judged by the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_vseg.calibration import sample_frames
from edge_vseg.datasets import LabelledFrame
from edge_vseg.evaluation import VariantScore, compare_variants
from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
from edge_vseg.export.zoo import NORMALIZATION
from edge_vseg.labels import named_labels
from edge_vseg.overlay import draw_overlay
from edge_vseg.scenes import StreetOptions, render_street
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import IGNORE_ID
from edge_vseg.video import VideoWriter, open_source

SIZE_HW = (360, 480)
RATE = 15.0
CALIBRATION_SEED, SHOWN_SEED = 11, 7
"""Two streets: the one that is shown never calibrates, and neither is trained on."""
CALIBRATION_FRAMES = 90

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
        overlay: The overlay video, made by the fastest graph.
        report: The export's report.
        frames: Frames that it ran on.
        scores: Figures of every graph.
    """

    bundle: Path
    overlay: Path
    report: Path
    frames: int
    scores: tuple[VariantScore, ...]


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
    progress("drawing the overlay")
    fastest = min(scores, key=lambda score: score.total_ms)
    _draw(bundle, fastest.variant, shown, rate, folder / "overlay.mp4")
    shutil.copyfile(bundle / "report.html", folder / "report.html")
    return DemoResult(
        bundle=bundle, overlay=folder / "overlay.mp4", report=folder / "report.html", frames=len(shown), scores=scores
    )


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
    sample = sample_frames([str(video)], calibration=24, parity=16, seed=0)
    taken = SampleFrames(
        calibration=[frame.image for frame in sample.calibration],
        parity=[frame.image for frame in sample.parity],
        spec=sample.spec,
    )
    export_bundle(f"edge_vseg.export.zoo:{network}", bundle, taken, wanted, progress)


def _draw(bundle: Path, variant: str, frames: Sequence[LabelledFrame], rate: float, output: Path) -> None:
    size_hw = (frames[0].image.shape[0], frames[0].image.shape[1])
    with Segmenter.open(bundle, variant=variant) as segmenter, VideoWriter(output, rate, size_hw) as writer:
        for frame in frames:
            result = segmenter(frame.image)
            writer.write(draw_overlay(frame.image, result.labels, segmenter.bundle.manifest.labels))
