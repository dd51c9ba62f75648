"""Run the demo: render, export, run every graph, run one live that is slower than the camera, write what to look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import VariantScore, compare_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration import sample_frames
from edge_vseg.export import ExportOptions, export_bundle
from edge_vseg.export.reference.demo.demo_page import write_demo_page
from edge_vseg.export.reference.demo.demo_picture import choose_moment, write_demo_picture
from edge_vseg.export.reference.demo.demo_video import write_demo_video
from edge_vseg.export.reference.demo.input_size import MeasuredInput
from edge_vseg.export.reference.demo.live_comparison import (
    DEADLINE_PERIODS,
    LEAD_IN_S,
    LiveComparison,
    compare_live,
)
from edge_vseg.export.reference.demo.live_score import LiveClip
from edge_vseg.export.reference.demo.slow_network import SlowNetwork, live_variant, make_slow_network, time_network
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import NORMALIZATION
from edge_vseg.files import make_folder
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import IGNORE_ID, Image, Size
from edge_vseg.video import VideoWriter, open_source

SIZE_HW = (360, 480)
RATE = 15.0
LIVE_RATES = (30.0, 60.0, 15.0)
"""Rates of the live street, the most wanted first; the others are for machines that are too fast or too slow for it."""
CALIBRATION_SEED, SHOWN_SEED = 11, 7
"""Calibrate on one street, show another. Training uses neither."""
CALIBRATION_FRAMES = 90
MAX_LEAD_IN = 0.25
"""Share that the lead-in takes at most of a video that has too few frames for it."""

Progress = Callable[[str], None]


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
        bundle: The bundle with every graph.
        overlay: Video of both live runs, side by side.
        picture: One moment of both live runs as a still picture.
        report: HTML report; the export reports are inside the bundles.
        frames: Number of frames.
        scores: Accuracy and speed of every graph.
        live: One graph, slower than the camera, by newest frame and drop and with a deadline.
    """

    bundle: Path
    overlay: Path
    picture: Path
    report: Path
    frames: int
    scores: tuple[VariantScore, ...]
    live: LiveComparison


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Export:
    """What the demo exports, but for the input size."""

    network: str
    samples: SampleFrames
    options: ExportOptions
    progress: Progress

    def __call__(self, path: Path, options: ExportOptions) -> Path:
        source = f"edge_vseg.export.reference.zoo:{self.network}"
        export_bundle(source, path, self.samples, options, self.progress)
        return path


def run_demo(folder: Path, options: DemoOptions, progress: Progress = lambda step: None) -> DemoResult:
    """Export a shipped network, run it on every runtime, then live at an input size at which it is too slow.

    Args:
        folder: Output folder; gets ``street.evseg``, ``live.evseg``, ``report.html``, ``overlay.mp4``, ``picture.png``
            and ``calibration.mp4``. Files of these names are replaced.
        options: Options.
        progress: Called with the name of each step.

    Raises:
        OptionError: If a runtime is unknown.
        VideoError: If the video cannot be read or has no frames.
        ExportError: If the export fails as a whole.
        OutputError: If a file cannot be written.
    """
    export_options = ExportOptions(
        labels=named_labels("camvid"), size_hw=SIZE_HW, normalization=NORMALIZATION, runtimes=options.runtimes
    )
    progress("reading frames" if options.video else "rendering two streets")
    video = None if options.video is None else _read_video(options.video, options.frames)
    frames = _rendered(options.frames) if video is None else _unlabelled(video.images[: options.frames])
    make_folder(folder)
    sample_video = options.video or _write_street(folder / "calibration.mp4", CALIBRATION_SEED)
    samples = sample_frames([str(sample_video)], calibration=24, validation=16, seed=0)
    export = _Export(network=options.network, samples=samples, options=export_options, progress=progress)
    bundle = export(folder / "street.evseg", export_options)
    progress("running every graph")
    scores = compare_variants(bundle, frames)
    network = _slow_network(export, folder, scores, video)
    runs = compare_live(network, video or _live_street(network, options.frames, progress), progress)
    progress("writing the report")
    overlay, picture, report = folder / "overlay.mp4", folder / "picture.png", folder / "report.html"
    opened = open_bundle(bundle)
    write_demo_page(report, opened, scores, runs)
    write_demo_picture(picture, choose_moment(runs), runs, opened.manifest.labels)
    write_demo_video(overlay, runs, opened.manifest.labels)
    return DemoResult(
        bundle=bundle,
        overlay=overlay,
        picture=picture,
        report=report,
        frames=len(frames),
        scores=scores,
        live=runs.comparison,
    )


def _slow_network(export: _Export, folder: Path, scores: Sequence[VariantScore], video: LiveClip | None) -> SlowNetwork:
    """The network, exported again at the input size at which it is slower than the camera."""
    bundle, samples = folder / "street.evseg", export.samples.validation
    score = live_variant(scores)
    # Where there is a core for the background, it runs the network in one piece.
    options = replace(
        export.options, runtimes=(score.runtime,), precisions=(score.precision,), slices=usable_cores() == 1
    )
    export.progress("timing the network")

    def export_at(size_hw: Size) -> tuple[Path, str]:
        path = export(folder / "live.evseg", replace(options, size_hw=size_hw))
        return path, open_bundle(path).manifest.variants[0].id

    height, width = samples[0].shape[:2]
    return make_slow_network(
        MeasuredInput(size_hw=SIZE_HW, network_ms=time_network(bundle, score.variant, samples)),
        width / height,
        LIVE_RATES if video is None else (video.rate,),
        export_at,
        functools.partial(time_network, images=samples),
    )


def _live_street(network: SlowNetwork, frames: int, progress: Progress) -> LiveClip:
    """The shown street at the network's size and rate, and a lead-in before as many frames."""
    size_hw, rate = network.input.size_hw, network.input.rate
    progress(f"rendering a street of {size_hw[1]}x{size_hw[0]} pixels")
    lead_in = round(LEAD_IN_S * rate)
    street = list(render_street(StreetOptions(size_hw=size_hw, rate=rate, seed=SHOWN_SEED), lead_in + frames))
    return _clip([frame.image for frame in street], rate, lead_in, [frame.labels for frame in street])


def _read_video(path: Path, frames: int) -> LiveClip:
    with open_source(path) as source:
        rate = source.fps or RATE
    lead_in = round(LEAD_IN_S * rate)
    with open_source(path, max_frames=frames + lead_in) as source:
        images = [frame.image for frame in source]
    return _clip(images, rate, min(lead_in, max(len(images) - frames, int(MAX_LEAD_IN * len(images)))), [])


def _clip(images: list[Image], rate: float, lead_in: int, truths: list[Image]) -> LiveClip:
    deadline_ms = round(1000 * DEADLINE_PERIODS / rate, 1)
    classes = len(named_labels("camvid"))
    return LiveClip(images=images, truths=truths, rate=rate, deadline_ms=deadline_ms, lead_in=lead_in, classes=classes)


def _rendered(frames: int) -> list[LabelledFrame]:
    street = render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=SHOWN_SEED), frames)
    return [LabelledFrame(image=frame.image, labels=frame.labels) for frame in street]


def _unlabelled(images: Sequence[Image]) -> list[LabelledFrame]:
    return [LabelledFrame(image=image, labels=np.full(image.shape[:2], IGNORE_ID, np.uint8)) for image in images]


def _write_street(path: Path, seed: int) -> Path:
    with VideoWriter(path, RATE, SIZE_HW) as writer:
        for frame in render_street(StreetOptions(size_hw=SIZE_HW, rate=RATE, seed=seed), CALIBRATION_FRAMES):
            writer.write(frame.image, pts_ns=frame.pts_ns)
    return path
