"""Warp probabilities and feature tensors of an older frame into the present one."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Layout
from edge_vseg.errors import FrameError
from edge_vseg.motion import resize_field, sampling_map
from edge_vseg.types import Mask, MotionField, Probabilities, Tensor

_Planes = TypeVar("_Planes", Probabilities, NDArray[np.uint8])
MAX_CHANNELS = 512
"""Limit of :func:`cv2.remap`."""
CARRIED_DTYPES = ("uint8", "int8", "float16", "float32")
"""Dtypes that :func:`warp_tensor` takes."""


def warp_scores(scores: _Planes, motion: MotionField) -> _Planes:
    """Warp class probabilities (or any planes) bilinearly, backward along the motion.

    Args:
        scores: ``(C, h, w)`` float32 or uint8 of the older frame.
        motion: ``(H, W, 2)`` float32, from the present to the older frame.

    Returns:
        ``(C, h, w)`` of the same dtype; outside the older frame its edge is repeated (see :func:`inside`).

    Reference: Zhu et al., Deep Feature Flow, CVPR 2017, eq. 3, on class planes instead of features.
    """
    x, y = sampling_map(resize_field(motion, (scores.shape[1], scores.shape[2])))
    # Plane by plane: as fast as all channels at once, and the result is used as planes.
    positions, weights = cv2.convertMaps(x, y, cv2.CV_16SC2)
    warped = np.empty_like(scores)
    for plane, out in zip(scores, warped, strict=True):
        cv2.remap(plane, positions, weights, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)
    return warped


def warp_tensor(tensor: Tensor, layout: Layout, motion: MotionField) -> Tensor:
    """Warp a tensor between two slices of a graph along the motion.

    Quantized values are interpolated as stored: interpolation commutes with ``(stored - zero_point) * scale``.

    Args:
        tensor: ``(1, h, w, C)`` or ``(1, C, h, w)``, of one of :data:`CARRIED_DTYPES`.
        layout: ``NHWC`` or ``NCHW``.
        motion: ``(H, W, 2)`` float32, from the present to the older frame.

    Returns:
        A contiguous tensor of the same shape and dtype.

    Raises:
        FrameError: If the layout has no height and width.
    """
    if layout == "NHWC":
        planes = tensor[0]
    elif layout == "NCHW":
        planes = _channels_last(tensor[0])
    else:
        raise FrameError(
            f"expected a tensor of layout NHWC or NCHW, got {layout!r}, which has no height and width to warp;"
            " export with --carry and name another tensor"
        )
    x, y = sampling_map(resize_field(motion, (planes.shape[0], planes.shape[1])))
    # OpenCV does not interpolate int8. Viewed as uint8 with the top bit flipped, order and distances are the same.
    signed = planes.dtype == np.int8
    source = np.bitwise_xor(planes.view(np.uint8), 0x80) if signed else planes
    warped = _remap(source, x, y)
    if signed:
        warped = np.bitwise_xor(warped, 0x80).view(np.int8)
    if layout == "NCHW":
        warped = np.moveaxis(warped, -1, 0)
    return np.ascontiguousarray(warped)[None]


def inside(motion: MotionField) -> Mask:
    """Which cells come from inside the older frame: ``(h, w)`` bool for an ``(h, w, 2)`` field."""
    height, width = motion.shape[:2]
    x, y = sampling_map(motion)
    mask: Mask = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return mask


def _channels_last(planes: Tensor) -> Tensor:
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _remap(planes: Tensor, x: NDArray[np.float32], y: NDArray[np.float32]) -> Tensor:
    if planes.dtype == np.float16:
        return _remap(planes.astype(np.float32), x, y).astype(np.float16)
    parts = []
    for first in range(0, planes.shape[2], MAX_CHANNELS):
        part = np.ascontiguousarray(planes[..., first : first + MAX_CHANNELS])
        warped: Tensor = cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        parts.append(warped.reshape(*x.shape, part.shape[2]))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
