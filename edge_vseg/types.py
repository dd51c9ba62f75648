"""Array aliases, :class:`Frame` and :class:`Result`: the values that every layer exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.decision import Decision, Infer

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

LabelsSize: TypeAlias = Literal["frame", "network"]
"""Size of label maps: that of the frame, or that of the network's output, several times smaller."""

Borders: TypeAlias = Literal["interpolated", "guided"]
"""Where a border between two classes runs: where their interpolated scores are equal, or along the edges of the image
(:mod:`edge_vseg.imaging.guided_filter`)."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Frame:
    """One image of a video.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        seq: Frame number in its source, from 0; a gap means frames that were dropped or could not be decoded.
        capture_ns: When the frame was captured, ``time.monotonic_ns()``: by the camera's own stamp if its clock is
            known, else when its data reached this process.
        pts_ns: Presentation time in ns from the start of the source; ``None`` if the source has no times.
        source_name: The file, folder or device that the frame came from.
        motion: ``(h, w, 2)`` float32, the codec's motion vectors as a field to the source's previous frame, in cells of
            its own size (see :mod:`edge_vseg.motion.field`); ``None`` unless the source was opened with
            ``codec_motion=True`` and the codec has vectors for this frame. Finite: a driver of your own gives cells
            without a vector that of the nearest one.
        motion_to: ``seq`` of the frame that ``motion`` leads to, if frames in between were dropped and their motion
            composed; ``None`` for the one numbered before.

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
    motion_to: int | None = None

    def __repr__(self) -> str:
        where = f" of {self.source_name}" if self.source_name else ""
        return f"<Frame {self.seq}{where}, {_size_of(self.image)}>"


INFERRED = Decision(actions=(Infer(),))
"""The decision of plain inference."""
CONFIDENCE_KEPT = 0.97
"""Factor by which one frame since the picture changed shrinks the confidence of a map."""
FOLLOWED_CONFIDENCE = 0.65
"""Of a class that was found by its looks: on CamVid that puts 1.7 to 3.7 pixels right for each that it puts wrong."""

LabelSource: TypeAlias = Literal["inferred", "partial", "propagated", "held"]
"""``inferred``: the whole network ran on this frame. ``partial``: some slices or tiles ran on it, or a companion.
``propagated``: an older map, warped along the motion. ``held``: the last map again."""


class FrameMaps(Protocol):
    """What a frame's result can compute beside its label map; :class:`Result` says more of what it has, too."""

    @property
    def logits(self) -> Logits | None: ...  # noqa: D102

    @property
    def probabilities(self) -> Probabilities | None: ...  # noqa: D102

    @property
    def age_map(self) -> NDArray[np.float32]: ...  # noqa: D102

    @property
    def age_ms_map(self) -> NDArray[np.float32]: ...  # noqa: D102

    @property
    def unseen_map(self) -> NDArray[np.float32]:
        """As the age map, since the last frame whose picture was that of the cell's image."""

    @property
    def drift_map(self) -> NDArray[np.float32]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundSpan:
    """A stretch of work in the background lane.

    Attributes:
        step: What ran: ``infer``, or a slice.
        start_ns: When it began, ``time.monotonic_ns()``.
        end_ns: When it was done.
    """

    step: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Result:
    """The segmentation of one frame.

    Label map, ages and times are there at once; logits, probabilities and maps are computed when they are read, from
    what was shown on this frame, however late that is.

    Attributes:
        labels: ``(H, W)`` uint8 class ids at the frame's own resolution, or at the network's output resolution if the
            segmenter was opened so; the caller's own.
        maps: Computes the rest; read it by the properties below.
        seq: Frame number of the frame, as given.
        capture_ns: The frame's capture time, ``time.monotonic_ns()``.
        done_ns: When the labels were ready, same clock.
        latency_ms: Milliseconds by step, of those that ran for this frame, and their ``total``: ``preprocess``,
            ``motion dis``, ``decide``, ``infer``, ``slice 0``, ``tile``, ``carry`` (warps features), ``fuse`` (softmax
            and fusion), ``companion`` (with its input and fusion), ``labels`` (a new label map), ``propagate`` (a
            warped one).
        source: Where the labels come from.
        age_frames: Frames of the video since the image that the oldest labels come from.
        map_age_ms: Milliseconds from the capture of that image to the capture of this frame.
        still: Whether the picture has not changed since that image, so that its age costs nothing.
        seen_ns: When the picture last was that of the image, ``time.monotonic_ns()``; ``None``: at its capture.
        decision: What the policy did for the frame, and why.
        deadline_ms: The deadline that the frame had; ``None`` if it had none.
        background: What the background lane did since the previous frame.
        followed: ``(H, W)`` bool, pixels whose class was found by its looks (``OpenOptions(follow=)``), and is not the
            one that the motion carries there; ``None`` if there are none.

    Example:
        >>> from edge_vseg import Segmenter, open_source
        >>> with Segmenter.open("street.evseg") as segmenter, open_source("drive.mp4") as frames:
        ...     result = segmenter(next(frames))
        ...     names = [label.name for label in segmenter.bundle.manifest.labels]
        >>> road = result.labels == names.index("road")
        >>> road.shape, road.dtype.name
        ((192, 256), 'bool')
        >>> result.source, result.age_frames, result.decision.summary
        ('inferred', 0, 'infer')
    """

    labels: LabelMap
    maps: FrameMaps | None = None
    seq: int
    capture_ns: int
    done_ns: int
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    source: LabelSource = "inferred"
    age_frames: int = 0
    map_age_ms: float = 0.0
    still: bool = False
    seen_ns: int | None = None
    decision: Decision = INFERRED
    deadline_ms: float | None = None
    background: tuple[BackgroundSpan, ...] = ()
    followed: Mask | None = None

    def __repr__(self) -> str:
        old = f", {self.age_frames} frames old" if self.age_frames else ""
        total_ms = self.latency_ms.get("total", 0.0)
        return f"<Result of frame {self.seq}, {_size_of(self.labels)}, {self.source}{old}, {total_ms:.1f} ms>"

    @property
    def logits(self) -> Logits | None:
        """``(C, h, w)`` float32, the network's own scores of this very frame at its output resolution.

        Probabilities where its graph keeps the softmax (``bundle.manifest.head.holds_probabilities``).

        Read-only. ``None`` where a policy carried or fused anything, and when the graph gives a label map.
        """
        return None if self.maps is None else self.maps.logits

    @property
    def probabilities(self) -> Probabilities | None:
        """Class probabilities, ``(C, h, w)`` float32; ``None`` when the graph gives a label map.

        Read-only: a policy may carry them on.
        """
        return None if self.maps is None else self.maps.probabilities

    @property
    def age_map(self) -> NDArray[np.float32] | None:
        """``(h, w)`` float32, age in frames by cell of the scores, plus one where the motion leads out of that image.

        ``None`` if the result has nothing to compute it from.
        """
        return None if self.maps is None else self.maps.age_map

    @property
    def age_ms_map(self) -> NDArray[np.float32] | None:
        """``(h, w)`` float32, milliseconds from the capture of the image of each cell to that of this frame."""
        return None if self.maps is None else self.maps.age_ms_map

    @property
    def drift_map(self) -> NDArray[np.float32] | None:
        """``(h', w')`` float32 over the frame, at a size of its own: predicted share of outdated pixels by cell.

        Pixels that no longer have the class that the network would give them.
        """
        return None if self.maps is None else self.maps.drift_map

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """One minus the winning class's probability, ``(h, w)`` float32; ``None`` when the graph gives a label map.

        That probability shrinks by :data:`CONFIDENCE_KEPT` a frame since the picture changed, and by the predicted
        drift. Where the class was found by its looks, it is :data:`FOLLOWED_CONFIDENCE`.

        Reference: Huang et al., Efficient Uncertainty Estimation for Semantic Segmentation in Videos, ECCV 2018, whose
        ensemble is the moving average of the scores along the flow; the decay is this project's.
        """
        probabilities = self.probabilities
        if probabilities is None or self.maps is None:
            return None
        confidence = probabilities.max(axis=0)
        if self.age_frames:
            height, width = confidence.shape
            drift = cv2.resize(self.maps.drift_map, (width, height), interpolation=cv2.INTER_LINEAR)
            confidence = confidence * CONFIDENCE_KEPT**self.maps.unseen_map * (1 - np.asarray(drift))
        if self.followed is not None:
            height, width = confidence.shape
            share = cv2.resize(self.followed.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            confidence = np.where(np.asarray(share) > 0, FOLLOWED_CONFIDENCE, confidence)
        return np.asarray(1 - confidence, np.float32)

    @property
    def labels_ns(self) -> int:
        """When what the oldest labels show was last seen, ``time.monotonic_ns()``.

        That is the capture of the image that they come from, or of the last frame before the picture changed.
        """
        if self.still:
            return self.capture_ns
        return self.capture_ns - round(self.map_age_ms * 1e6) if self.seen_ns is None else self.seen_ns

    @property
    def age_ms(self) -> float:
        """Milliseconds between the capture of the frame and the end of its segmentation."""
        return (self.done_ns - self.capture_ns) / 1e6

    @property
    def over_budget(self) -> bool:
        """Whether the policy expected this frame to miss its deadline, because nothing that fits would do."""
        return self.decision.over_budget

    @property
    def deadline_missed(self) -> bool:
        """Whether the frame took longer than its deadline, from the call to its label map."""
        return self.deadline_ms is not None and self.latency_ms.get("total", 0.0) > self.deadline_ms


def _size_of(array: Any) -> str:
    """``HxW`` of an image or map, or what there is instead."""
    shape = getattr(array, "shape", ())
    return "x".join(map(str, shape[:2])) or type(array).__name__
