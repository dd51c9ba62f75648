"""A frame with its truth."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edge_vseg.types import Image, LabelMap, MotionField

MAX_GAP_S = 0.34
MAX_FRAMES_CHECKED = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFrame:
    """A frame and its truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        labels: ``(H, W)`` uint8 class ids; 255 where nobody knows.
        name: The file's name without its suffix, or a number.
        clip: The drive or recording that it belongs to.
        time_s: When it was taken, in seconds of that recording; ``None`` if nobody knows.
        motion: As :attr:`~edge_vseg.types.Frame.motion` has it.
    """

    image: Image
    labels: LabelMap
    name: str = ""
    clip: str = ""
    time_s: float | None = None
    motion: MotionField | None = None


def follows(before: LabelledFrame, frame: LabelledFrame) -> bool:
    """Whether a frame comes so soon after another that motion leads from one to the other."""
    if before.clip != frame.clip or before.image.shape != frame.image.shape:
        return False
    if before.time_s is None or frame.time_s is None:
        return True
    return 0 < frame.time_s - before.time_s <= MAX_GAP_S


def labelled_rate(frames: Sequence[LabelledFrame]) -> float | None:
    """Labelled frames a second where they follow each other; ``None`` if they do not, or nobody knows."""
    steps = [
        after.time_s - before.time_s
        for before, after in pairwise(itertools.islice(frames, MAX_FRAMES_CHECKED))
        if before.time_s is not None and after.time_s is not None and follows(before, after)
    ]
    return 1 / statistics.median(steps) if steps else None
