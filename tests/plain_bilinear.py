"""Bilinear upsampling written down from the formulas of ONNX Resize, in float64 numpy."""

from __future__ import annotations

import numpy as np

ALIGNS = ("half_pixel", "align_corners", "asymmetric")


def upsample(planes: np.ndarray, size_hw: tuple[int, int], align: str) -> np.ndarray:
    """``(C, h, w)`` to ``(C, H, W)``."""
    _, height, width = planes.shape
    rows, columns = weights(height, size_hw[0], align), weights(width, size_hw[1], align)
    return np.einsum("yi,cij,xj->cyx", rows, planes.astype(np.float64), columns, optimize=True)


def weights(source: int, target: int, align: str) -> np.ndarray:
    """``(target, source)`` matrix: how much each source sample has in each target sample."""
    matrix = np.zeros((target, source))
    for i in range(target):
        if align == "half_pixel":
            place = (i + 0.5) * source / target - 0.5
        elif align == "align_corners":
            place = i * (source - 1) / (target - 1) if target > 1 else 0.0
        else:
            place = i * source / target
        place = min(max(place, 0.0), source - 1.0)
        first = int(place)
        matrix[i, first] += 1 - (place - first)
        if place > first:
            matrix[i, first + 1] += place - first
    return matrix


def assert_argmax(labels: np.ndarray, planes: np.ndarray, slack: float = 1e-5) -> None:
    """Labels must be the argmax of float64 planes, but where float32 cannot tell two scores apart."""
    best = planes.max(axis=0)
    taken = np.take_along_axis(planes, labels[None].astype(np.intp), axis=0)[0]
    assert (best - taken).max() <= slack * max(1.0, np.abs(planes).max())
