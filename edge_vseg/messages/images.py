"""Images in messages: to BGR arrays, and from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import MessageError
from edge_vseg.messages import definitions as ros
from edge_vseg.types import Image

_JPEG_QUALITY = 85

_PACKED: Mapping[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "8UC4": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, cv2.COLOR_GRAY2BGR),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUY2),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUY2),
    # OpenCV names a mosaic by its second row and column, ROS by its first.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2BGR),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2BGR),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2BGR),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2BGR),
}
"""Bytes per pixel, and OpenCV's conversion to BGR; by the names of ``sensor_msgs/image_encodings.hpp``."""
_PLANAR: Mapping[str, int] = {"nv12": cv2.COLOR_YUV2BGR_NV12, "nv21": cv2.COLOR_YUV2BGR_NV21}

ENCODINGS = (*_PACKED, *_PLANAR)
"""Encodings that :func:`to_bgr` reads; all have eight bits, so ``is_bigendian`` changes nothing."""

CameraMessage: TypeAlias = ros.Image | ros.CompressedImage


def to_bgr(message: CameraMessage) -> Image:
    """The picture in a message.

    Args:
        message: A raw image in one of :data:`ENCODINGS`, or a compressed one that OpenCV decodes (JPEG, PNG, WebP).

    Returns:
        ``(H, W, 3)`` uint8 BGR; for ``bgr8`` a read-only view of the message, else a new array.

    Raises:
        MessageError: If the encoding is another one, or the bytes do not fit the size.
    """
    if isinstance(message, ros.CompressedImage):
        return _decode(message)
    if message.encoding in _PACKED:
        channels, conversion = _PACKED[message.encoding]
        pixels = _rows(message, message.height, message.width * channels)
        pixels = pixels.reshape(message.height, message.width, channels)
        return pixels if conversion is None else _convert(message, pixels, conversion)
    if message.encoding in _PLANAR:
        rows = _rows(message, message.height * 3 // 2, message.width)
        return _convert(message, rows, _PLANAR[message.encoding])
    raise MessageError(
        f"an image of encoding {message.encoding!r} cannot be read; known: {', '.join(ENCODINGS)}; set the camera"
        " driver to one of them, or convert it in front (image_proc)"
    )


def _rows(message: ros.Image, rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """``(rows, row_bytes)`` uint8 view, without the padding of rows."""
    if not (rows and row_bytes) or message.step < row_bytes or len(message.data) < rows * message.step:
        raise MessageError(
            f"a {message.width}x{message.height} image of encoding {message.encoding} needs {rows} rows of at least"
            f" {row_bytes} bytes, got step {message.step} and {len(message.data)} bytes; check the camera driver"
        )
    return message.data[: rows * message.step].reshape(rows, message.step)[:, :row_bytes]


def _convert(message: ros.Image, pixels: NDArray[np.uint8], conversion: int) -> Image:
    try:
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)
    except cv2.error as exc:  # such as an odd width of a format that halves it
        raise MessageError(
            f"a {message.width}x{message.height} image cannot be of encoding {message.encoding}: {exc.err}"
        ) from exc


def _decode(message: ros.CompressedImage) -> Image:
    try:
        picture: Any = cv2.imdecode(message.data, cv2.IMREAD_COLOR) if len(message.data) else None
    except cv2.error:
        picture = None
    if picture is None:
        raise MessageError(
            f"a compressed image of format {message.format!r} and {len(message.data)} bytes cannot be decoded;"
            " expected a JPEG or PNG file"
        )
    return np.asarray(picture, np.uint8)


def raw_image(pixels: NDArray[Any], encoding: str, header: ros.Header) -> ros.Image:
    """An image message of an array.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, of the encoding's dtype: uint8 for ``mono8``, float32 for ``32FC1``.
        encoding: ROS 2's name of the encoding.
        header: Stamp and coordinate frame.
    """
    packed = np.ascontiguousarray(pixels)
    height, width = packed.shape[:2]
    data = packed.reshape(-1).view(np.uint8)
    return ros.Image(
        header=header, height=height, width=width, encoding=encoding, step=packed.nbytes // height, data=data
    )


def jpeg_image(image: Image, header: ros.Header) -> ros.CompressedImage:
    """A JPEG message of a ``(H, W, 3)`` uint8 BGR image."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return ros.CompressedImage(header=header, format="jpeg", data=np.asarray(data, np.uint8).reshape(-1))
