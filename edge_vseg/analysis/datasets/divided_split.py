"""Divide a split that is alone: a part of it is set aside to judge by what learns from the rest."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames
from edge_vseg.analysis.datasets.labelled import stands_alone

PART = 4
"""About one in so many frames is set aside."""
LEAST_FRAMES = 2 * PART
"""Fewer frames with labels are not divided."""
LEAST_SHARE = 0.05
"""Of the frames; whole recordings of less say too little."""
STRETCHES = 4
"""Parts of a long row of numbered images, of each of which the end is set aside."""
LEAST_STRETCH = 16
"""Images of such a part."""
_SHOWN = 5
_NUMBER = re.compile(r"(\d{1,18})(?=\D*$)")


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
    one it is the last quarter. Images of one folder whose names differ by a number alone are a row, such as every tenth
    frame of a video: where nothing but single images is there, the ends of up to :data:`STRETCHES` stretches of each
    row are set aside, and of images that are in none every fourth.

    Args:
        frames: A split; its frames without labels are left out.

    Returns:
        ``None`` if fewer than :data:`LEAST_FRAMES` have labels.
    """
    entries = [entry for entry in frames.entries if entry.truth is not None]
    if len(entries) < LEAST_FRAMES:
        return None
    recordings: dict[Hashable, list[int]] = {}
    for number, entry in enumerate(entries):
        alone = stands_alone(entry.clip, entry.name or str(number))
        recordings.setdefault(number if alone else entry.clip, []).append(number)
    if any(len(each) > 1 for each in recordings.values()):
        aside, how = _of_recordings(list(recordings.values()), entries)
    else:
        aside, how = _of_images(entries)
    chosen = frozenset(aside)
    judged = [entry for number, entry in enumerate(entries) if number in chosen]
    learnt = [entry for number, entry in enumerate(entries) if number not in chosen]
    return DividedSplit(learnt=_part(frames, learnt), judged=_part(frames, judged), how=how)


def _part(frames: IndexedFrames, entries: Sequence[FrameEntry]) -> IndexedFrames:
    return IndexedFrames(entries, frames.labels, split=frames.split, where=frames.entries[0].image.parent)


def _of_images(entries: Sequence[FrameEntry]) -> tuple[Sequence[int], str]:
    """Numbers of frames at the ends of stretches of each row, and of every fourth frame that is in none."""
    rows: dict[tuple[Path, str], list[tuple[int, int]]] = {}
    for number, entry in enumerate(entries):
        place = _NUMBER.search(entry.name)
        key = entry.image.parent, _NUMBER.sub("*", entry.name) if place else ""
        rows.setdefault(key, []).append((int(place[1]) if place else number, number))
    aside: list[int] = []
    ends, single = [], []
    for (folder, name), row in rows.items():
        # By number: names without leading zeros are in another order.
        numbers = [number for _, number in sorted(row)]
        if not name or len(numbers) < PART:
            single += numbers
            continue
        stretches = min(STRETCHES, max(1, len(numbers) // LEAST_STRETCH))
        bounds = [len(numbers) * each // stretches for each in range(stretches + 1)]
        for first, end in pairwise(bounds):
            aside += numbers[end - (end - first) // PART : end]
        where = f"{folder.name}/{name}"
        ends.append(f"the end of {where}" if stretches == 1 else f"the ends of {stretches} stretches of {where}")
    if single:
        aside += sorted(single)[::PART]
        ends.append(f"one in {PART} {'other ' if ends else ''}images")
    return aside, ", ".join(ends[:_SHOWN]) + (", …" if len(ends) > _SHOWN else "")


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
