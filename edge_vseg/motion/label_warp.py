"""Warp label maps along the motion: cheaper than warping class planes, whatever the number of classes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import FrameError
from edge_vseg.motion.field import sampling_grid, scaled_field
from edge_vseg.types import LabelMap, MotionField, Size


class LabelWarper:
    """Warps label maps of one size, and reuses its buffers.

    Where cells of the field have two pixels or more on a side, blocks of 2x2 pixels move as one: a quarter of the
    positions, each of which fetches four labels at once. Against a position for every pixel a thousandth of the pixels
    differ, on class borders. The cost does not grow with the number of classes; ``benchmarks/frame_cost.py`` measures
    it. A label map that is warped again and again is prepared once; make it read-only, and it is not even compared
    with what was prepared.

    Args:
        size_hw: Size of the label maps.
    """

    def __init__(self, size_hw: Size) -> None:
        self.size_hw = size_hw
        height, width = (size_hw[0] + 1) // 2, (size_hw[1] + 1) // 2
        self._blocks_hw = height, width
        self._motion = np.empty((height, width, 2), np.float32)
        self._positions = np.empty((height, width, 2), np.int16)
        # One more than the first pixel of each block: the prepared map has a margin.
        self._firsts = sampling_grid((height, width)) * np.float32(2) + np.float32(1)
        self._warped = np.empty((height, width), np.int32)
        self._prepared: tuple[LabelMap, LabelMap, NDArray[np.int32]] | None = None

    def __call__(self, labels: LabelMap, motion: MotionField) -> LabelMap:
        """Carry a label map into the present frame by backward warping, nearest neighbour.

        Args:
            labels: ``(H, W)`` uint8 class ids of the older frame.
            motion: ``(h, w, 2)`` float32 from the present to the older frame, in cells of its own size.

        Returns:
            ``(H, W)`` uint8, a new array; pixels from outside the older frame repeat its edge.

        Raises:
            FrameError: If the label map has another size.

        Reference: Zhu et al., Deep Feature Flow, CVPR 2017, eq. 3, on labels instead of features.
        """
        height, width = self.size_hw
        if labels.shape != self.size_hw:
            raise FrameError(f"expected a label map of {height}x{width}, got {labels.shape[0]}x{labels.shape[1]}")
        in_pixels = scaled_field(motion, (width / motion.shape[1], height / motion.shape[0]))
        if 2 * motion.shape[0] <= height and 2 * motion.shape[1] <= width:
            return self._by_blocks(labels, in_pixels)
        positions = cv2.resize(in_pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.add(positions, sampling_grid(self.size_hw), dst=positions)
        warped = cv2.remap(labels, positions, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(warped, np.uint8)

    def _by_blocks(self, labels: LabelMap, in_pixels: MotionField) -> LabelMap:
        blocks = self._prepare(labels)
        rows, columns = self._blocks_hw
        cv2.resize(in_pixels, (columns, rows), dst=self._motion, interpolation=cv2.INTER_LINEAR)
        cv2.add(self._motion, self._firsts, dst=self._positions, dtype=cv2.CV_16S)  # rounds
        cv2.remap(  # type: ignore[call-overload]
            blocks, self._positions, None, cv2.INTER_NEAREST, dst=self._warped, borderMode=cv2.BORDER_REPLICATE
        )
        warped = np.empty((2 * rows, 2 * columns), np.uint8)
        pairs = warped.view(np.uint16)
        cv2.split(self._warped.view(np.uint16).reshape(rows, columns, 2), (pairs[::2], pairs[1::2]))
        return np.ascontiguousarray(warped[: self.size_hw[0], : self.size_hw[1]])

    def _prepare(self, labels: LabelMap) -> NDArray[np.int32]:
        """The 2x2 labels that begin at each pixel, as one number: ``(H + 1, W + 1)``, from pixel (-1, -1) on."""
        if self._prepared is None or not self._is_prepared(labels):
            kept = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
            corners = cv2.merge((kept[:-1, :-1], kept[:-1, 1:], kept[1:, :-1], kept[1:, 1:]))
            self._prepared = labels, np.asarray(kept, np.uint8)[1:-1, 1:-1], corners.view(np.int32)[..., 0]
        return self._prepared[2]

    def _is_prepared(self, labels: LabelMap) -> bool:
        assert self._prepared is not None
        given, kept, _ = self._prepared
        # The caller may have drawn on the array since.
        return (labels is given and not labels.flags.writeable) or cv2.norm(labels, kept, cv2.NORM_INF) == 0
