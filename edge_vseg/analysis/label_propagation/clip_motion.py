"""Motion between neighbouring frames of a clip, both ways, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import DatasetError
from edge_vseg.motion import motion_estimator
from edge_vseg.motion.composition import compose_fields
from edge_vseg.motion.field import remap_tables
from edge_vseg.motion.grey_pyramid import shrunk_size
from edge_vseg.motion.occlusion import agreement, return_gap
from edge_vseg.motion.warp import inside
from edge_vseg.types import Image, MotionField

FINEST = "dis-half"
"""The finest estimator that there is: labels are carried once, and no frame waits for them."""
Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedMotion:
    """Motion from a frame to an older or newer one of its clip, and what speaks against it.

    Attributes:
        field: ``(h, w, 2)`` float32 in cells of its own size.
        agreement: ``(h, w)`` float32 from 0 to 1: how alike the frames look along it; 0 where it leads outside.
        gap: ``(h, w)`` float32 in squared cells: how far from its start it ends, there and back.
        steps: Frames from the one to the other.
    """

    field: MotionField
    agreement: NDArray[np.float32]
    gap: NDArray[np.float32]
    steps: int = 1

    def then(self, further: CheckedMotion) -> CheckedMotion:
        """The motion to the frame that ``further`` leads to.

        Along the track the agreements are multiplied, and the gaps are added: errors that do not know each other.
        """
        tables = remap_tables(self.field)
        alike = cv2.remap(further.agreement, *tables, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        gap = cv2.remap(further.gap, *tables, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return CheckedMotion(
            field=compose_fields(self.field, further.field),
            agreement=self.agreement * np.asarray(alike, np.float32),
            gap=self.gap + np.asarray(gap, np.float32),
            steps=self.steps + further.steps,
        )


class ClipMotion:
    """Motion between the frames of a clip, by number; each pair is estimated once.

    Args:
        image: Gives the image of a frame, ``(H, W, 3)`` uint8 BGR.
        name: Names a frame, for messages.
        kept_frames: Frames whose small grey pictures and motion are remembered.
    """

    def __init__(
        self, image: Callable[[int], Image], name: Callable[[int], str] = str, *, kept_frames: int = 4
    ) -> None:
        self._image, self._name, self._kept = image, name, kept_frames
        self._estimate = motion_estimator(FINEST)
        self._greys: dict[int, Grey] = {}
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._fields: dict[tuple[int, int], MotionField] = {}

    def __call__(self, present: int, other: int) -> CheckedMotion:
        """The motion from a frame to the one before or after it.

        Raises:
            DatasetError: If the two differ in size.

        Reference: there and back as in Sundaram et al., ECCV 2010, section 3; see :mod:`edge_vseg.motion.occlusion`.
        """
        there, back = self._field(present, other), self._field(other, present)
        alike = agreement(self._grey(present), self._grey(other), there)
        return CheckedMotion(field=there, agreement=alike * inside(there), gap=return_gap(there, back))

    def _field(self, present: int, other: int) -> MotionField:
        key = present, other
        if key not in self._fields:
            first, second = self._grey(present), self._grey(other)
            if self._sizes[present] != self._sizes[other]:
                raise DatasetError(
                    f"{self._name(present)} is {self._sizes[present]}, and {self._name(other)} beside it"
                    f" {self._sizes[other]}; the frames of a clip have one size: put others into a clip of their own"
                )
            self._fields[key] = self._estimate(first, second)
            _forget(self._fields, 2 * self._kept)
        return self._fields[key]

    def _grey(self, index: int) -> Grey:
        if index not in self._greys:
            image = self._image(index)
            height, width = shrunk_size(image.shape[:2], self._estimate.shrink)
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            self._greys[index] = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
            self._sizes[index] = image.shape[:2]
            _forget(self._greys, self._kept)
        return self._greys[index]


def _forget(remembered: dict[Any, Any], count: int) -> None:
    """Drop the oldest."""
    while len(remembered) > count:
        del remembered[next(iter(remembered))]
