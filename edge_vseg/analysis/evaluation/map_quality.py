"""All quality metrics of the label maps of a video, measured frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edge_vseg.analysis.metrics import (
    BoundaryF,
    ByDistance,
    Confusion,
    StreamingMiou,
    TemporalConsistency,
    VideoConsistency,
)
from edge_vseg.bundle.manifest import Label
from edge_vseg.types import IGNORE_ID, LabelMap, Mask, MotionField

CLIP_LENGTHS_FRAMES = (8, 16)
"""Of video consistency."""

_MEASURES = (
    ("mIoU", "miou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("Dice", "dice"),
    ("boundary F", "boundary_f"),
    ("temporal consistency", "consistency"),
    ("flicker", "flicker"),
    ("flicker where the truth is constant", "needless_flicker"),
    ("streaming mIoU", "streaming_miou"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassQuality:
    """Figures of one class, 0 to 1; ``None`` if the class does not occur."""

    iou: float | None
    precision: float | None
    recall: float | None
    dice: float | None
    boundary_f: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapQuality:
    """Accuracy and temporal consistency of label maps, 0 to 1; ``None`` without enough ground truth.

    Attributes:
        miou: Mean IoU over the classes that occur.
        pixel_accuracy: Share of pixels with the correct class.
        precision: Mean over the classes.
        recall: Mean over the classes.
        dice: Mean over the classes.
        boundary_f: Mean boundary F1 over the classes.
        consistency: Temporal consistency: mIoU with the previous map warped along the flow, without occlusions.
        flicker: Share of visible pixels whose class changes along the flow.
        needless_flicker: The same, where the true class does not change.
        vc: Video consistency by clip length: constant where the truth is.
        vc_right: The same, constant and correct, which a frozen map does not reach.
        streaming_miou: mIoU of the newest map finished at each capture, at the rate of the video; ``None``, as the
            next two, if no frame follows another.
        streaming_dropped: Frames never segmented for lack of time.
        streaming_rate: That rate, in frames per second.
        by_distance: mIoU by frames since the image that the labels come from.
        classes: Figures by class name.
    """

    miou: float | None = None
    pixel_accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    dice: float | None = None
    boundary_f: float | None = None
    consistency: float | None = None
    flicker: float | None = None
    needless_flicker: float | None = None
    vc: dict[str, float | None] = field(default_factory=dict)
    vc_right: dict[str, float | None] = field(default_factory=dict)
    streaming_miou: float | None = None
    streaming_dropped: int | None = None
    streaming_rate: float | None = None
    by_distance: dict[str, float] = field(default_factory=dict)
    classes: dict[str, ClassQuality] = field(default_factory=dict)


class QualityMeter:
    """Measures the label maps of one system.

    Args:
        labels: The classes.
        rate: Frames per second of the video; ``None`` if unknown, which leaves out streaming mIoU.
    """

    def __init__(self, labels: tuple[Label, ...], rate: float | None) -> None:
        count = len(labels)
        self._names = [label.name for label in labels]
        self._rate = rate
        self._truth = Confusion(count)
        self._boundary = BoundaryF(count)
        self._temporal = TemporalConsistency(count)
        self._video = VideoConsistency(CLIP_LENGTHS_FRAMES)
        self._streaming = None if rate is None else StreamingMiou(count, rate)
        self._distance = ByDistance(count)
        self._labelled = False
        self._begins = True
        self._starts_up = False
        self._pairs = 0  # frames that follow another since the first truth

    def cut(self) -> None:
        """The next frame does not follow the previous one: compare nothing across this point."""
        self._begins = True
        self._video.cut()
        if self._streaming is not None:
            self._streaming.cut()

    def start_up(self) -> None:
        """The next frame is the first of a stream: its map counts as there at once, and delays none behind it."""
        self._begins = self._starts_up = True
        if self._streaming is not None:
            self._streaming.cut()

    def add(
        self,
        truth: LabelMap,
        labels: LabelMap,
        flow: tuple[MotionField, Mask] | None,
        *,
        latency_ms: float,
        age_frames: int,
    ) -> None:
        """Add a frame.

        Args:
            truth: ``(H, W)`` uint8; 255 where the class is unknown.
            labels: ``(H, W)`` uint8.
            flow: Flow of the frame, from :class:`~edge_vseg.analysis.evaluation.frame_flow.FrameFlow`.
            latency_ms: Latency of the map, without the time that the frame waited for those before it: the queue is
                what streaming mIoU plays itself.
            age_frames: Frames since the image that the map comes from.
        """
        starts_up, self._starts_up = self._starts_up, False
        known = bool((truth != IGNORE_ID).any())
        motion, visible = flow if flow is not None else (None, None)
        self._temporal.add(labels, motion, visible, truth if known else None)
        self._labelled |= known
        if self._labelled:  # frames without truth take time too
            self._pairs += not self._begins
            self._begins = False
            self._video.add(truth, labels)
            if self._streaming is not None:
                self._streaming.add(truth, labels, 0.0 if starts_up else latency_ms)
        if known:
            self._truth.add(truth, labels)
            self._boundary.add(truth, labels)
            self._distance.add(truth, labels, age_frames)

    def quality(self) -> MapQuality:
        """All figures."""
        temporal = self._temporal
        without_truth = MapQuality(
            consistency=_known(temporal.consistency),
            flicker=_known(temporal.flicker_rate),
            needless_flicker=_known(temporal.needless_flicker),
        )
        if not self._labelled:
            return without_truth
        truth, edges = self._truth, self._boundary
        streaming = self._streaming if self._pairs else None
        columns = zip(truth.iou, truth.precision, truth.recall, truth.dice, edges.f1, strict=True)
        return replace(
            without_truth,
            miou=truth.mean_iou,
            pixel_accuracy=truth.pixel_accuracy,
            precision=truth.mean_precision,
            recall=truth.mean_recall,
            dice=truth.mean_dice,
            boundary_f=_known(edges.mean_f1),
            vc={str(window): _known(value) for window, value in self._video.vc.items()},
            vc_right={str(window): _known(value) for window, value in self._video.vc_right.items()},
            streaming_miou=None if streaming is None else _known(streaming.miou),
            streaming_dropped=None if streaming is None else streaming.dropped,
            streaming_rate=None if streaming is None else self._rate,
            by_distance={str(frames): float(value) for frames, value in self._distance.miou.items()},
            classes={
                name: ClassQuality(
                    iou=_known(row[0]),
                    precision=_known(row[1]),
                    recall=_known(row[2]),
                    dice=_known(row[3]),
                    boundary_f=_known(row[4]),
                )
                for name, row in zip(self._names, columns, strict=True)
            },
        )


def quality_rows(policy: MapQuality, every_frame: MapQuality) -> list[tuple[str, str, str]]:
    """Rows of a table: name of the metric, and both values in percent, for every known metric."""
    rows = [(name, getattr(policy, key), getattr(every_frame, key)) for name, key in _MEASURES]
    for window in policy.vc:
        rows.append((f"VC{window}, constant where the truth is", policy.vc[window], every_frame.vc[window]))
        rows.append((f"VC{window}, constant and correct", policy.vc_right[window], every_frame.vc_right[window]))
    return [(name, percent(a), percent(b)) for name, a, b in rows if a is not None]


def percent(value: float | None) -> str:
    """A share in percent; empty if it is unknown."""
    return "" if value is None else f"{100 * value:.2f}"


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
