"""What is kept from older frames: each thing with the motion since its frame, and how far it has drifted."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.motion import carry_back, sampling_map
from edge_vseg.propagate import inside
from edge_vseg.types import MotionField, Scores, Size, Tensor


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """The way from the present back to some frame.

    Attributes:
        field: ``(h, w, 2)`` float32, the motion in cells of the scores.
        drift: ``(h', w')`` float32, predicted share of wrong pixels by cell of the signs.
        frames: How many frames ago that is.
        still: Whether nothing has moved yet, so that nothing needs warping.
    """

    field: MotionField
    drift: NDArray[np.float32]
    frames: int = 0
    still: bool = True

    @classmethod
    def begin(cls, cells_hw: Size, signs_hw: Size) -> Track:
        """At the present frame."""
        return cls(field=np.zeros((*cells_hw, 2), np.float32), drift=np.zeros(signs_hw, np.float32))

    def go_on(self, step: MotionField | None, coarse: MotionField | None, drift: NDArray[np.float32] | None) -> None:
        """One frame further.

        Args:
            step: ``(h, w, 2)``, the motion to the frame before in cells of the scores; ``None`` where it is not
                known.
            coarse: ``(h', w', 2)``, the same in cells of the signs.
            drift: ``(h', w')``, what the frame adds to the drift.
        """
        self.frames += 1
        if step is not None:
            self.field = step if self.still else carry_back(step, self.field)
            self.still = False
        if coarse is not None and drift is not None:
            came = cv2.remap(self.drift, *sampling_map(coarse), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            self.drift = np.asarray(np.minimum(came + drift, 1), np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class Memory:
    """Class probabilities of an older frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32.
        track: Where they have moved since.
        ages: ``(h, w)`` float32, frames by which a cell was older than that frame already.
        scores: What the network itself gave, if nothing else is in the probabilities.
    """

    probabilities: Scores
    track: Track
    ages: NDArray[np.float32]
    scores: Scores | None = None

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
class Context:
    """What the context slices gave for an older frame.

    Attributes:
        tensors: By name.
        track: Where they have moved since.
    """

    tensors: dict[str, Tensor]
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class Underway:
    """A chain of slices that was begun with an older frame and is not done.

    Attributes:
        values: All tensors that it has so far, by name.
        done: Slices done.
        track: Back to the frame that it began with.
    """

    values: dict[str, Tensor]
    done: int
    track: Track


@dataclass(slots=True, kw_only=True, eq=False)
class Launched:
    """A keyframe that a worker thread infers.

    Attributes:
        output: Its raw scores, when they are there.
        track: Back to its frame.
    """

    output: Future[Tensor]
    track: Track
