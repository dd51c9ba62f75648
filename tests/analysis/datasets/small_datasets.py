"""Small folders in the layouts of datasets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

SIZE_HW = (6, 8)


def picture(path: Path, value: int = 7) -> None:
    """An image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*SIZE_HW, 3), value, np.uint8))


def ids(path: Path, rows: list[int], dtype: type = np.uint8) -> None:
    """A label map whose rows have these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.repeat(np.array(rows, dtype)[:, None], SIZE_HW[1], axis=1))


def colors(path: Path, rows: list[tuple[int, int, int]]) -> None:
    """A coloured label map whose rows have these ``(r, g, b)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.repeat(np.array(rows, np.uint8)[:, None], SIZE_HW[1], axis=1)
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))


def document(path: Path, tree: object) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")
