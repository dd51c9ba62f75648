"""Everything that label maps of a video are measured by, side by side, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.metrics import (
    BoundaryF,
    ByDistance,
    Confusion,
    StreamingMiou,
    TemporalConsistency,
    VideoConsistency,
)
from edge_vseg.bundle.manifest import Label
from edge_vseg.motion import motion_estimator, resize_field
from edge_vseg.motion.occlusion import inconsistent
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Mask, MotionField

WINDOWS = (8, 16)
FLOW = "dis-fine"
FLOW_SIDE = 480
"""Longest side of the pictures that flow is estimated on, in pixels."""

_MEASURES = (
    ("mIoU", "miou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("Dice", "dice"),
    ("boundary F", "boundary_f"),
    ("temporal consistency", "consistency"),
    ("flicker", "flicker"),
    ("flicker where the truth stays", "needless_flicker"),
    ("streaming mIoU", "streaming_miou"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassQuality:
    """Figures of one class as shares; ``None`` where it does not occur."""

    iou: float | None
    precision: float | None
    recall: float | None
    dice: float | None
    boundary_f: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapQuality:
    """How right and how steady label maps are, as shares of 1; ``None`` where there is no truth, or too little of it.

    Attributes:
        miou: Mean IoU over the classes that occur.
        pixel_accuracy: Share of pixels with the right class.
        precision: Mean over the classes.
        recall: Mean over the classes.
        dice: Mean over the classes.
        boundary_f: Mean boundary F1 over the classes.
        consistency: Temporal consistency: mIoU with the map before, carried along the flow, without occlusions.
        flicker: Share of visible pixels whose class changes along the flow.
        needless_flicker: The same where the true class stays.
        vc: Video consistency by length of the clip: constant where the truth is.
        vc_right: The same, constant and right: what a frozen map does not reach.
        streaming_miou: Truth of a frame against the newest map that is finished by then, at the rate of the video.
        streaming_dropped: Frames that were never segmented for want of time.
        streaming_rate: That rate.
        by_distance: mIoU by frames since the image that labels come from.
        classes: By name.
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


class FramePictures:
    """The motion between frames and what of it is hidden, for all that is measured on them: made once a frame."""

    def __init__(self) -> None:
        self._estimate = motion_estimator(FLOW)
        self._before: NDArray[np.uint8] | None = None
        self._size_hw = (0, 0)

    def cut(self) -> None:
        """The next image has nothing to do with the last one."""
        self._before = None

    def __call__(self, image: Image) -> tuple[MotionField, Mask] | None:
        """Motion ``(H, W, 2)`` to the frame before, and where that frame showed what is here now; ``None`` at first.

        Args:
            image: ``(H, W, 3)`` uint8 BGR.
        """
        height, width = image.shape[:2]
        scale = min(1.0, FLOW_SIDE / max(height, width))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        present = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        before, self._before = self._before, present
        size_hw, self._size_hw = self._size_hw, (height, width)
        if before is None or size_hw != (height, width):
            return None
        motion, back = self._estimate(present, before), self._estimate(before, present)
        hidden = inconsistent(motion, back)
        visible = cv2.resize((~hidden).view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return resize_field(motion, (height, width)), visible.astype(np.bool_)


class QualityMeter:
    """Measures label maps of one system.

    Args:
        labels: The classes.
        rate: Frames a second of the video; ``None`` if nobody knows, which leaves out streaming mIoU.
    """

    def __init__(self, labels: tuple[Label, ...], rate: float | None) -> None:
        count = len(labels)
        self._names = [label.name for label in labels]
        self._rate = rate
        self._truth = Confusion(count)
        self._boundary = BoundaryF(count)
        self._temporal = TemporalConsistency(count)
        self._video = VideoConsistency(WINDOWS)
        self._streaming = None if rate is None else StreamingMiou(count, rate)
        self._distance = ByDistance(count)
        self._labelled = False

    @property
    def truth(self) -> Confusion:
        """Against the truth."""
        return self._truth

    def cut(self) -> None:
        """The next frame is of another video, or much later: nothing is compared over that."""
        self._video.cut()
        if self._streaming is not None:
            self._streaming.cut()

    def add(
        self,
        truth: LabelMap,
        labels: LabelMap,
        moved: tuple[MotionField, Mask] | None,
        *,
        latency_ms: float,
        age_frames: int,
    ) -> None:
        """Measure a frame.

        Args:
            truth: ``(H, W)`` uint8; 255 where nobody knows.
            labels: ``(H, W)`` uint8.
            moved: What :class:`FramePictures` says of the frame.
            latency_ms: How long the map took.
            age_frames: Frames since the image that it comes from.
        """
        known = bool((truth != IGNORE_ID).any())
        motion, visible = moved if moved is not None else (None, None)
        self._temporal.add(labels, motion, visible, truth if known else None)
        self._labelled |= known
        if self._labelled:  # time goes on in frames without truth, too
            self._video.add(truth, labels)
            if self._streaming is not None:
                self._streaming.add(truth, labels, latency_ms)
        if known:
            self._truth.add(truth, labels)
            self._boundary.add(truth, labels)
            self._distance.add(truth, labels, age_frames)

    def quality(self) -> MapQuality:
        """All figures."""
        temporal = self._temporal
        steady = MapQuality(
            consistency=_known(temporal.consistency),
            flicker=_known(temporal.flicker_rate),
            needless_flicker=_known(temporal.needless_flicker),
        )
        if not self._labelled:
            return steady
        truth, edges = self._truth, self._boundary
        columns = zip(truth.iou, truth.precision, truth.recall, truth.dice, edges.f1, strict=True)
        return replace(
            steady,
            miou=truth.mean_iou,
            pixel_accuracy=truth.pixel_accuracy,
            precision=truth.mean_precision,
            recall=truth.mean_recall,
            dice=truth.mean_dice,
            boundary_f=_known(edges.mean_f1),
            vc={str(window): _known(value) for window, value in self._video.vc.items()},
            vc_right={str(window): _known(value) for window, value in self._video.vc_right.items()},
            streaming_miou=None if self._streaming is None else _known(self._streaming.miou),
            streaming_dropped=None if self._streaming is None else self._streaming.dropped,
            streaming_rate=self._rate,
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


def compare_quality(ours: MapQuality, theirs: MapQuality) -> list[tuple[str, str, str]]:
    """Name, ours and every frame's, in percent, of every measure that there is."""
    rows = [(name, getattr(ours, key), getattr(theirs, key)) for name, key in _MEASURES]
    for window in ours.vc:
        rows.append((f"VC{window}, constant where the truth is", ours.vc[window], theirs.vc[window]))
        rows.append((f"VC{window}, constant and right", ours.vc_right[window], theirs.vc_right[window]))
    return [(name, percent(a), percent(b)) for name, a, b in rows if a is not None]


def percent(value: float | None) -> str:
    """A share in percent; empty if it is not known."""
    return "" if value is None else f"{100 * value:.2f}"


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
