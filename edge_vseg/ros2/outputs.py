"""What a result says, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from edge_vseg.bundle.manifest import Label
from edge_vseg.imaging.overlay import draw_overlay
from edge_vseg.imaging.preprocess import resize_image
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.types import IGNORE_ID, Image, LabelMap, Result

UncertaintyEncoding: TypeAlias = Literal["32FC1", "mono8"]


def label_image(labels: LabelMap, header: ros.Header) -> ros.Image:
    """The label map as ``mono8``: a pixel's value is its class id, 255 where it has none."""
    return raw_image(labels, "mono8", header)


def overlay_picture(image: Image, result: Result, labels: Sequence[Label]) -> Image:
    """The class colours over the frame, ``(H, W, 3)`` uint8 BGR at the size of the label map."""
    height, width = result.labels.shape
    return draw_overlay(resize_image(image, (height, width)), result.labels, labels, source=result.source)


def uncertainty_image(result: Result, header: ros.Header, encoding: UncertaintyEncoding = "32FC1") -> ros.Image | None:
    """How unsure each cell is, at the resolution of the network's scores.

    ``32FC1`` holds 0 to 1, ``mono8`` 0 to 255. ``None`` where the bundle's graphs give no scores.
    """
    values = result.uncertainty
    if values is None:
        return None
    if encoding == "32FC1":
        return raw_image(values.astype("<f4"), "32FC1", header)
    return raw_image(np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8), "mono8", header)


def age_image(result: Result, header: ros.Header) -> ros.Image | None:
    """Milliseconds from the image that each cell's label comes from to this one, ``32FC1`` at the scores' resolution.

    ``None`` where the result has nothing to compute it from.
    """
    ages = result.age_ms_map
    return None if ages is None else raw_image(ages.astype("<f4"), "32FC1", header)


def label_info(labels: Sequence[Label], header: ros.Header) -> ros.LabelInfo:
    """The names of the class ids; 255 is ``UNLABELED``, as the message reserves it."""
    classes = [ros.VisionClass(class_id=label.id, class_name=label.name) for label in labels]
    unlabeled = ros.VisionClass(class_id=IGNORE_ID, class_name="UNLABELED")
    return ros.LabelInfo(header=header, class_map=(*classes, unlabeled))


def vision_info(method: str, location: str, header: ros.Header) -> ros.VisionInfo:
    """What makes the label images, and the topic that names their classes."""
    return ros.VisionInfo(header=header, method=method, database_location=location)
