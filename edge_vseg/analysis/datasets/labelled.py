"""Frames with ground truth."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_vseg.types import Image, LabelMap, MotionField

MAX_GAP_S = 0.34
"""Longest time between consecutive frames of one clip: ten frames at 30 frames per second, and rounding."""
MAX_FRAMES_CHECKED = 60
"""Frames that the rate is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFrame:
    """A frame and its ground truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        labels: ``(H, W)`` uint8 class ids; 255 where the class is unknown.
        name: The file's name without its suffix, or a number.
        clip: Name of its recording.
        time_s: Its time in the recording, in seconds; ``None`` if unknown.
        confidence: ``(H, W)`` uint8, how sure each label is, 255 for wholly; ``None`` where all are.
        motion: Motion vectors of the codec, as in :attr:`~edge_vseg.types.Frame.motion`.
    """

    image: Image
    labels: LabelMap
    name: str = ""
    clip: str = ""
    time_s: float | None = None
    confidence: NDArray[np.uint8] | None = None
    motion: MotionField | None = None


def stands_alone(clip: str, name: str) -> bool:
    """Whether a frame is of no recording: layouts name the clip of a single image after it."""
    return not clip or f"/{clip}".endswith(f"/{name}")


def follows(previous: LabelledFrame, frame: LabelledFrame) -> bool:
    """Whether a frame follows another closely enough for optical flow between them."""
    if previous.clip != frame.clip or previous.image.shape != frame.image.shape:
        return False
    if previous.time_s is None or frame.time_s is None:
        return True
    return 0 < frame.time_s - previous.time_s <= MAX_GAP_S


def labelled_rate(frames: Sequence[LabelledFrame]) -> float | None:
    """Labelled frames per second; ``None`` if frames do not follow each other, or their times are unknown."""
    periods_s = [
        after.time_s - before.time_s
        for before, after in pairwise(itertools.islice(frames, MAX_FRAMES_CHECKED))
        if before.time_s is not None and after.time_s is not None and follows(before, after)
    ]
    return 1 / statistics.median(periods_s) if periods_s else None
