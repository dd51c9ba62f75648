"""Divide a split that is alone: a part of it is set aside to judge by what learns from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames
from edge_vseg.analysis.datasets.labelled import stands_alone

PART = 4
"""About one in so many frames is set aside."""
LEAST_FRAMES = 2 * PART
"""Fewer frames with labels are not divided."""
LEAST_SHARE = 0.05
"""Of the frames; whole recordings of less say too little."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DividedSplit:
    """The labelled frames of a split in two.

    Attributes:
        learnt: Those to learn from.
        judged: Those to judge by.
        how: What the latter are, for messages.
    """

    learnt: IndexedFrames
    judged: IndexedFrames
    how: str


def divide_split(frames: IndexedFrames) -> DividedSplit | None:
    """Set about a quarter of the labelled frames aside; always the same ones.

    Of several recordings whole ones are set aside, for neighbours of one recording show nearly the same. Of a single
    one it is the last quarter, and of images that stand alone every fourth.

    Args:
        frames: A split; its frames without labels are left out.

    Returns:
        ``None`` if fewer than :data:`LEAST_FRAMES` have labels.
    """
    entries = [entry for entry in frames.entries if entry.truth is not None]
    if len(entries) < LEAST_FRAMES:
        return None
    recordings: dict[tuple[str, int], list[int]] = {}
    for number, entry in enumerate(entries):
        alone = stands_alone(entry.clip, entry.name or str(number))
        recordings.setdefault(("", number) if alone else (entry.clip, -1), []).append(number)
    if any(clip for clip, _ in recordings):
        aside, how = _of_recordings(list(recordings.values()), entries)
    else:
        aside, how = range(0, len(entries), PART), f"one in {PART} images"
    chosen = frozenset(aside)
    judged = [entry for number, entry in enumerate(entries) if number in chosen]
    learnt = [entry for number, entry in enumerate(entries) if number not in chosen]
    return DividedSplit(learnt=_part(frames, learnt), judged=_part(frames, judged), how=how)


def _part(frames: IndexedFrames, entries: Sequence[FrameEntry]) -> IndexedFrames:
    return IndexedFrames(entries, frames.labels, split=frames.split, where=frames.entries[0].image.parent)


def _of_recordings(recordings: list[list[int]], entries: Sequence[FrameEntry]) -> tuple[Sequence[int], str]:
    """Numbers of frames of whole recordings, or of the end of one that is longer than all others together."""
    least, chosen = LEAST_SHARE * len(entries), _spread(recordings)
    if sum(map(len, chosen)) < least:
        fitting = [each for each in recordings if least <= len(each) <= len(entries) / 2]
        chosen = [min(fitting, key=len)] if fitting else []
    if not chosen:
        longest = max(recordings, key=len)
        return longest[-(len(longest) // PART) :], f"the end of {entries[longest[0]].clip}"
    names = [entries[each[0]].clip or entries[each[0]].name for each in chosen]
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return [number for each in chosen for number in each], f"all of {shown}"


def _spread(recordings: list[list[int]]) -> list[list[int]]:
    """Those that bring the frames set aside closest to their part of the frames so far: at most half of all."""
    chosen: list[list[int]] = []
    aside = seen = 0
    for each in recordings:
        seen += len(each)
        if PART * (2 * aside + len(each)) <= 2 * seen:
            chosen.append(each)
            aside += len(each)
    return chosen
