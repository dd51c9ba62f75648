"""Labelled frames at the size that a network works at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.imaging.letterbox import resize_image
from edge_vseg.types import Size


class SizedFrames(Sequence[LabelledFrame]):
    """Frames of one size, resized when they are read: images by area as a bundle does it, labels by pixel centres.

    Attributes:
        indexed: The frames as they are on disk.
        size_hw: The size; another aspect stretches them.

    Args:
        indexed: The frames.
        size_hw: The size; ``None`` leaves each as it is.
    """

    def __init__(self, indexed: IndexedFrames, size_hw: Size | None) -> None:
        self.indexed = indexed
        self.size_hw = size_hw

    def __len__(self) -> int:
        return len(self.indexed)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...
    @overload
    def __getitem__(self, index: slice) -> SizedFrames: ...
    def __getitem__(self, index: int | slice) -> LabelledFrame | SizedFrames:
        """Read one frame, or make a part that is read later.

        Raises:
            DatasetError: If a file is unreadable, or image and label map differ in size.
        """
        if isinstance(index, slice):
            return SizedFrames(self.indexed[index], self.size_hw)
        frame = self.indexed[index]
        if self.size_hw is None:
            return frame
        return replace(
            frame,
            image=resize_image(frame.image, self.size_hw),
            labels=resize_labels(frame.labels, self.size_hw),
            confidence=None if frame.confidence is None else resize_labels(frame.confidence, self.size_hw),
        )
