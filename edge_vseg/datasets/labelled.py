"""A frame with its truth."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.types import Image, LabelMap, MotionField


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFrame:
    """A frame and its truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        labels: ``(H, W)`` uint8 class ids; 255 where nobody knows.
        name: The file's name without its suffix, or a number.
        motion: As :attr:`~edge_vseg.types.Frame.motion` has it.
    """

    image: Image
    labels: LabelMap
    name: str = ""
    motion: MotionField | None = None
