"""Array aliases and the small values that every layer speaks in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

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
        origin: The file, folder or device that the frame came from.
    """

    image: Image
    seq: int
    capture_ns: int
    pts_ns: int | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What the segmenter says about one frame.

    Attributes:
        labels: ``(H, W)`` uint8 class ids at the frame's own resolution.
        scores: ``(C, h, w)`` float32 at the network's output resolution; ``None`` when the graph
            gives a label map.
        seq: Frame number of the frame, as given.
        capture_ns: The frame's capture time, ``time.monotonic_ns()``.
        done_ns: When the labels were ready, same clock.
        latency_ms: Milliseconds by step (``preprocess``, ``infer``, ``labels``) and their ``total``.
        source: Where the labels come from; ``inferred`` means computed from this very frame.
    """

    labels: LabelMap
    scores: Scores | None
    seq: int
    capture_ns: int
    done_ns: int
    latency_ms: dict[str, float] = field(default_factory=dict)
    source: Literal["inferred"] = "inferred"

    @property
    def age_ms(self) -> float:
        """Milliseconds between the capture of the frame and the end of its segmentation."""
        return (self.done_ns - self.capture_ns) / 1e6
