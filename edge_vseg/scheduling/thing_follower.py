"""Follow things through the frames since a keyframe, and write them where they come out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.labels import ids_by_name
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.motion.field import resize_field
from edge_vseg.motion.grey_pyramid import QUARTER, shrunk_size
from edge_vseg.motion.segment_memory import SegmentMemory, write_found
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.state import ShownMap
from edge_vseg.types import Image, LabelMap, MotionField, Size

KEPT_BYTES, MIN_PICTURES, MAX_PICTURES = 24_000_000, 24, 240
"""Of the small pictures that are kept, and how many these are: a keyframe of an older frame cannot be followed."""
CATCH_UP = 3
"""Looks at the frames between a keyframe's and the first one that shows it, that one included: more find no more."""


class ThingFollower:
    """Mends carried label maps: the segments of some classes are found by their looks where the motion lost them.

    Everything it writes comes from the keyframe that the map shows, and is as old as the rest of it.

    Args:
        classes: Ids of the classes that are followed.
        frame_hw: Size of the network's input.
    """

    def __init__(self, classes: Sequence[int], frame_hw: Size) -> None:
        self._memory = SegmentMemory(classes)
        self._picture_hw = shrunk_size(frame_hw, QUARTER)
        kept = KEPT_BYTES // (7 * self._picture_hw[0] * self._picture_hw[1])  # three bytes of colour, four of motion
        self._seen: deque[tuple[int, Image, NDArray[np.float16] | None]] = deque(
            maxlen=min(MAX_PICTURES, max(MIN_PICTURES, kept))
        )
        self._shown: ShownMap | None = None
        self._followed_to = 0

    def see(self, frame: int, image: Image, motion: MotionField | None) -> None:
        """Keep a small picture of a frame.

        Args:
            frame: Its number.
            image: ``(H, W, 3)`` uint8.
            motion: ``(h, w, 2)`` float32 in cells, to the frame before; ``None`` if it was not estimated.
        """
        height, width = self._picture_hw
        # Four samples a pixel are enough, and cost the same for any frame.
        half = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        picture = np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        field = None if motion is None else resize_field(motion, self._picture_hw).astype(np.float16)
        self._seen.append((frame, picture, field))

    def forget(self) -> None:
        """Forget all frames."""
        self._seen.clear()
        self._shown = None

    def mend(self, labels: LabelMap, shown: ShownMap, motion: MotionField) -> None:
        """Write what is found into the label map of the last frame seen.

        Args:
            labels: ``(H, W)`` uint8, warped from the map's own frame; written to.
            shown: The map, with its labels.
            motion: ``(h, w, 2)`` float32 from the frame to that of the map.
        """
        if shown is not self._shown:
            self._begin(shown)
        pending = [(frame, picture) for frame, picture, _ in self._seen if frame > self._followed_to]
        if not len(self._memory) or not pending:
            return
        count = min(CATCH_UP, len(pending))
        marks = [pending[(number + 1) * len(pending) // count - 1] for number in range(count)]
        for frame, picture in marks[:-1]:
            self._memory.look(picture, frame - self._followed_to)
            self._followed_to = frame
        frame, picture = marks[-1]
        field = resize_field(motion, self._picture_hw)
        write_found(labels, self._memory.find(picture, field, frame - self._followed_to), self._picture_hw)
        self._followed_to = frame

    def _begin(self, shown: ShownMap) -> None:
        """Remember the segments of another map's own frame; none, if that is gone, or the map is of several frames."""
        self._shown, self._followed_to = shown, shown.track.origin.frame
        self._memory.forget()
        if shown.cells is not None or shown.labels is None:
            return
        before = self._followed_to - 1
        for frame, picture, motion in self._seen:
            if frame == self._followed_to:
                # It may span frames that were dropped.
                field = None if motion is None else motion.astype(np.float32) / np.float32(frame - before)
                self._memory.remember(picture, resize_labels(shown.labels, self._picture_hw), field)
            before = frame


def follower_of(names: Sequence[str], labels: Sequence[Label], policy: Policy, frame_hw: Size) -> ThingFollower | None:
    """What follows the classes of these names; ``None`` for no names.

    Raises:
        OptionError: If a class is unknown, or the policy carries no label maps of whole frames.
    """
    if not names:
        return None
    ids = ids_by_name(labels)
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise OptionError(f"there is no class {unknown[0]!r} to follow; the bundle has {', '.join(ids)}")
    if not policy.motion or policy.needs in ("context", "tiles"):
        raise OptionError(
            f"policy {policy.name!r} carries no label maps of whole frames along the motion, in which things could be"
            " followed; choose deadline, async, fixed, adaptive or sliced, or leave out follow"
        )
    return ThingFollower([number for name in names for number in ids[name]], frame_hw)
