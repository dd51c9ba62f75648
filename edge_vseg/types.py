"""Array aliases and the small values that every layer speaks in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, colour order as the holder says (BGR unless stated)."""

LabelMap: TypeAlias = NDArray[np.uint8]
"""``(H, W)`` uint8 class ids; :data:`IGNORE_ID` where there is none."""

Scores: TypeAlias = NDArray[np.float32]
"""``(C, h, w)`` float32 class scores at the network's own output resolution."""

MotionField: TypeAlias = NDArray[np.float32]
"""``(H, W, 2)`` float32 ``(dx, dy)`` in pixels: the point at ``(x, y)`` was at ``(x + dx, y + dy)`` a frame before."""

Mask: TypeAlias = NDArray[np.bool_]
"""``(H, W)`` bool."""

Tensor: TypeAlias = NDArray[Any]
"""An input or output of a graph, as its spec describes it."""

Size: TypeAlias = tuple[int, int]
"""``(height, width)`` in pixels."""

ColorOrder: TypeAlias = Literal["bgr", "rgb"]

IGNORE_ID = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image of a video.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        seq: Frame number in its source, from 0; gaps mean frames that could not be decoded.
        capture_ns: When the frame reached this process, ``time.monotonic_ns()``.
        pts_ns: Presentation time in ns from the start of the source; ``None`` for a camera without one.
        source_name: The file, folder or device that the frame came from.
        motion: ``(h, w, 2)`` float32, to the frame that the source gave before, as the video codec had it, in cells of
            its own size (see :mod:`edge_vseg.motion.field`); ``None`` when the source was not asked for it, or the
            codec has none for this frame.
    """

    image: Image
    seq: int
    capture_ns: int
    pts_ns: int | None = None
    source_name: str = ""
    motion: MotionField | None = None


CONFIDENCE_KEPT = 0.97
"""Share of a map's confidence that a frame of age leaves."""

LabelSource: TypeAlias = Literal["inferred", "partial", "propagated", "held"]
"""Computed by the whole network from this very frame; by some of its stages, or in some tiles; carried along the
motion; shown again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What the segmenter says about one frame.

    Attributes:
        labels: ``(H, W)`` uint8 class ids at the frame's own resolution.
        scores: ``(C, h, w)`` float32 at the network's output resolution; if a policy schedules frames, probabilities,
            and read-only, for they may be carried on. ``None`` when the graph gives a label map.
        seq: Frame number of the frame, as given.
        capture_ns: The frame's capture time, ``time.monotonic_ns()``.
        done_ns: When the labels were ready, same clock.
        latency_ms: Milliseconds by step and their ``total``. Steps are ``preprocess``, ``infer`` and ``labels``; under
            a policy those that were done for the frame: besides, ``motion dis``, ``decide``, ``slice 0`` and so on,
            ``tile``, ``carry`` (features), ``propagate`` (scores), ``fuse`` (softmax and fusion) and ``close``.
        source: Where the labels come from.
        age_frames: Frames since the image that the oldest of them come from.
        age_map: ``(h, w)`` float32, the same by tile, at the resolution of the scores; where the motion leads out of
            the older image, one more. ``None`` if no policy schedules frames.
        age_ms_map: ``(h, w)`` float32, milliseconds between the captures of that image and of this frame.
        drift_map: ``(h', w')`` float32 over the frame at any size, predicted share of pixels in which the map has left
            the network's own since that image.
        decision: What was done for the frame, and why; empty if no policy schedules frames.
    """

    labels: LabelMap
    scores: Scores | None
    seq: int
    capture_ns: int
    done_ns: int
    latency_ms: dict[str, float] = field(default_factory=dict)
    source: LabelSource = "inferred"
    age_frames: int = 0
    age_map: NDArray[np.float32] | None = None
    age_ms_map: NDArray[np.float32] | None = None
    drift_map: NDArray[np.float32] | None = None
    decision: str = ""

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """How unsure the largest class is, ``(h, w)`` float32 from 0 (sure) to 1; ``None`` without scores.

        Where frames are scheduled, probabilities fused along the motion are an ensemble over time; of their
        confidence, a frame of age leaves :data:`CONFIDENCE_KEPT`, and the predicted drift takes its share.

        Reference: Huang et al., Efficient Uncertainty Estimation for Semantic Segmentation in Videos, ECCV 2018, whose
        ensemble is the moving average of the scores along the flow; the decay is this project's.
        """
        if self.scores is None:
            return None
        if self.age_map is not None:
            kept = self.scores.max(axis=0) * CONFIDENCE_KEPT**self.age_map
            if self.drift_map is not None:
                height, width = kept.shape
                kept *= 1 - np.asarray(cv2.resize(self.drift_map, (width, height), interpolation=cv2.INTER_LINEAR))
            return np.asarray(1 - kept, np.float32)
        weights = np.exp(self.scores - self.scores.max(axis=0))
        return np.asarray(1 - 1 / weights.sum(axis=0), np.float32)

    @property
    def age_ms(self) -> float:
        """Milliseconds between the capture of the frame and the end of its segmentation."""
        return (self.done_ns - self.capture_ns) / 1e6


def describe_decision(result: Result) -> str:
    """What was done for a frame in a few words: its actions, or where its labels come from if no policy decides."""
    actions = re.sub(r" \d+", "", result.decision.partition(":")[0]).replace("infer tiles", "infer tile")
    return ", ".join(dict.fromkeys(actions.split(", "))) or result.source
