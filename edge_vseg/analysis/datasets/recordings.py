"""Frames of a dataset that follow each other, found without reading them."""

from __future__ import annotations

from collections.abc import Iterator

from edge_vseg.analysis.datasets.indexed import FrameEntry, IndexedFrames
from edge_vseg.analysis.datasets.labelled import MAX_GAP_S


def entries_in_a_row(previous: FrameEntry, entry: FrameEntry) -> bool:
    """As :func:`~edge_vseg.analysis.datasets.follows`, without reading the frames."""
    if previous.clip != entry.clip:
        return False
    if previous.time_s is None or entry.time_s is None:
        return True
    return 0 < entry.time_s - previous.time_s <= MAX_GAP_S


def frames_in_a_row(frames: IndexedFrames) -> Iterator[IndexedFrames]:
    """Runs of frames that follow each other, in their order; a single image is a run of one."""
    first = 0
    for index in range(1, len(frames) + 1):
        if index == len(frames) or not entries_in_a_row(frames.entries[index - 1], frames.entries[index]):
            yield frames[first:index]
            first = index
