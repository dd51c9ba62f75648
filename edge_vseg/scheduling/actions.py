"""What can be done for a frame: the closed union that policies choose from and the scheduler carries out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from edge_vseg.errors import OptionError

MANY = 10**6
"""More slices than any network has."""


@dataclass(frozen=True, slots=True)
class Infer:
    """Run the whole network on this frame."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Run the stem and the detail stage on this frame, with the context carried over from an older one."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Run some slices of the keyframe under way; without one, this frame becomes it.

    Attributes:
        slices: How many at most, at least 1; by default all that are left.
        until_ms: None begins that would probably end later than so long after the frame's start.
    """

    slices: int = MANY
    until_ms: float = math.inf

    def __post_init__(self) -> None:
        """Refuse to run nothing."""
        _check(self.slices)


@dataclass(frozen=True, slots=True)
class Refresh:
    """Run some slices of the context under way.

    Without one, it begins with this frame's stem, which :class:`Detail` on the same frame shares.

    Attributes:
        slices: How many at most, at least 1; by default all that are left.
        until_ms: None begins that would probably end later than so long after the frame's start.
    """

    slices: int = MANY
    until_ms: float = math.inf

    def __post_init__(self) -> None:
        """Refuse to run nothing."""
        _check(self.slices)


@dataclass(frozen=True, slots=True)
class InferTiles:
    """Run the network on crops of this frame, and lay what they say over the carried probabilities.

    Attributes:
        tiles: Numbers of the tiles, as :attr:`Situation.tiles` has them.
    """

    tiles: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse to run nothing, or something twice."""
        if not self.tiles or len(set(self.tiles)) != len(self.tiles):
            raise OptionError(f"tiles must be different and at least one, got {self.tiles}")


@dataclass(frozen=True, slots=True)
class Launch:
    """Let a worker thread infer this frame while the next ones pass; one at a time."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Take what the worker has inferred, carried along the motion since its frame; waits if it is not done."""


@dataclass(frozen=True, slots=True)
class Propagate:
    """Carry the last class probabilities along the motion."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Show the last label map again."""


Action: TypeAlias = Infer | InferTiles | Detail | Advance | Refresh | Launch | Collect | Propagate | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is done for a frame.

    Attributes:
        actions: In order. The labels come from the last of :class:`Infer`, :class:`InferTiles`, :class:`Detail`,
            :class:`Propagate` and :class:`Hold` among them, and from a keyframe that :class:`Advance` finishes or
            :class:`Collect` takes.
        reason: Why, in a few words, for people.
        next_motion: Motion estimator for the next frame, which is looked at before anything is decided; empty for the
            policy's usual one.
    """

    actions: tuple[Action, ...]
    reason: str = ""
    next_motion: str = ""

    def __str__(self) -> str:
        """Such as ``advance 2, propagate: slice 4 of 8``."""
        return f"{', '.join(map(_say, self.actions))}: {self.reason}"


def _say(action: Action) -> str:
    match action:
        case Advance(slices=count) | Refresh(slices=count) if count < MANY:
            return f"{type(action).__name__.lower()} {count}"
        case InferTiles(tiles=tiles):
            return f"infer {len(tiles)} tiles" if len(tiles) > 1 else "infer 1 tile"
        case _:
            return type(action).__name__.lower()


def _check(slices: int) -> None:
    if slices < 1:
        raise OptionError(f"slices must be 1 or more, got {slices}")
