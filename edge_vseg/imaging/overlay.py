"""Draw a label map over its frame: class colours, a legend, and a border coloured by source."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.types import IGNORE_ID, Image, LabelMap

BORDER_COLORS: dict[str, tuple[int, int, int]] = {
    "inferred": (60, 200, 60),
    "propagated": (255, 120, 30),
    "partial": (0, 150, 255),
    "held": (60, 60, 220),
}
"""Border colour by :attr:`Result.source <edge_vseg.Result>`, BGR: green, blue, orange, red."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_ROW_PX = 12
_ROWS_PER_FRAME = 26
_MAX_SHARE = 0.45
_MIN_LETTERS = 5


def draw_overlay(
    image: Image,
    labels: LabelMap,
    palette_labels: Sequence[Label],
    *,
    alpha: float = 0.5,
    legend: bool = True,
    source: str = "inferred",
) -> Image:
    """Blend the colours of the classes into a frame.

    Args:
        image: ``(H, W, 3)`` uint8 BGR; not changed.
        labels: ``(H, W)`` uint8 class ids; pixels of 255 keep their colour.
        palette_labels: The classes, with colours as ``(R, G, B)``.
        alpha: Share of the class colour, 0 to 1.
        legend: Whether to name the visible classes, largest first. It covers less than half of the frame in each
            direction; classes that do not fit are counted, and a frame too small for text gets no legend.
        source: The labels' :attr:`~edge_vseg.types.Result.source`; sets the colour of the border.

    Returns:
        ``(H, W, 3)`` uint8 BGR, a new array.

    Raises:
        FrameError: If image and labels have different sizes, or another dtype.
        OptionError: If a class id is not in the palette, or an option is out of range.
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha must lie between 0 and 1, got {alpha}")
    if source not in BORDER_COLORS:
        raise OptionError(f"source must be one of {', '.join(BORDER_COLORS)}, got {source!r}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FrameError(f"expected a (H, W, 3) uint8 image, got {image.shape} {image.dtype}; convert it first")
    if labels.shape != image.shape[:2]:
        raise FrameError(f"expected labels of the image's size {image.shape[:2]}, got {labels.shape}; resize them")
    areas = _areas(labels, palette_labels)
    colored = _paint(labels, palette_labels)
    out: Image = np.asarray(cv2.addWeighted(image, 1 - alpha, colored, alpha, 0), dtype=np.uint8)
    if areas[IGNORE_ID]:
        cv2.copyTo(image, np.equal(labels, IGNORE_ID).view(np.uint8), out)
    if legend:
        _draw_legend(out, areas, palette_labels)
    _draw_border(out, BORDER_COLORS[source])
    return out


def colorize(labels: LabelMap, palette: Sequence[Label]) -> Image:
    """Colour a label map by class.

    Args:
        labels: ``(H, W)`` uint8 class ids; 255 becomes black.
        palette: The classes, with colours as ``(R, G, B)``.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        FrameError: If ``labels`` is not a label map.
        OptionError: If a class id is not in the palette.
    """
    _areas(labels, palette)
    return _paint(labels, palette)


def _areas(labels: LabelMap, palette: Sequence[Label]) -> NDArray[np.int64]:
    """``(256,)`` pixel counts by class id; every id must be in the palette."""
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise FrameError(f"expected (H, W) uint8 labels, got {labels.shape} {labels.dtype}; pass Result.labels")
    areas = np.bincount(labels.ravel(), minlength=256)
    known = {label.id for label in palette} | {IGNORE_ID}
    unknown = [int(index) for index in np.flatnonzero(areas) if int(index) not in known]
    if unknown:
        raise OptionError(
            f"the labels contain class {unknown[0]}, but the palette has only {sorted(known - {IGNORE_ID})};"
            " pass the labels of the bundle that made them"
        )
    return areas


def _paint(labels: LabelMap, palette: Sequence[Label]) -> Image:
    table = np.zeros((1, 256, 3), dtype=np.uint8)
    for label in palette:
        table[0, label.id] = label.color[::-1]
    # cv2.LUT needs as many input as output channels; still 5x faster than table[labels].
    return np.asarray(cv2.LUT(cv2.merge([labels, labels, labels]), table), dtype=np.uint8)


def _draw_border(out: Image, color: tuple[int, int, int]) -> None:
    width = max(1, round(min(out.shape[:2]) / 120))
    for edge in (out[:width], out[-width:], out[:, :width], out[:, -width:]):
        edge[:] = color


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the legend: its text, and the BGR colour of its swatch, if any."""

    text: str
    color: tuple[int, int, int] | None


def _draw_legend(out: Image, areas: NDArray[np.int64], palette: Sequence[Label]) -> None:
    height, width = out.shape[:2]
    row_px = max(_MIN_ROW_PX, height // _ROWS_PER_FRAME)
    margin = max(2, row_px // 3)
    room = (int(height * _MAX_SHARE) - 2 * margin) // row_px
    present = sorted((label for label in palette if areas[label.id]), key=lambda label: (-areas[label.id], label.id))
    if not present or room < min(2, len(present)):
        return
    rows = [_Row(text=_plain(label.name), color=(label.color[2], label.color[1], label.color[0])) for label in present]
    if len(rows) > room:
        rows = [*rows[: room - 1], _Row(text=f"+{len(rows) - room + 1}", color=None)]
    scale = row_px / 34
    letters_px = int(width * _MAX_SHARE) - margin - 2 * row_px
    rows = [_Row(text=_fit(row.text, scale, letters_px), color=row.color) for row in rows]
    if not all(row.text for row in rows):
        return
    panel_w = 2 * row_px + max(_text_width(row.text, scale) for row in rows)
    panel = out[margin : margin + len(rows) * row_px + margin, margin : margin + panel_w]
    # Darkened, both the text and the image behind it stay visible.
    panel[:] = panel // 3
    for index, row in enumerate(rows):
        top = margin // 2 + index * row_px
        if row.color is not None:
            corner = (margin, top + row_px // 6)
            cv2.rectangle(panel, corner, (margin + row_px * 2 // 3, top + row_px * 5 // 6), row.color, cv2.FILLED)
        origin = (margin + row_px, top + row_px * 3 // 4)
        cv2.putText(panel, row.text, origin, _FONT, scale, (255, 255, 255), max(1, row_px // 20), cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _fit(text: str, scale: float, width_px: int) -> str:
    """The text, cut to the width; empty if fewer than ``_MIN_LETTERS`` fit."""
    for length in range(len(text), min(len(text), _MIN_LETTERS) - 1, -1):
        if _text_width(text[:length], scale) <= width_px:
            return text[:length]
    return ""


def _plain(name: str) -> str:
    """The name in ASCII: OpenCV's fonts have nothing else."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or "?"
