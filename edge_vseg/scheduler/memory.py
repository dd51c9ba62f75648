"""What is kept from older frames: each thing with the motion since its frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_vseg.motion import carry_back
from edge_vseg.types import MotionField, Scores, Size, Tensor


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """The motion from the present back to some frame.

    Attributes:
        field: ``(h, w, 2)`` float32 in cells.
        frames: How many frames ago that is.
        still: Whether nothing has moved yet, so that nothing needs warping.
    """

    field: MotionField
    frames: int = 0
    still: bool = True

    @classmethod
    def begin(cls, size_hw: Size) -> Track:
        """At the present frame."""
        return cls(field=np.zeros((*size_hw, 2), np.float32))

    def go_on(self, step: MotionField | None) -> None:
        """One frame further; ``step`` is the motion to the frame before, ``None`` where it is not known."""
        self.frames += 1
        if step is not None:
            self.field = step if self.still else carry_back(step, self.field)
            self.still = False


@dataclass(slots=True, kw_only=True, eq=False)
class Memory:
    """Class probabilities of an older frame.

    Attributes:
        probabilities: ``(C, h, w)`` float32.
        track: Where they have moved since.
    """

    probabilities: Scores
    track: Track


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
