"""Actions: everything that can be done for a frame, and for which lane. Policies choose, the engine executes.

The *frame lane* runs on the caller's thread, between a frame's arrival and its answer. The *background lane* runs
beside it, on a worker of low priority with sessions of its own.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from edge_vseg.errors import OptionError

ALL_SLICES = 10**6
"""More slices than any network has."""


class TextEnum(str, enum.Enum):
    """An enum whose members are their texts, as ``enum.StrEnum`` is from Python 3.11 on."""

    def __str__(self) -> str:
        """The text."""
        return str(self.value)


class Lane(TextEnum):
    """Where an action runs."""

    FRAME = "frame"
    BACKGROUND = "background"


class Work(TextEnum):
    """What the background lane makes of a frame."""

    KEYFRAME = "keyframe"
    """The whole network: a map, and where the network has a context stage, a context."""
    CONTEXT = "context"
    """Stem and context stage, for :class:`Detail` on later frames."""


@dataclass(frozen=True, slots=True)
class Infer:
    """Run the whole network on this frame."""

    lane: ClassVar[Lane] = Lane.FRAME


@dataclass(frozen=True, slots=True)
class Detail:
    """Run the stem and the detail stage on this frame, with the context carried from an older one (feature reuse)."""

    lane: ClassVar[Lane] = Lane.FRAME


@dataclass(frozen=True, slots=True)
class Advance:
    """Run the next slices of the keyframe in progress; start one with this frame if there is none.

    Attributes:
        slices: Slices to run at most, 1 or more; default: all that are left.
        until_ms: Stop before a slice that would probably finish later than this, in ms from the frame's start.
    """

    lane: ClassVar[Lane] = Lane.FRAME
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

    lane: ClassVar[Lane] = Lane.FRAME
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

    lane: ClassVar[Lane] = Lane.FRAME
    tiles: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise OptionError if there are no tiles, or one twice."""
        if not self.tiles or len(set(self.tiles)) != len(self.tiles):
            raise OptionError(f"tiles must be different and at least one, got {self.tiles}")


@dataclass(frozen=True, slots=True)
class Launch:
    """Start on this frame in the background, which takes one frame at a time.

    Attributes:
        work: What to make of it.
    """

    lane: ClassVar[Lane] = Lane.BACKGROUND
    work: Work = Work.KEYFRAME


@dataclass(frozen=True, slots=True)
class Collect:
    """Take what the background has made, carried from its own frame to this one; waits until it is done."""

    lane: ClassVar[Lane] = Lane.BACKGROUND


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop what the background has under way; it stops before its next slice."""

    lane: ClassVar[Lane] = Lane.BACKGROUND


@dataclass(frozen=True, slots=True)
class Propagate:
    """Warp the last class probabilities along the motion."""

    lane: ClassVar[Lane] = Lane.FRAME


@dataclass(frozen=True, slots=True)
class Consult:
    """Run the companion on this frame, and fuse its probabilities with the carried ones, for this frame alone.

    What is carried stays as it is: the companion's probabilities would else be fused once more on every frame.
    """

    lane: ClassVar[Lane] = Lane.FRAME


@dataclass(frozen=True, slots=True)
class Hold:
    """Show the last carried map again, as it was last shown."""

    lane: ClassVar[Lane] = Lane.FRAME


Action: TypeAlias = (
    Infer | InferTiles | Detail | Advance | Refresh | Launch | Collect | Cancel | Propagate | Consult | Hold
)
"""The closed union of actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do for a frame.

    Attributes:
        actions: Run in this order. The label map comes from the last of :class:`Infer`, :class:`InferTiles`,
            :class:`Detail`, :class:`Propagate` and :class:`Hold`, or from a keyframe that :class:`Advance` finishes
            or :class:`Collect` takes; :class:`Consult` fuses it with the companion's.
        reason: Why, in a few words, for people.
        next_motion: Motion estimator for the next frame, whose motion is estimated before its decision; empty for
            the policy's own.
        over_budget: Whether the policy expects to miss the deadline, because nothing that fits will do.
    """

    actions: tuple[Action, ...]
    reason: str = ""
    next_motion: str = ""
    over_budget: bool = False

    @property
    def summary(self) -> str:
        """The kinds of the actions, such as ``advance, propagate``: the same for any number of slices or tiles."""
        return ", ".join(dict.fromkeys(_kind(action) for action in self.actions))

    def __str__(self) -> str:
        """For example ``advance 2, propagate: slice 4 of 8``."""
        return f"{', '.join(map(_describe, self.actions))}: {self.reason}"


def _describe(action: Action) -> str:
    match action:
        case Advance(slices=count) | Refresh(slices=count) if count < ALL_SLICES:
            return f"{_kind(action)} {count}"
        case InferTiles(tiles=tiles):
            return f"infer {len(tiles)} tiles" if len(tiles) > 1 else "infer 1 tile"
        case Launch(work=Work.CONTEXT):
            return "launch context"
        case _:
            return _kind(action)


def _kind(action: Action) -> str:
    return "infer tiles" if isinstance(action, InferTiles) else type(action).__name__.lower()


def _check_slices(slices: int) -> None:
    if slices < 1:
        raise OptionError(f"slices must be 1 or more, got {slices}")
