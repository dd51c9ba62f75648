"""Array aliases, :class:`Frame` and :class:`Result`: the values that every layer exchanges."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, BGR unless stated otherwise."""

LabelMap: TypeAlias = NDArray[np.uint8]
"""``(H, W)`` uint8 class ids; :data:`IGNORE_ID` where a pixel has none."""

Logits: TypeAlias = NDArray[np.float32]
"""``(C, h, w)`` float32, the network's own scores at its output resolution; any range, the largest class wins."""

Probabilities: TypeAlias = NDArray[np.float32]
"""``(C, h, w)`` float32 from 0 to 1 that sum to 1 over the classes, at the network's output resolution."""

MotionField: TypeAlias = NDArray[np.float32]
"""``(H, W, 2)`` float32 ``(dx, dy)`` in pixels: the point at ``(x, y)`` was at ``(x + dx, y + dy)`` a frame earlier."""

Mask: TypeAlias = NDArray[np.bool_]
"""``(H, W)`` bool."""

Tensor: TypeAlias = NDArray[Any]
"""A graph's input or output, as its :class:`~edge_vseg.bundle.manifest.TensorSpec` describes it."""

Size: TypeAlias = tuple[int, int]
"""``(height, width)`` in pixels."""

ColorOrder: TypeAlias = Literal["bgr", "rgb"]

IGNORE_ID = 255
"""Class id of pixels that have no class: unlabelled in a truth, or without a source after a warp."""


def softmax(logits: Logits) -> Probabilities:
    """Class probabilities of logits, ``(C, h, w)`` float32; plane by plane with OpenCV, faster than numpy."""
    probabilities = np.empty_like(logits)
    highest = logits.max(axis=0)
    for plane, out in zip(logits, probabilities, strict=True):
        cv2.exp(plane - highest, dst=out)
    probabilities /= probabilities.sum(axis=0)
    return probabilities


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image of a video.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        seq: Frame number in its source, from 0; a gap means frames that were dropped or could not be decoded.
        capture_ns: When the frame reached this process, ``time.monotonic_ns()``.
        pts_ns: Presentation time in ns from the start of the source; ``None`` if the source has no times.
        source_name: The file, folder or device that the frame came from.
        motion: ``(h, w, 2)`` float32, the codec's motion vectors as a field to the source's previous frame, in cells of
            its own size (see :mod:`edge_vseg.motion.field`); ``None`` unless the source was opened with
            ``codec_motion=True`` and the codec has vectors for this frame.

    Example:
        >>> import time
        >>> import numpy as np
        >>> from edge_vseg import Frame
        >>> frame = Frame(image=np.zeros((192, 256, 3), np.uint8), seq=0, capture_ns=time.monotonic_ns())
        >>> frame.image.shape
        (192, 256, 3)
    """

    image: Image
    seq: int
    capture_ns: int
    pts_ns: int | None = None
    source_name: str = ""
    motion: MotionField | None = None


CONFIDENCE_KEPT = 0.97
"""Factor by which one frame of age shrinks the confidence of a map."""

LabelSource: TypeAlias = Literal["inferred", "partial", "propagated", "held"]
"""``inferred``: the whole network ran on this frame. ``partial``: some slices or tiles ran on it. ``propagated``: an
older map, warped along the motion. ``held``: the last map again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The segmentation of one frame.

    Attributes:
        labels: ``(H, W)`` uint8 class ids at the frame's own resolution.
        logits: ``(C, h, w)`` float32, the network's own scores of this very frame at its output resolution. ``None``
            where a policy carried or fused anything, and when the graph gives a label map.
        scheduled_probabilities: Gives what the scheduler carried and fused, read-only, warped when it is first read;
            ``None`` without a policy. Read :attr:`probabilities`, which is there in both cases.
        seq: Frame number of the frame, as given.
        capture_ns: The frame's capture time, ``time.monotonic_ns()``.
        done_ns: When the labels were ready, same clock.
        latency_ms: Milliseconds by step, and their ``total``. Steps are ``preprocess``, ``infer`` and ``labels``. Under
            a policy they are those that ran for this frame; there may also be ``motion dis``, ``decide``, ``slice 0``,
            ``tile``, ``carry`` (warps features), ``propagate`` (warps probabilities), ``fuse`` (softmax and fusion) and
            ``close``.
        source: Where the labels come from.
        age_frames: Frames since the image that the oldest labels come from.
        age_map: ``(h, w)`` float32, that age per cell of the probabilities, plus one where the motion points outside
            the older image. ``None`` without a policy.
        age_ms_map: ``(h, w)`` float32, milliseconds between the captures of that image and of this frame.
        drift_map: ``(h', w')`` float32 over the frame, at a size of its own: predicted share of pixels that no longer
            have the class that the network would give them.
        decision: What the policy did for the frame, and why; empty without a policy.

    Example:
        >>> from edge_vseg import Segmenter, open_source
        >>> with Segmenter.open("street.evseg") as segmenter, open_source("drive.mp4") as frames:
        ...     result = segmenter(next(frames))
        ...     names = [label.name for label in segmenter.bundle.manifest.labels]
        >>> road = result.labels == names.index("road")
        >>> road.shape, road.dtype.name
        ((192, 256), 'bool')
        >>> result.source, sorted(result.latency_ms)
        ('inferred', ['infer', 'labels', 'preprocess', 'total'])
    """

    labels: LabelMap
    logits: Logits | None = None
    scheduled_probabilities: Callable[[], Probabilities] | None = None
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
    def probabilities(self) -> Probabilities | None:
        """Class probabilities, ``(C, h, w)`` float32; ``None`` when the graph gives a label map.

        Under a policy they are the scheduler's, and read-only: it may carry them on. Without one each read computes
        the softmax of the logits, so keep the array if you need it twice.
        """
        if self.scheduled_probabilities is not None:
            return self.scheduled_probabilities()
        return None if self.logits is None else softmax(self.logits)

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """One minus the winning class's probability, ``(h, w)`` float32; ``None`` when the graph gives a label map.

        Under a policy that probability shrinks with age, by :data:`CONFIDENCE_KEPT` a frame, and by the predicted
        drift.

        Reference: Huang et al., Efficient Uncertainty Estimation for Semantic Segmentation in Videos, ECCV 2018, whose
        ensemble is the moving average of the scores along the flow; the decay is this project's.
        """
        probabilities = self.probabilities
        if probabilities is None:
            return None
        confidence = probabilities.max(axis=0)
        if self.age_map is not None:
            confidence = confidence * CONFIDENCE_KEPT**self.age_map
        if self.drift_map is not None:
            height, width = confidence.shape
            drift = cv2.resize(self.drift_map, (width, height), interpolation=cv2.INTER_LINEAR)
            confidence = confidence * (1 - np.asarray(drift))
        return np.asarray(1 - confidence, np.float32)

    @property
    def age_ms(self) -> float:
        """Milliseconds between the capture of the frame and the end of its segmentation."""
        return (self.done_ns - self.capture_ns) / 1e6


def describe_decision(result: Result) -> str:
    """The actions taken for a frame in a few words; without a policy, the source of its labels."""
    actions = re.sub(r" \d+", "", result.decision.partition(":")[0]).replace("infer tiles", "infer tile")
    return ", ".join(dict.fromkeys(actions.split(", "))) or result.source
