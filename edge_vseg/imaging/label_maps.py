"""Label maps from a graph's raw output.

``argmax`` over upsampled scores costs as much as a whole small network. Plane by plane with OpenCV's vectorised resize,
compare and max it is several times cheaper, with the same result.
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
"""Share of border cells above which interpolating every pixel is no slower."""

_Taps: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def read_logits(raw: Tensor, spec: TensorSpec, head: HeadSpec) -> Logits | None:
    """Read a graph's raw output as ``(C, h, w)`` float32 logits; the largest channel wins.

    A single foreground channel ``p`` becomes two: ``threshold - p`` and ``p - threshold``.

    Args:
        raw: The runtime's output, quantized or float.
        spec: Its shape, layout and quantization.
        head: The kind of head.

    Returns:
        The logits; ``None`` for a head that gives finished label maps.

    Raises:
        FrameError: If the output does not have the spec's layout.
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
    """The ``(h, w)`` uint8 label map of a graph whose head gives finished label maps."""
    return np.ascontiguousarray(_planes(raw, spec, head.size_hw)[0]).astype(np.uint8)


class LabelMapper:
    """Upsamples class scores to label maps of one size, reusing its buffers.

    Args:
        size_hw: Size of the label maps.
        align: Sampling grid of the network's own upsampling: ``half_pixel``, ``align_corners``, ``asymmetric`` (as ONNX
            Resize defines them) or ``nearest``.
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
        self._labels: LabelMap | None = None
        self._scratch = [np.empty(0, np.float32), np.empty(0, np.float32)]

    def __call__(self, scores: Logits | Probabilities) -> LabelMap:
        """Upsample bilinearly and take the largest class at each pixel.

        Args:
            scores: ``(C, h, w)`` float32 logits or probabilities, C at most 255.

        Returns:
            ``(H, W)`` uint8, a new array; on ties the lower class id wins, as in ``argmax``.
        """
        if self._align == "nearest":
            return resize_labels(scores.argmax(0).astype(np.uint8), self._size_hw)
        if self._align == "half_pixel" and (factors := _integer_factors(scores.shape[1:], self._size_hw)):
            return self._interpolate_borders(scores, factors)
        return self._interpolate_all(scores)

    def _interpolate_all(self, scores: Logits | Probabilities) -> LabelMap:
        self._upsample(scores[0], self._best)
        labels = np.zeros(self._size_hw, np.uint8)
        for class_id in range(1, len(scores)):
            self._upsample(scores[class_id], self._plane)
            cv2.compare(self._plane, self._best, cv2.CMP_GT, dst=self._wins)
            cv2.max(self._best, self._plane, dst=self._best)
            # Ids ascend: where this class wins, its id is the largest so far, so max() overwrites.
            self._id.fill(class_id)
            cv2.min(self._wins, self._id, dst=self._wins)  # several times faster than np.minimum with a number
            cv2.max(labels, self._wins, dst=labels)
        return labels

    def _interpolate_borders(self, scores: Logits | Probabilities, factors: Size) -> LabelMap:
        """Interpolate only between cells whose classes differ.

        A class that wins at all four cells around a pixel wins at the pixel, too: interpolation keeps an order that all
        four share. In street scenes that leaves a twelfth of the pixels.
        """
        coarse = best_class(scores)
        # Beyond the outermost cells their values continue.
        padded = cv2.copyMakeBorder(coarse, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        top, left = padded[:-1], padded[:, :-1]
        is_border = (left[:-1] != padded[:-1, 1:]) | (left[1:] != padded[1:, 1:]) | (top[:, :-1] != padded[1:, :-1])
        rows, columns = np.nonzero(is_border)
        if len(rows) > MAX_BORDER_SHARE * is_border.size:
            return self._interpolate_all(scores)
        down, across = factors
        # Cells reach over the image edge by half their size; a margin of that width avoids clipping.
        with_margin = self._label_buffer(factors)
        labels = with_margin[down:-down, across:-across]
        cv2.resize(coarse, (labels.shape[1], labels.shape[0]), dst=labels, interpolation=cv2.INTER_NEAREST_EXACT)
        if len(rows) == 0:
            return labels.copy()
        flat = scores.reshape(len(scores), -1)
        height, width = coarse.shape
        above, below = np.maximum(rows - 1, 0) * width, np.minimum(rows, height - 1) * width
        before, after = np.maximum(columns - 1, 0), np.minimum(columns, width - 1)
        corners, interpolated = self._corner_buffers(len(scores), len(rows), down * across)
        for number, (row, column) in enumerate(itertools.product((above, below), (before, after))):
            np.take(flat, row + column, 1, out=corners[number], mode="clip")
        # einsum without BLAS: its threads would wait for the runtime's, ten times as long as this takes.
        border_labels = best_class(np.einsum("kcn,kp->cnp", corners, _bilinear_weights(factors), out=interpolated))
        y, x = rows * down + down + _first_offset(down), columns * across + across + _first_offset(across)
        stride = with_margin.shape[1]
        inner = (np.arange(down)[:, None] * stride + np.arange(across)).ravel()
        with_margin.reshape(-1)[(y * stride + x)[:, None] + inner] = border_labels
        return labels.copy()

    def _label_buffer(self, factors: Size) -> LabelMap:
        shape = (self._size_hw[0] + 2 * factors[0], self._size_hw[1] + 2 * factors[1])
        if self._labels is None or self._labels.shape != shape:
            self._labels = np.empty(shape, np.uint8)
        return self._labels

    def _corner_buffers(self, classes: int, count: int, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scratch arrays: scores at the four corners of ``count`` cells, and at the pixels between them.

        Reused, because the kernel clears the pages of a new array, which takes longer than filling them.
        """
        sizes = 4 * classes * count, classes * count * pixels
        for at, size in enumerate(sizes):
            if self._scratch[at].size < size:
                self._scratch[at] = np.empty(size + size // 4, np.float32)
        corners, interpolated = (array[:size] for array, size in zip(self._scratch, sizes, strict=True))
        return corners.reshape(4, classes, count), interpolated.reshape(classes, count, pixels)

    def _upsample(self, plane: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        height, width = self._size_hw
        if plane.shape == self._size_hw:
            np.copyto(out, plane)
        elif self._align == "half_pixel":
            cv2.resize(plane, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
        else:
            # cv2.warpAffine and cv2.remap round coordinates to 1/32 pixel, which moves class borders.
            if self._taps is None or self._taps[0] != plane.shape:
                sizes = zip(plane.shape, self._size_hw, strict=True)
                rows, columns = (_linear_taps(source, target, self._align) for source, target in sizes)
                self._taps = plane.shape, rows, columns
            _, (top, bottom, down), (left, right, across) = self._taps
            wide = plane[:, left] + (plane[:, right] - plane[:, left]) * across
            # mode="raise" would make numpy copy first: five times slower.
            np.take(wide, bottom, axis=0, out=self._step, mode="clip")
            np.take(wide, top, axis=0, out=out, mode="clip")
            np.subtract(self._step, out, out=self._step)
            np.multiply(self._step, down[:, None], out=self._step)
            np.add(out, self._step, out=out)


def best_class(planes: NDArray[np.float32]) -> LabelMap:
    """``argmax`` over the classes, several times faster than numpy's.

    Args:
        planes: ``(C, h, w)`` float32, C at most 255.

    Returns:
        ``(h, w)`` uint8; on ties the lower class wins.
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


def _integer_factors(source: tuple[int, ...], target: Size) -> Size | None:
    """Pixels per cell in each direction, if both are integers of at least 2."""
    down, across = target[0] // source[0], target[1] // source[1]
    exact = (source[0] * down, source[1] * across) == target
    return (down, across) if exact and min(down, across) >= 2 else None


def _first_offset(factor: int) -> int:
    """Offset from a cell's first pixel to the first pixel past the previous cell's centre."""
    return (factor - 1) // 2 + 1 - factor


@functools.lru_cache(maxsize=8)
def _bilinear_weights(factors: Size) -> NDArray[np.float32]:
    """``(4, pixels)`` weights of four cells for the pixels between them."""
    down, across = ((np.arange(factor) + _first_offset(factor) + 0.5) / factor + 0.5 for factor in factors)
    pairs = [np.outer(v, h).ravel() for v in (1 - down, down) for h in (1 - across, across)]
    return np.stack(pairs).astype(np.float32)


def resize_labels(labels: LabelMap, size_hw: Size) -> LabelMap:
    """Resize a label map, nearest neighbour by pixel centres."""
    if labels.shape == size_hw:
        return labels
    return cast(LabelMap, cv2.resize(labels, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def _linear_taps(source: int, target: int, align: str) -> _Taps:
    """Per target pixel of one axis: its two source indices and the weight of the second, as in ONNX Resize."""
    trim = 1 if align == "align_corners" else 0
    positions = np.arange(target) * ((source - trim) / max(target - trim, 1))
    first = positions.astype(np.intp)
    return first, np.minimum(first + 1, source - 1), (positions - first).astype(np.float32)


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
                raise FrameError(
                    f"expected an output of {size_hw[0]}x{size_hw[1]} values, got {values.size};"
                    " export the bundle again"
                )
            return values.reshape(1, *size_hw)
        case "any":
            raise FrameError(
                f"expected logits or a label map, got a tensor of shape {values.shape} in layout 'any'; export the"
                " bundle again"
            )
