"""Label maps from a graph's raw output.

``argmax`` over upsampled scores costs as much as a whole small network. Plane by plane with OpenCV's vectorised resize,
compare and max it is several times cheaper, with the same result.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import HeadSpec, TensorSpec
from edge_vseg.errors import FrameError, SessionError
from edge_vseg.imaging.border_labels import BorderLabels, best_class, sample_places
from edge_vseg.imaging.guided_filter import Grey
from edge_vseg.types import IGNORE_ID, LabelMap, Logits, Probabilities, Size, Tensor

__all__ = ["LabelMapper", "best_class", "read_label_map", "read_logits", "resize_labels"]

_Taps: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def read_logits(raw: Tensor, spec: TensorSpec, head: HeadSpec) -> Logits | None:
    """Read a graph's raw output as ``(C, h, w)`` float32 scores; the largest channel wins.

    They are logits, or what :func:`~edge_vseg.imaging.class_probabilities.class_probabilities` makes probabilities of.
    A single foreground channel ``z`` becomes two, half of ``threshold - z`` and of ``z - threshold``: the softmax of
    logits is then their sigmoid.

    Args:
        raw: The runtime's output, quantized or float.
        spec: Its shape, layout and quantization.
        head: The kind of head.

    Returns:
        The scores; ``None`` for a head that gives finished label maps.

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
        margin = (planes[0] - np.float32(head.threshold)) / 2
        planes = np.stack((-margin, margin))
    return np.ascontiguousarray(planes, dtype=np.float32)


def read_label_map(raw: Tensor, spec: TensorSpec, head: HeadSpec, classes: int | None = None) -> LabelMap:
    """The ``(h, w)`` uint8 label map of a graph whose head gives finished label maps.

    Args:
        raw: The runtime's output.
        spec: Its shape and layout.
        head: The kind of head.
        classes: Number of classes; ``None`` to let any id from 0 to 255 pass.

    Raises:
        FrameError: If the output does not have the spec's layout.
        SessionError: If a value is no class id: it would become another one in 8 bits, or the bundle has no such class.
    """
    plane = np.ascontiguousarray(_planes(raw, spec, head.size_hw)[0])
    labels = plane.astype(np.uint8, casting="unsafe") if _may_be_ids(plane) else None
    if labels is None or not np.array_equal(labels, plane):
        raise SessionError("the network gives values that are no class ids, 0 to 255; export the bundle again")
    if classes is not None and int(labels.max()) >= classes:
        unknown = labels[(labels >= classes) & (labels != IGNORE_ID)]
        if unknown.size:
            raise SessionError(
                f"the network gives {unknown.max()} in {unknown.size} of {labels.size} places, which is no class id:"
                f" the bundle has {classes} classes, 0 to {classes - 1}, and {IGNORE_ID} for none; export it again with"
                " all classes of the network"
            )
    return labels


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
        self._borders: BorderLabels | None = None

    def __call__(self, scores: Logits | Probabilities, guide: Grey | None = None) -> LabelMap:
        """Upsample bilinearly and take the largest class at each pixel.

        Args:
            scores: ``(C, h, w)`` float32 logits or probabilities, C at most 255.
            guide: ``uint8`` grey image of any size, along whose edges borders between classes run; left out where the
                scores are not at least twice as small as the label map in both directions, or are sampled ``nearest``.

        Returns:
            ``(H, W)`` uint8, a new array; on ties the lower class id wins, as in ``argmax``.
        """
        if self._align == "nearest":
            return resize_labels(scores.argmax(0).astype(np.uint8), self._size_hw)
        source_hw: Size = scores.shape[1:]
        if 2 * source_hw[0] <= self._size_hw[0] and 2 * source_hw[1] <= self._size_hw[1]:
            if self._borders is None or self._borders.source_hw != source_hw:
                self._borders = BorderLabels(source_hw, self._size_hw, self._align)
            if guide is not None and guide.shape != self._size_hw:  # a letterbox: all that the network sees
                guide = cast(Grey, cv2.resize(guide, self._size_hw[::-1], interpolation=cv2.INTER_LINEAR))
            labels = self._borders(scores, guide)
            if labels is not None:
                return labels
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


def resize_labels(labels: LabelMap, size_hw: Size) -> LabelMap:
    """Resize a label map, nearest neighbour by pixel centres."""
    if labels.shape == size_hw:
        return labels
    return cast(LabelMap, cv2.resize(labels, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def _may_be_ids(plane: Tensor) -> bool:
    # Before the cast, for that of NaN or 1e9 to 8 bits is undefined.
    return bool(plane.min() >= 0 and plane.max() <= np.iinfo(np.uint8).max)


def _linear_taps(source: int, target: int, align: str) -> _Taps:
    """Per target pixel of one axis: its two source indices and the weight of the second, as in ONNX Resize."""
    positions = sample_places(source, target, align)
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
