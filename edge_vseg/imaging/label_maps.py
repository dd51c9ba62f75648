"""From a graph's raw output to class scores and a label map.

A plain ``argmax`` over upsampled scores costs as much as a whole small network. Going through the
classes one plane at a time with OpenCV's vectorised resize, compare and max is several times cheaper
and gives the same map.
"""

from __future__ import annotations

import functools
import itertools
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec, TensorSpec
from edge_vseg.errors import FrameError
from edge_vseg.types import LabelMap, Logits, Probabilities, Size, Tensor

MAX_BORDER_SHARE = 0.4
"""Share of places where classes meet from which on interpolating everywhere is no slower."""

_Taps: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def read_logits(raw: Tensor, spec: TensorSpec, head: HeadSpec) -> Logits | None:
    """Bring a graph's output to ``(C, h, w)`` float32 scores whose largest channel wins.

    A foreground channel becomes two: ``threshold - p`` and ``p - threshold``.

    Args:
        raw: The output as the runtime gave it.
        spec: What the manifest says about it.
        head: What kind of head it is.

    Returns:
        The scores; ``None`` for a head that gives a finished label map.
    """
    if head.kind == "labels":
        return None
    values = raw
    if spec.quantization is not None:
        values = (raw.astype(np.float32) - spec.quantization.zero_point) * np.float32(spec.quantization.scale)
    planes = _planes(values, spec, head.size_hw)
    if head.kind == "foreground":
        margin = planes[0] - np.float32(head.threshold)
        planes = np.stack((-margin, margin))
    return np.ascontiguousarray(planes, dtype=np.float32)


def read_label_map(raw: Tensor, spec: TensorSpec, head: HeadSpec) -> LabelMap:
    """The finished ``(h, w)`` uint8 label map of a graph whose head is of kind ``labels``."""
    return np.ascontiguousarray(_planes(raw, spec, head.size_hw)[0]).astype(np.uint8)


class LabelMapper:
    """Makes label maps of one size from low-resolution scores, reusing its buffers.

    Args:
        size_hw: Size of the label maps.
        align: How the network's own upsampling places samples: ``half_pixel`` (pixel centres),
            ``align_corners`` or ``asymmetric`` (both as ONNX Resize defines them), or ``nearest``.
    """

    def __init__(self, size_hw: Size, align: str = "half_pixel") -> None:
        self._size_hw = size_hw
        self._align = align
        self._step = np.empty(size_hw, np.float32)
        self._taps: tuple[tuple[int, ...], _Taps, _Taps] | None = None
        self._best = np.empty(size_hw, np.float32)
        self._plane = np.empty(size_hw, np.float32)
        self._wins = np.empty(size_hw, np.uint8)
        self._id = np.empty(size_hw, np.uint8)
        self._framed: LabelMap | None = None
        self._kept = [np.empty(0, np.float32), np.empty(0, np.float32)]

    def __call__(self, scores: Logits | Probabilities) -> LabelMap:
        """Upsample the scores bilinearly and take the largest class at each pixel.

        Args:
            scores: ``(C, h, w)`` float32, C at most 255.

        Returns:
            ``(H, W)`` uint8, a new array; of equal scores the lower class id wins, as in ``argmax``.
        """
        if self._align == "nearest":
            return resize_labels(scores.argmax(0).astype(np.uint8), self._size_hw)
        if self._align == "half_pixel" and (factors := _whole_factors(scores.shape[1:], self._size_hw)):
            return self._along_borders(scores, factors)
        return self._everywhere(scores)

    def _everywhere(self, scores: Logits | Probabilities) -> LabelMap:
        self._upsample(scores[0], self._best)
        labels = np.zeros(self._size_hw, np.uint8)
        for class_id in range(1, len(scores)):
            self._upsample(scores[class_id], self._plane)
            cv2.compare(self._plane, self._best, cv2.CMP_GT, dst=self._wins)
            cv2.max(self._best, self._plane, dst=self._best)
            # Ids rise, so where this class wins its id is above whatever stood there: max() overwrites.
            self._id.fill(class_id)
            cv2.min(self._wins, self._id, dst=self._wins)  # several times faster than np.minimum with a number
            cv2.max(labels, self._wins, dst=labels)
        return labels

    def _along_borders(self, scores: Logits | Probabilities, factors: Size) -> LabelMap:
        """Interpolate only between samples whose classes differ.

        Where a class wins at all four samples around a pixel it wins in between, for interpolation cannot change an
        order that all four agree on. A twelfth of a street's pixels are left.
        """
        low = best_class(scores)
        # An edge of its own all around: beyond the outermost samples their values go on.
        padded = cv2.copyMakeBorder(low, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        top, left = padded[:-1], padded[:, :-1]
        mixed = (left[:-1] != padded[:-1, 1:]) | (left[1:] != padded[1:, 1:]) | (top[:, :-1] != padded[1:, :-1])
        rows, columns = np.nonzero(mixed)
        if len(rows) > MAX_BORDER_SHARE * mixed.size:
            return self._everywhere(scores)
        down, across = factors
        # Cells reach over the edge by half their size; a frame of that width spares asking which do.
        wide = self._wide(factors)
        labels = wide[down:-down, across:-across]
        cv2.resize(low, (labels.shape[1], labels.shape[0]), dst=labels, interpolation=cv2.INTER_NEAREST_EXACT)
        if len(rows) == 0:
            return labels.copy()
        flat = scores.reshape(len(scores), -1)
        above, below = np.maximum(rows - 1, 0) * low.shape[1], np.minimum(rows, low.shape[0] - 1) * low.shape[1]
        before, after = np.maximum(columns - 1, 0), np.minimum(columns, low.shape[1] - 1)
        corners, between = self._buffers(len(scores), len(rows), down * across)
        for number, (row, column) in enumerate(itertools.product((above, below), (before, after))):
            np.take(flat, row + column, 1, out=corners[number], mode="clip")
        # Not by BLAS: its threads would wait for those of the runtime, ten times as long as this takes.
        found = best_class(np.einsum("kcn,kp->cnp", corners, _weights(factors), out=between))
        y, x = rows * down + down + _start(down), columns * across + across + _start(across)
        inner = (np.arange(down)[:, None] * wide.shape[1] + np.arange(across)).ravel()
        wide.reshape(-1)[(y * wide.shape[1] + x)[:, None] + inner] = found
        return labels.copy()

    def _wide(self, factors: Size) -> LabelMap:
        shape = (self._size_hw[0] + 2 * factors[0], self._size_hw[1] + 2 * factors[1])
        if self._framed is None or self._framed.shape != shape:
            self._framed = np.empty(shape, np.uint8)
        return self._framed

    def _buffers(self, classes: int, count: int, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores at four corners of so many places, and at the pixels between them.

        New arrays of this size come as pages that the kernel has to clear first, which takes longer than filling them.
        """
        need = 4 * classes * count, classes * count * pixels
        for at, size in enumerate(need):
            if self._kept[at].size < size:
                self._kept[at] = np.empty(size + size // 4, np.float32)
        corners, between = (kept[:size] for kept, size in zip(self._kept, need, strict=True))
        return corners.reshape(4, classes, count), between.reshape(classes, count, pixels)

    def _upsample(self, plane: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        height, width = self._size_hw
        if plane.shape == self._size_hw:
            np.copyto(out, plane)
        elif self._align == "half_pixel":
            cv2.resize(plane, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
        else:
            # cv2.warpAffine and cv2.remap round coordinates to 1/32 of a pixel, which moves class borders.
            if self._taps is None or self._taps[0] != plane.shape:
                rows, columns = (_sampling(s, t, self._align) for s, t in zip(plane.shape, self._size_hw, strict=True))
                self._taps = plane.shape, rows, columns
            _, (top, bottom, down), (left, right, across) = self._taps
            wide = plane[:, left] + (plane[:, right] - plane[:, left]) * across
            # With mode="raise" numpy goes through a copy, five times slower.
            np.take(wide, bottom, axis=0, out=self._step, mode="clip")
            np.take(wide, top, axis=0, out=out, mode="clip")
            np.subtract(self._step, out, out=self._step)
            np.multiply(self._step, down[:, None], out=self._step)
            np.add(out, self._step, out=out)


def best_class(planes: NDArray[np.float32]) -> LabelMap:
    """The class with the largest value: an ``argmax`` over the first axis, several times faster.

    Args:
        planes: ``(C, h, w)`` float32, C at most 255.

    Returns:
        ``(h, w)`` uint8; of equal values the lower class wins.
    """
    best = planes[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    wins, number = np.empty_like(labels), np.empty_like(labels)
    for class_id in range(1, len(planes)):
        cv2.compare(planes[class_id], best, cv2.CMP_GT, dst=wins)
        cv2.max(best, planes[class_id], dst=best)
        number.fill(class_id)
        cv2.min(wins, number, dst=wins)  # several times faster than np.minimum with a number
        cv2.max(labels, wins, dst=labels)
    return labels


def _whole_factors(source: tuple[int, ...], target: Size) -> Size | None:
    """How many pixels a sample has in each direction, if that is a whole number from 2 on."""
    down, across = target[0] // source[0], target[1] // source[1]
    whole = (source[0] * down, source[1] * across) == target
    return (down, across) if whole and min(down, across) >= 2 else None


def _start(factor: int) -> int:
    """Where, from the first pixel of a sample, the pixels begin that lie past the middle of the sample before."""
    return (factor - 1) // 2 + 1 - factor


@functools.lru_cache(maxsize=8)
def _weights(factors: Size) -> NDArray[np.float32]:
    """``(4, pixels)`` weights of four samples for the pixels between them."""
    down, across = ((np.arange(factor) + _start(factor) + 0.5) / factor + 0.5 for factor in factors)
    pairs = [np.outer(v, h).ravel() for v in (1 - down, down) for h in (1 - across, across)]
    return np.stack(pairs).astype(np.float32)


def resize_labels(labels: LabelMap, size_hw: Size) -> LabelMap:
    """Stretch a label map to another size, nearest neighbour by pixel centres."""
    if labels.shape == size_hw:
        return labels
    return cast(LabelMap, cv2.resize(labels, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def _sampling(source: int, target: int, align: str) -> _Taps:
    """For each target pixel of an axis its two neighbours and the weight of the second, as ONNX Resize has it."""
    less = 1 if align == "align_corners" else 0
    places = np.arange(target) * ((source - less) / max(target - less, 1))
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, source - 1), (places - first).astype(np.float32)


def _planes(values: Tensor, spec: TensorSpec, size_hw: Size) -> Tensor:
    match spec.layout:
        case "NCHW":
            return cast(Tensor, values[0])
        case "NHWC":
            return np.moveaxis(values[0], -1, 0)
        case "NHW":
            return values
        case "flat":
            if values.size != size_hw[0] * size_hw[1]:
                raise FrameError(f"a flat output of {values.size} values is no {size_hw[0]}x{size_hw[1]} map")
            return values.reshape(1, *size_hw)
        case "any":
            raise FrameError(f"a tensor of shape {values.shape} is no label map and no scores")
