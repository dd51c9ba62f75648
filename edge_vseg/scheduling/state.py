"""What is kept from older frames: each thing with the motion since its frame, and how far it has drifted."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import sampling_map
from edge_vseg.motion.warp import inside
from edge_vseg.types import Logits, MotionField, Probabilities, Size, Tensor

RemapTables = tuple[cv2.typing.MatLike, cv2.typing.MatLike]
"""Where cells came from, as :func:`cv2.convertMaps` has it: made once a frame, used by every track."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionStep:
    """What all tracks learn of a frame.

    Attributes:
        motion: ``(h, w, 2)`` float32 to the frame before, in cells of the scores; ``None`` if nothing moved.
        tables: The same as tables.
        coarse_tables: The same in cells of the statistics.
        drift: ``(h', w')`` float32, what the frame adds to the drift.
    """

    motion: MotionField | None
    tables: RemapTables
    coarse_tables: RemapTables
    drift: NDArray[np.float32]

    @classmethod
    def of(
        cls, motion: MotionField, coarse: MotionField, drift: NDArray[np.float32], *, still: bool = False
    ) -> MotionStep:
        """A step along a field, given in cells of the scores and in cells of the statistics."""
        tables, coarse_tables = (cv2.convertMaps(*sampling_map(field), cv2.CV_16SC2) for field in (motion, coarse))
        return cls(motion=None if still else motion, tables=tables, coarse_tables=coarse_tables, drift=drift)


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """The way from the present back to some frame.

    Attributes:
        field: ``(h, w, 2)`` float32, the motion in cells of the scores.
        drift: ``(h', w')`` float32, predicted share of wrong pixels by cell of the statistics.
        frames: How many frames ago that is.
        still: Whether nothing has moved yet, so that nothing needs warping.
    """

    field: MotionField
    drift: NDArray[np.float32]
    frames: int = 0
    still: bool = True

    @classmethod
    def begin(cls, cells_hw: Size, statistics_hw: Size) -> Track:
        """At the present frame."""
        return cls(field=np.zeros((*cells_hw, 2), np.float32), drift=np.zeros(statistics_hw, np.float32))

    def copy(self) -> Track:
        """The same way, to go on by itself."""
        return replace(self)  # fields are replaced as they change, and never written to

    def go_on(self, step: MotionStep | None) -> None:
        """One frame further; ``None`` where nothing was looked at."""
        self.frames += 1
        if step is None:
            return
        if step.motion is not None:
            self.field = step.motion if self.still else step.motion + _moved(self.field, step.tables)
            self.still = False
        self.drift = np.asarray(np.minimum(_moved(self.drift, step.coarse_tables) + step.drift, 1), np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class ShownMap:
    """Class probabilities of an older frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32.
        track: Where they have moved since.
        ages: ``(h, w)`` float32, frames by which a cell was older than that frame already.
        logits: The network's own, if nothing was warped or fused into the probabilities.
    """

    probabilities: Probabilities
    track: Track
    ages: NDArray[np.float32]
    logits: Logits | None = None

    def ages_now(self) -> NDArray[np.float32]:
        """Age by cell in frames, ``(h, w)`` float32; a frame more where the motion leads out of the older frame."""
        if self.track.still:
            return self.ages + np.float32(self.track.frames)
        ages = self.ages
        if ages.any():
            x, y = sampling_map(self.track.field)
            # The nearest cell: ages in between belong to no image.
            ages = np.asarray(cv2.remap(ages, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.float32)
        outside = ~inside(self.track.field)
        return np.asarray(ages + np.float32(self.track.frames) + outside, np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class CarriedContext:
    """What the context slices gave for an older frame.

    Attributes:
        tensors: By name.
        track: Where they have moved since.
    """

    tensors: dict[str, Tensor]
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class PartialRun:
    """A chain of slices that was begun with an older frame and is not done.

    Attributes:
        values: All tensors that it has so far, by name.
        done: Slices done, of those that make up the chain.
        track: Back to the frame that it began with.
    """

    values: dict[str, Tensor]
    done: int
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class BackgroundKeyframe:
    """A keyframe that a worker thread infers.

    Attributes:
        output: Its raw scores, when they are there.
        track: Back to its frame.
    """

    output: Future[Tensor]
    track: Track


def _moved(values: NDArray[np.float32], tables: RemapTables) -> NDArray[np.float32]:
    moved = cv2.remap(values, *tables, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
