"""Fit a frame of any shape into the network's input with its aspect kept, and bring back what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import FrameSpec, HeadSpec, Letterbox
from edge_vseg.types import ColorOrder, Image, LabelMap, MotionField, Size


def resize_image(image: Image, size_hw: Size) -> Image:
    """Stretch an image to ``size_hw``: area averaging if both sides shrink, else bilinear."""
    height, width = image.shape[:2]
    if (height, width) == size_hw:
        return image
    shrinks = size_hw[0] <= height and size_hw[1] <= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cast(Image, cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=interpolation))


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlace:
    """Where a frame lies in the network's input.

    Attributes:
        frame_hw: Size of the frame.
        input_hw: Size of the input.
        inner_hw: Size of the picture in the input, in whole pixels.
        offset: Its first row and column.
    """

    frame_hw: Size
    input_hw: Size
    inner_hw: Size
    offset: tuple[int, int]

    @classmethod
    def of(cls, frame_hw: Size, input_hw: Size) -> FramePlace:
        """The largest picture of the frame's aspect, in the middle; the sides are rounded to whole pixels."""
        scale = min(input_hw[0] / frame_hw[0], input_hw[1] / frame_hw[1])
        rows, columns = (
            min(whole, max(1, round(side * scale))) for side, whole in zip(frame_hw, input_hw, strict=True)
        )
        offset = (input_hw[0] - rows) // 2, (input_hw[1] - columns) // 2
        return cls(frame_hw=frame_hw, input_hw=input_hw, inner_hw=(rows, columns), offset=offset)

    @property
    def fills(self) -> bool:
        """Whether the picture has no border, so that it is stretched by less than a pixel."""
        return self.inner_hw == self.input_hw

    @property
    def padded_hw(self) -> Size:
        """Size of the input at the scale of the frame: what label maps are made at before they are cropped."""
        rows, columns = (
            max(side, round(side * whole / inner))
            for side, whole, inner in zip(self.frame_hw, self.input_hw, self.inner_hw, strict=True)
        )
        return rows, columns

    @property
    def padded_offset(self) -> tuple[int, int]:
        """First row and column of the frame in that."""
        first = (round(o * s / i) for o, s, i in zip(self.offset, self.frame_hw, self.inner_hw, strict=True))
        row, column = (min(f, p - s) for f, p, s in zip(first, self.padded_hw, self.frame_hw, strict=True))
        return row, column

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """A place in the frame, in pixels from its corner, as a place in the input."""
        return (
            self.offset[1] + x * self.inner_hw[1] / self.frame_hw[1],
            self.offset[0] + y * self.inner_hw[0] / self.frame_hw[0],
        )

    def to_frame(self, x: float, y: float) -> tuple[float, float]:
        """A place in the input as a place in the frame; one in the border lies outside."""
        return (
            (x - self.offset[1]) * self.frame_hw[1] / self.inner_hw[1],
            (y - self.offset[0]) * self.frame_hw[0] / self.inner_hw[0],
        )

    def enclose(self, image: Image, border: tuple[int, int, int]) -> Image:
        """The input: the frame, resized, in its border.

        Args:
            image: ``(H, W, 3)`` uint8 of the frame's size.
            border: Colour of the border, in the image's channel order.
        """
        inner = resize_image(image, self.inner_hw)
        (top, left), (rows, columns) = self.offset, self.inner_hw
        bottom, right = self.input_hw[0] - top - rows, self.input_hw[1] - left - columns
        return cast(
            Image, cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(*border, 0.0))
        )

    def repaint(self, image: Image, border: tuple[int, int, int]) -> Image:
        """What :meth:`enclose` has made, as a new array with a border of another colour."""
        (top, left), (rows, columns) = self.offset, self.inner_hw
        inner = image[top : top + rows, left : left + columns]
        painted = np.empty_like(image)
        painted[:] = border
        painted[top : top + rows, left : left + columns] = inner
        return painted

    def enclose_motion(self, field: MotionField) -> MotionField:
        """A motion field of the frame as one of the input; nothing moves in the border.

        Args:
            field: ``(h, w, 2)`` float32 in cells of its own size, which stay: the border is whole cells.
        """
        height, width = field.shape[:2]
        cells = FramePlace(frame_hw=(height, width), input_hw=self.input_hw, inner_hw=self.inner_hw, offset=self.offset)
        padded = np.zeros((*cells.padded_hw, 2), np.float32)
        row, column = cells.padded_offset
        padded[row : row + height, column : column + width] = field
        return padded

    def crop_labels(self, labels: LabelMap) -> LabelMap:
        """The frame's part of a label map of :attr:`padded_hw`, as a new ``(H, W)`` array."""
        (row, column), (height, width) = self.padded_offset, self.frame_hw
        return labels[row : row + height, column : column + width].copy()

    def crop(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The frame's part of ``(…, h, w)`` cells over the input, to the nearest cell, as a view."""
        sides = zip(self.offset, self.inner_hw, self.input_hw, plane.shape[-2:], strict=True)
        rows, columns = (_cells(*side) for side in sides)
        return plane[..., rows, columns]


def _cells(first: int, length: int, whole: int, cells: int) -> slice:
    begin = min(round(first * cells / whole), cells - 1)
    return slice(begin, max(begin + 1, round((first + length) * cells / whole)))


def border_color(box: Letterbox, order: ColorOrder) -> tuple[int, int, int]:
    """The border's colour in a channel order."""
    red, green, blue = box.border_rgb
    return (red, green, blue) if order == "rgb" else (blue, green, red)


def fit_image(image: Image, frame: FrameSpec, color: ColorOrder = "bgr") -> Image:
    """An image at the input size, by the bundle's rule: stretched, or with its aspect kept in a border.

    Args:
        image: ``(H, W, 3)`` uint8.
        frame: Size and rule.
        color: Channel order of the image.
    """
    match frame.resize:
        case Letterbox() as box:
            place = FramePlace.of((image.shape[0], image.shape[1]), frame.size_hw)
            if not place.fills:
                return place.enclose(image, border_color(box, color))
    return resize_image(image, frame.size_hw)


def borders_can_be_guided(head: HeadSpec, frame: FrameSpec, frame_hw: Size) -> bool:
    """Whether guided borders differ from interpolated ones: for smooth scores at most half the size of label maps.

    Args:
        head: What the network gives.
        frame: How frames become its input.
        frame_hw: Size of the frames.
    """
    boxed = isinstance(frame.resize, Letterbox)
    labels_hw = FramePlace.of(frame_hw, frame.size_hw).padded_hw if boxed else frame_hw
    coarse = all(2 * cells <= pixels for cells, pixels in zip(head.size_hw, labels_hw, strict=True))
    return head.kind != "labels" and head.align != "nearest" and coarse
