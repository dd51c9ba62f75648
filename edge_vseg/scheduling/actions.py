"""Actions: everything that can be done for a frame. Policies choose from this closed union, the executor runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from edge_vseg.errors import OptionError

ALL_SLICES = 10**6
"""More slices than any network has."""


@dataclass(frozen=True, slots=True)
class Infer:
    """Run the whole network on this frame."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Run the stem and the detail stage on this frame, with the context carried from an older one (feature reuse)."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Run the next slices of the keyframe in progress; start one with this frame if there is none.

    Attributes:
        slices: Slices to run at most, 1 or more; default: all that are left.
        until_ms: Stop before a slice that would probably finish later than this, in ms from the frame's start.
    """

    slices: int = ALL_SLICES
    until_ms: float = math.inf

    def __post_init__(self) -> None:
        """Raise OptionError if there is no slice to run."""
        _check_slices(self.slices)


@dataclass(frozen=True, slots=True)
class Refresh:
    """Run the next slices of the context in progress; start one with this frame if there is none.

    A context starts with this frame's stem, which :class:`Detail` on the same frame shares.

    Attributes:
        slices: Slices to run at most, 1 or more; default: all that are left.
        until_ms: Stop before a slice that would probably finish later than this, in ms from the frame's start.
    """

    slices: int = ALL_SLICES
    until_ms: float = math.inf

    def __post_init__(self) -> None:
        """Raise OptionError if there is no slice to run."""
        _check_slices(self.slices)


@dataclass(frozen=True, slots=True)
class InferTiles:
    """Run the tile graph on crops of this frame and paste the results over the carried probabilities.

    Attributes:
        tiles: Tile numbers, as in :attr:`~edge_vseg.scheduling.situation.Situation.tile_drift`.
    """

    tiles: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise OptionError if there are no tiles, or one twice."""
        if not self.tiles or len(set(self.tiles)) != len(self.tiles):
            raise OptionError(f"tiles must be different and at least one, got {self.tiles}")


@dataclass(frozen=True, slots=True)
class Launch:
    """Hand this frame to the worker thread as a keyframe; the worker takes one at a time."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Take the worker's keyframe, propagated from its own frame to this one; waits until it is done."""


@dataclass(frozen=True, slots=True)
class Propagate:
    """Warp the last class probabilities along the motion."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Show the last label map again."""


Action: TypeAlias = Infer | InferTiles | Detail | Advance | Refresh | Launch | Collect | Propagate | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do for a frame.

    Attributes:
        actions: Run in this order. The label map comes from the last of :class:`Infer`, :class:`InferTiles`,
            :class:`Detail`, :class:`Propagate` and :class:`Hold`, or from a keyframe that :class:`Advance` finishes
            or :class:`Collect` takes.
        reason: Why, in a few words, for people.
        next_motion: Motion estimator for the next frame, whose motion is estimated before its decision; empty for
            the policy's own.
    """

    actions: tuple[Action, ...]
    reason: str = ""
    next_motion: str = ""

    def __str__(self) -> str:
        """For example ``advance 2, propagate: slice 4 of 8``."""
        return f"{', '.join(map(_describe, self.actions))}: {self.reason}"


def _describe(action: Action) -> str:
    match action:
        case Advance(slices=count) | Refresh(slices=count) if count < ALL_SLICES:
            return f"{type(action).__name__.lower()} {count}"
        case InferTiles(tiles=tiles):
            return f"infer {len(tiles)} tiles" if len(tiles) > 1 else "infer 1 tile"
        case _:
            return type(action).__name__.lower()


def _check_slices(slices: int) -> None:
    if slices < 1:
        raise OptionError(f"slices must be 1 or more, got {slices}")
