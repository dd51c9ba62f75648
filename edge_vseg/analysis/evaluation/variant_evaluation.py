"""All variants of a bundle on the same frames: mIoU, agreement with float, latency."""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import distinct_names
from edge_vseg.bundle.manifest import Manifest, Precision, Variant
from edge_vseg.errors import BackendError, NoFramesError
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.selection.auto import gpu_providers
from edge_vseg.runtimes.selection.compatibility import split_by_fit
from edge_vseg.scheduling.policies import EveryFrame
from edge_vseg.segmenter import Segmenter

logger = logging.getLogger(__name__)
WARM_UP_FRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScore:
    """Figures of one variant.

    Attributes:
        variant: Its id.
        runtime: Its runtime.
        precision: ``int8``, ``float`` or ``float16``.
        infer_ms: Median milliseconds of the graph alone.
        total_ms: Median milliseconds of a frame, image to label map.
        speed_up: Float ``infer_ms`` of the same runtime over its own; ``None`` without a float variant.
        miou: mIoU over the classes that occur in the truth or the prediction; ``None`` without labels.
        iou: IoU of those classes, by name.
        agreement: Share of pixels with the class that the float variant of the same runtime gives; ``None`` without
            one.
    """

    variant: str
    runtime: str
    precision: Precision
    infer_ms: float
    total_ms: float
    speed_up: float | None
    miou: float | None
    iou: dict[str, float]
    agreement: float | None


def compare_variants(
    bundle: Path,
    frames: Sequence[LabelledFrame],
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[VariantScore, ...]:
    """Run every variant of a bundle that fits this machine on the same frames.

    The variants of a runtime take turns frame by frame, so that their latencies compare even on a busy machine.
    A variant that fails to open is left out, with a warning.

    Args:
        bundle: The bundle.
        frames: Images and ground truth; labels of 255 everywhere without truth.
        threads: Worker threads; 0 is each runtime's choice.
        progress: Called with the number of frames done, and the total over all runtimes.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        NoFramesError: If there are no frames.
    """
    if not frames:
        raise NoFramesError("no frames to compare the variants on; give a video with at least one")
    manifest = open_bundle(bundle).manifest
    cpu = cpu_features()
    fit, _ = split_by_fit(manifest.variants, cpu, gpu_providers(manifest.variants, cpu))
    runtimes = list(dict.fromkeys(variant.runtime for variant in fit))
    scores: list[VariantScore] = []
    for number, runtime in enumerate(runtimes):
        own = [variant for variant in fit if variant.runtime == runtime]

        def update(done: int, before: int = number * len(frames)) -> None:
            progress(before + done, len(runtimes) * len(frames))

        scores += _evaluate_runtime(bundle, manifest, own, frames, threads, update)
    return tuple(scores)


class _Tally:
    """What is counted of one variant."""

    def __init__(self, variant: Variant, segmenter: Segmenter, classes: int) -> None:
        self.variant = variant
        self.segmenter = segmenter
        self.truth = Confusion(classes)
        self.float_agreement = Confusion(classes)
        self.infer_ms: list[float] = []
        self.total_ms: list[float] = []


def _evaluate_runtime(
    bundle: Path,
    manifest: Manifest,
    variants: Sequence[Variant],
    frames: Sequence[LabelledFrame],
    threads: int,
    progress: Callable[[int], None],
) -> list[VariantScore]:
    with contextlib.ExitStack() as stack:
        tallies: list[_Tally] = []
        for variant in variants:
            try:
                options = RuntimeOptions(variant=variant.id, threads=threads)
                segmenter = stack.enter_context(options.open_segmenter(bundle, EveryFrame()))
            except BackendError as exc:
                logger.warning("%s is left out: %s", variant.id, exc)
                continue
            tallies.append(_Tally(variant, segmenter, len(manifest.labels)))
        for _ in range(WARM_UP_FRAMES):
            for tally in tallies:
                tally.segmenter(frames[0].image)
        for done, frame in enumerate(frames, 1):
            _count(tallies, frame)
            progress(done)
    float_ms = next((statistics.median(t.infer_ms) for t in tallies if t.variant.precision == "float"), None)
    return [_score(tally, manifest, float_ms) for tally in tallies]


def _count(tallies: Sequence[_Tally], frame: LabelledFrame) -> None:
    results = [tally.segmenter(frame.image) for tally in tallies]
    reference = next(
        (result.labels for tally, result in zip(tallies, results, strict=True) if tally.variant.precision == "float"),
        None,
    )
    for tally, result in zip(tallies, results, strict=True):
        tally.infer_ms.append(result.latency_ms["infer"])
        tally.total_ms.append(result.latency_ms["total"])
        tally.truth.add(frame.labels, result.labels)
        if reference is not None:
            tally.float_agreement.add(reference, result.labels)


def _score(tally: _Tally, manifest: Manifest, float_ms: float | None) -> VariantScore:
    infer_ms, iou = statistics.median(tally.infer_ms), tally.truth.iou
    quantized = tally.variant.precision != "float"
    return VariantScore(
        variant=tally.variant.id,
        runtime=tally.variant.runtime,
        precision=tally.variant.precision,
        infer_ms=infer_ms,
        total_ms=statistics.median(tally.total_ms),
        speed_up=float_ms / infer_ms if float_ms is not None and quantized else None,
        miou=tally.truth.mean_iou if tally.truth.matrix.any() else None,
        iou={name: float(v) for name, v in zip(distinct_names(manifest.labels), iou, strict=True) if not np.isnan(v)},
        agreement=tally.float_agreement.pixel_accuracy if quantized and tally.float_agreement.matrix.any() else None,
    )
