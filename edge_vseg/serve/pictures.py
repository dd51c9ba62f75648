"""Draw what was seen: the camera, the overlay, the labels, their ages and their uncertainty."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import PipelineError
from edge_vseg.imaging.heat_map import draw_heat_map
from edge_vseg.imaging.overlay import colorize, draw_overlay
from edge_vseg.serve.recorder import Seen
from edge_vseg.types import IGNORE_ID, Image, Size

View: TypeAlias = Literal["camera", "overlay", "labels", "age", "uncertainty"]
VIEWS: tuple[View, ...] = get_args(View)

MAX_WIDTH = 960
"""Pixels; larger frames are drawn smaller: less to encode and to send, and more than a phone shows."""
JPEG_QUALITY = 80
AGE_SCALES_MS = (100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
"""The brightest colour of the age view is the first of these that is not exceeded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedView:
    """An encoded view of a result.

    Attributes:
        view: The view.
        seen: What was drawn.
        data: The encoded image.
        drawn_s: When it was drawn, ``time.monotonic()``.
    """

    view: View
    seen: Seen
    data: bytes
    drawn_s: float

    def message(self, now_ns: int) -> bytes:
        """The picture for the page: length of a JSON object (4 bytes, big-endian), the object, a JPEG image."""
        result = self.seen.result
        header = {
            "number": self.seen.number,
            "view": self.view,
            "seq": result.seq,
            "age_ms": (now_ns - result.capture_ns) / 1e6,
            "labels_age_ms": (now_ns - result.labels_ns) / 1e6,
            "source": result.source,
        }
        encoded = msgspec.json.encode(header)
        return len(encoded).to_bytes(4, "big") + encoded + self.data


def views_of(head: str) -> tuple[View, ...]:
    """The views that a network with such a head can give: without scores there is no uncertainty."""
    return VIEWS if head != "labels" else VIEWS[:-1]


def draw_picture(seen: Seen, view: View, labels: Sequence[Label]) -> EncodedView:
    """Draw a view and encode it as JPEG."""
    drawn = draw_view(seen, view, labels)
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return EncodedView(view=view, seen=seen, data=data.tobytes(), drawn_s=time.monotonic())


def draw_view(seen: Seen, view: View, labels: Sequence[Label]) -> Image:
    """Draw a view, ``(H, W, 3)`` uint8 BGR, at most :data:`MAX_WIDTH` wide.

    Everything is made small first: OpenCV lets other threads run meanwhile, and what holds them up is counting pixels.

    Raises:
        PipelineError: If the network gives no scores, and so no such map.
    """
    size_hw = _picture_size(seen.image)
    image = _resized(seen.image, size_hw, cv2.INTER_AREA)
    result = seen.result
    match view:
        case "camera":
            return image
        case "overlay":
            shown = _resized(result.labels, size_hw, cv2.INTER_NEAREST)
            return draw_overlay(image, shown, labels, legend=False, source=result.source)
        case "labels":
            return colorize(_resized(result.labels, size_hw, cv2.INTER_NEAREST), labels)
        case "age":
            ages_ms = _known(result.age_ms_map, view)
            oldest_ms = float(np.nan_to_num(ages_ms).max())
            scale_ms = next((scale for scale in AGE_SCALES_MS if scale >= oldest_ms), AGE_SCALES_MS[-1])
            return draw_heat_map(image, ages_ms, "age", highest=scale_ms, unit=" ms")
        case "uncertainty":
            return draw_heat_map(image, _known(result.uncertainty, view), "uncertainty")


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """A PNG image of class ids, or of a view."""
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return data.tobytes()


def describe_pixel(seen: Seen, x: float, y: float, labels: Sequence[Label]) -> dict[str, Any]:
    """What is known of a pixel.

    Args:
        seen: The result.
        x: Where, as a share of the width, 0 to 1.
        y: The same of the height.
        labels: The classes.

    Returns:
        Plain values; ``age_ms`` is the time between the capture of the image that its label comes from and that of the
        frame, ``frame_age_ms`` the time since. What the network does not give is ``None``.
    """
    result, now_ns = seen.result, time.monotonic_ns()
    class_id = int(_at(result.labels, x, y))
    label = next((label for label in labels if label.id == class_id), None)
    ages_ms, uncertainty = result.age_ms_map, result.uncertainty
    height, width = seen.image.shape[:2]
    return {
        "number": seen.number,
        "seq": result.seq,
        "x": min(width - 1, int(x * width)),
        "y": min(height - 1, int(y * height)),
        "class_id": None if class_id == IGNORE_ID else class_id,
        "class": None if label is None else label.name,
        "color": None if label is None else list(label.color),
        "age_ms": None if ages_ms is None else round(float(np.nan_to_num(_at(ages_ms, x, y))), 1),
        "frame_age_ms": round((now_ns - result.capture_ns) / 1e6, 1),
        "certainty": None if uncertainty is None else round(1 - float(_at(uncertainty, x, y)), 3),
        "still": result.still,
    }


def _at(values: NDArray[Any], x: float, y: float) -> Any:
    height, width = values.shape
    return values[min(height - 1, int(y * height)), min(width - 1, int(x * width))]


def _known(values: NDArray[np.float32] | None, view: View) -> NDArray[np.float32]:
    if values is None:
        raise PipelineError(f"this network gives label maps without scores, so there is no {view} to draw")
    return values


def _picture_size(image: Image) -> Size:
    height, width = image.shape[:2]
    share = min(1.0, MAX_WIDTH / width)
    return max(1, round(height * share)), max(1, round(width * share))


def _resized(values: NDArray[np.uint8], size_hw: Size, interpolation: int) -> NDArray[np.uint8]:
    if values.shape[:2] == size_hw:
        return values
    return np.asarray(cv2.resize(values, size_hw[::-1], interpolation=interpolation), np.uint8)
