"""Prepare a frame of any size as a graph's input tensor."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import FrameSpec, TensorSpec
from edge_vseg.errors import FrameError
from edge_vseg.imaging.letterbox import fit_image, resize_image
from edge_vseg.types import ColorOrder, Image, Tensor

MAX_SIDE = (1 << 15) - 2
"""Pixels: OpenCV's maps of coordinates end there."""

__all__ = ["Preprocessor", "check_image", "resize_image"]


def _made_of(image: object) -> str:
    """How something that is no array becomes one."""
    if image is None:
        return "cv2.imread gives None for a file that it cannot read"
    if hasattr(image, "numpy"):
        return "give image.numpy() of a tensor, with the channels last, in BGR order"
    return "decode the image first, as cv2.imread does"


def _conversion(image: Tensor) -> str:
    """How an array of another shape or dtype becomes an image."""
    if 0 in image.shape:
        return "it is empty: check what reads or crops it"
    if image.ndim == 4:
        return "give one image at a time: image[0]"
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] > 4:
        return "put the channels last: image.transpose(1, 2, 0)"
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if image.ndim in (2, 3) and channels in (1, 4):
        return f"convert it first: cv2.cvtColor(image, cv2.COLOR_{'GRAY' if channels == 1 else 'BGRA'}2BGR)"
    if image.dtype.kind == "f":
        return "of floats from 0 to 1, give (255 * image).astype('uint8')"
    return "convert it first, as cv2.imread gives it"


def check_image(image: Image) -> None:
    """Check that an image is a ``(H, W, 3)`` uint8 array.

    Raises:
        FrameError: If it is not.
    """
    if not isinstance(image, np.ndarray):
        raise FrameError(f"expected a (H, W, 3) uint8 array, got {type(image).__name__}; {_made_of(image)}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise FrameError(f"expected a (H, W, 3) uint8 array, got {image.shape} {image.dtype}; {_conversion(image)}")
    if max(image.shape) > MAX_SIDE:
        raise FrameError(
            f"expected at most {MAX_SIDE} pixels a side, got {image.shape}; resize or crop the image first"
        )


class Preprocessor:
    """Turns frames into input tensors for one graph.

    A frame of the right size and colour order is not copied if the graph takes uint8 NHWC. Normalisation and
    quantization that a wrapped graph leaves to the device cost one table look-up per channel.

    Args:
        frame: Size and colour order that the graph takes, and the rule for frames of another size.
        tensor: The graph's input.
        color: Colour order of the frames that you will pass.
    """

    def __init__(self, frame: FrameSpec, tensor: TensorSpec, *, color: ColorOrder = "bgr") -> None:
        self._frame = frame
        self._color: ColorOrder = color
        self._swap = color != frame.color
        self._planar = tensor.layout == "NCHW"
        self._dtype = np.dtype(tensor.dtype)
        self._table = _lookup_table(tensor)
        if self._table is not None and self._dtype == np.float16:
            self._table = self._table.view(np.uint16)  # cv2.LUT takes no float16 before 4.9; the bits are the same

    def __call__(self, image: Image) -> Tensor:
        """Prepare one image.

        Args:
            image: ``(H, W, 3)`` uint8.

        Returns:
            ``(1, h, w, 3)`` or ``(1, 3, h, w)`` in the graph's dtype; it may share the image's memory.

        Raises:
            FrameError: If the image has another shape or dtype.
        """
        check_image(image)
        resized = fit_image(image, self._frame, self._color)
        if self._swap:
            resized = cast(Image, cv2.cvtColor(resized, cv2.COLOR_BGR2RGB))
        tensor: Tensor = resized if self._table is None else cv2.LUT(resized, self._table)
        if self._planar:
            tensor = np.stack(cv2.split(tensor))
        return np.ascontiguousarray(tensor)[None].view(self._dtype)


def _lookup_table(tensor: TensorSpec) -> NDArray[Any] | None:
    """``(1, 256, 3)`` table from pixel value to stored value; ``None`` if they are equal."""
    if tensor.dtype == "uint8" and not tensor.mean and tensor.quantization is None:
        return None
    pixels = np.arange(256, dtype=np.float64)[:, None]
    mean = np.asarray(tensor.mean or (0.0, 0.0, 0.0))
    scale = np.asarray(tensor.scale or (1.0, 1.0, 1.0))
    values = (pixels - mean) / scale
    dtype = np.dtype(tensor.dtype)
    if tensor.quantization is not None:
        info = np.iinfo(dtype)
        stored = np.round(values / tensor.quantization.scale) + tensor.quantization.zero_point
        values = np.clip(stored, info.min, info.max)
    table: NDArray[Any] = values.astype(dtype)[None]
    return table
