"""What a policy sees: where the video stands, and what actions cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MotionStatistics:
    """Statistics of the motion from the frame before to this one.

    Attributes:
        speed: Mean length of the motion, as a share of the frame's diagonal.
        spread: Mean distance from the mean motion, likewise: parallax and things that move by themselves.
        unexplained: Mean absolute grey difference, 0 to 1, that the motion leaves.
        changed: The same without moving anything.
    """

    speed: float = 0.0
    spread: float = 0.0
    unexplained: float = 0.0
    changed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Where the video stands at a frame, before anything is done for it.

    Attributes:
        number: Frames seen before this one.
        age: Frames since the image that the carried probabilities come from; ``None`` when there are none yet.
        drift: Predicted share of pixels in which the carried map has left the network's own.
        tiles: The same by tile; empty if the network cannot run on tiles.
        tile_ages: Age of the oldest cell of each tile, in frames.
        motion: This frame's motion; ``None`` if none was estimated.
        slices: Slices of the network; 0 if it has none.
        context: The first slice, and the one after the last, that may be old; ``None`` if there are none.
        context_age: Frames since the image that the carried context comes from; ``None`` when there is none.
        key_done: Slices done of the keyframe under way; 0 when there is none.
        key_age: Frames since that keyframe.
        refresh_done: Slices done of the context under way; 0 when there is none.
        refresh_age: Frames since the frame that it began with.
        launched_age: Frames since the one that a worker was given; ``None`` when it has none.
        launched_done: Whether the worker is done with it.
    """

    number: int
    age: int | None = None
    drift: float = 0.0
    tiles: tuple[float, ...] = ()
    tile_ages: tuple[float, ...] = ()
    motion: MotionStatistics | None = None
    slices: int = 0
    context: tuple[int, int] | None = None
    context_age: int | None = None
    key_done: int = 0
    key_age: int = 0
    refresh_done: int = 0
    refresh_age: int = 0
    launched_age: int | None = None
    launched_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Milliseconds that things take here, high quantiles and not means.

    Attributes:
        whole: The whole network, and what comes with its scores (softmax, fusion).
        slices: Each slice.
        tile: The network on one tile, with what comes with its scores.
        motions: Each motion estimator that has been used or is known of, by name.
        every: What every frame takes whatever is done: preprocessing, this frame's motion, bookkeeping, label map.
        before: What of that comes before a policy decides.
        motion: What of that is the motion.
        propagate: Carrying probabilities.
        fresh: What comes with fresh scores: softmax and fusion.
        carry: Carrying the context.
    """

    whole: float
    slices: tuple[float, ...] = ()
    tile: float = 0.0
    motions: Mapping[str, float] = field(default_factory=dict)
    every: float = 0.0
    before: float = 0.0
    motion: float = 0.0
    propagate: float = 0.0
    fresh: float = 0.0
    carry: float = 0.0
