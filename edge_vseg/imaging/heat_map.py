"""Draw a map of values over its frame as a heat map with a scale."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.types import Image

_MAP = cv2.COLORMAP_INFERNO
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_heat_map(
    image: Image, values: NDArray[np.float32], title: str, *, highest: float = 1.0, unit: str = ""
) -> Image:
    """Draw values over a grey frame: dark for 0, bright for high.

    Args:
        image: ``(H, W, 3)`` uint8 BGR; not changed.
        values: ``(h, w)`` float32 at any size, such as :attr:`Result.uncertainty <edge_vseg.Result>` or an age map;
            NaN is drawn as the highest.
        title: Name of the values in ASCII, drawn beside the scale.
        highest: Value of the brightest colour; higher ones look the same.
        unit: Unit, drawn after the numbers of the scale.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        FrameError: If the image or the values have another shape or dtype.
        OptionError: If ``highest`` is not positive.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FrameError(f"expected a (H, W, 3) uint8 image, got {image.shape} {image.dtype}; convert it first")
    if values.ndim != 2 or not values.size:
        raise FrameError(f"expected (H, W) values, got shape {values.shape}; pass one value per cell")
    if not highest > 0:
        raise OptionError(f"highest must be positive, got {highest}; give the value of the brightest colour")
    height, width = image.shape[:2]
    shares = np.nan_to_num(values.astype(np.float32) / highest, nan=1.0, posinf=1.0, neginf=0.0)
    large = cv2.resize(np.clip(shares, 0, 1), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((255 * large).astype(np.uint8), _MAP)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    out: Image = np.asarray(cv2.addWeighted(grey, 0.35, heat, 0.75, 0), np.uint8)
    _draw_scale(out, title, f"{highest:g}{unit}")
    return out


def _draw_scale(out: Image, title: str, highest: str) -> None:
    height, width = out.shape[:2]
    row = max(12, height // 26)
    if height < 4 * row or width < 8 * row:
        return
    panel = out[height - 2 * row : height - row // 2, row // 2 : width // 2]
    panel[:] = panel // 3
    bar_width = panel.shape[1] - row
    bar = cv2.applyColorMap(np.linspace(0, 255, bar_width).astype(np.uint8)[None], _MAP)
    panel[panel.shape[0] - row // 3 - 2 : panel.shape[0] - 2, row // 2 : row // 2 + bar_width] = bar
    scale, line = row / 34, panel.shape[0] - row // 2 - 3
    ((letters, _), _) = cv2.getTextSize(highest, _FONT, scale, 1)
    white = (255, 255, 255)
    cv2.putText(panel, f"0  {title}", (row // 2, line), _FONT, scale, white, 1, cv2.LINE_AA)
    cv2.putText(panel, highest, (row // 2 + bar_width - letters, line), _FONT, scale, white, 1, cv2.LINE_AA)
