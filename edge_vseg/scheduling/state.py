"""What is carried from older frames, each with the motion and the drift since its own frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import sampling_map
from edge_vseg.motion.warp import inside
from edge_vseg.scheduling.background import BackgroundRun
from edge_vseg.types import Logits, MotionField, Probabilities, Size, Tensor

RemapTables = tuple[cv2.typing.MatLike, cv2.typing.MatLike]
"""Sampling positions as :func:`cv2.convertMaps` gives them: made once per frame, used by every track."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionStep:
    """The motion of one frame, by which all tracks are extended.

    Attributes:
        motion: ``(h, w, 2)`` float32 field to the previous frame, in cells of the scores; ``None`` if nothing moved.
        tables: The field as remap tables.
        coarse_tables: The same in cells of the statistics.
        drift: ``(h', w')`` float32, drift that the frame adds.
    """

    motion: MotionField | None
    tables: RemapTables
    coarse_tables: RemapTables
    drift: NDArray[np.float32]

    @classmethod
    def of(
        cls, motion: MotionField, coarse: MotionField, drift: NDArray[np.float32], *, still: bool = False
    ) -> MotionStep:
        """Make a step from a field in cells of the scores and in cells of the statistics."""
        tables, coarse_tables = (cv2.convertMaps(*sampling_map(field), cv2.CV_16SC2) for field in (motion, coarse))
        return cls(motion=None if still else motion, tables=tables, coarse_tables=coarse_tables, drift=drift)


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """The motion from the current frame back to an older one.

    Attributes:
        field: ``(h, w, 2)`` float32 composed motion field in cells of the scores.
        drift: ``(h', w')`` float32, predicted share of wrong pixels by cell of the statistics.
        frames: Age of the older frame in frames.
        still: Whether nothing has moved since, so that nothing needs warping.
    """

    field: MotionField
    drift: NDArray[np.float32]
    frames: int = 0
    still: bool = True

    @classmethod
    def begin(cls, cells_hw: Size, statistics_hw: Size) -> Track:
        """Start at the current frame."""
        return cls(field=np.zeros((*cells_hw, 2), np.float32), drift=np.zeros(statistics_hw, np.float32))

    def copy(self) -> Track:
        """A copy that is extended by itself."""
        return replace(self)  # fields are replaced as they change, and never written to

    def extend(self, step: MotionStep | None) -> None:
        """Extend by one frame; ``None`` if no motion was estimated."""
        self.frames += 1
        if step is None:
            return
        if step.motion is not None:
            self.field = step.motion if self.still else step.motion + _remap(self.field, step.tables)
            self.still = False
        self.drift = np.asarray(np.minimum(_remap(self.drift, step.coarse_tables) + step.drift, 1), np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class ShownMap:
    """Class probabilities of an older frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32.
        track: Motion since that frame.
        ages: ``(h, w)`` float32, age in frames that each cell had in that frame already.
        logits: The network's own, if nothing was warped or fused into the probabilities.
    """

    probabilities: Probabilities
    track: Track
    ages: NDArray[np.float32]
    logits: Logits | None = None

    def ages_now(self) -> NDArray[np.float32]:
        """Age in frames by cell, ``(h, w)`` float32; one more where the motion leads out of the older frame."""
        if self.track.still:
            return self.ages + np.float32(self.track.frames)
        ages = self.ages
        if ages.any():
            x, y = sampling_map(self.track.field)
            # Nearest cell: an interpolated age belongs to no image.
            ages = np.asarray(cv2.remap(ages, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.float32)
        outside = ~inside(self.track.field)
        return np.asarray(ages + np.float32(self.track.frames) + outside, np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class CarriedContext:
    """Output of the context stage for an older frame.

    Attributes:
        tensors: Tensors by name.
        track: Motion since that frame.
    """

    tensors: dict[str, Tensor]
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class PartialRun:
    """A run of slices in progress.

    Attributes:
        tensors: All tensors so far, by name.
        done: Slices done.
        track: Motion since the frame that it runs on.
    """

    tensors: dict[str, Tensor]
    done: int
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class BackgroundKeyframe:
    """A keyframe on the worker thread.

    Attributes:
        run: The network at work on it.
        track: Motion since its frame.
    """

    run: BackgroundRun
    track: Track


def _remap(values: NDArray[np.float32], tables: RemapTables) -> NDArray[np.float32]:
    remapped = cv2.remap(values, *tables, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(remapped, np.float32)
