"""Datasets where a command takes videos and folders of images: the frames without their labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edge_vseg.analysis.datasets import LAYOUTS, IndexedFrames, find_dataset
from edge_vseg.analysis.datasets.recordings import frames_in_a_row
from edge_vseg.analysis.datasets.split_names import learning_split
from edge_vseg.errors import OptionError
from edge_vseg.video.bag import find_bag


def is_dataset(source: str) -> bool:
    """Whether a source is ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``; what is there by that name is a file or recording."""
    name, colon, _ = source.partition(":")
    return bool(colon) and name in LAYOUTS and not os.path.lexists(source) and find_bag(source) is None


def with_dataset_images(sources: Iterable[str]) -> list[str]:
    """The sources, with the images of a dataset's split in its place, clip by clip.

    Of ``LAYOUT:DIR`` that is ``train``, or the first split.

    Raises:
        DatasetError: If the folder is not of the layout, or the split is not there.
    """
    found: list[str] = []
    for source in sources:
        found += (str(each.image) for each in _images(source).entries) if is_dataset(source) else [source]
    return found


def _images(address: str) -> IndexedFrames:
    """Any split will do where names do not tell which is learnt: labels are not read."""
    place = find_dataset(address)
    return place.open(place.split or learning_split(place.splits) or place.splits[0])


def longest_recording(address: str, least: int) -> list[Path]:
    """The images of the longest run of frames of a dataset's split that follow each other.

    Args:
        address: ``LAYOUT:DIR`` or ``LAYOUT:DIR:SPLIT``; ``train`` without a split, or the first.
        least: How many there have to be.

    Raises:
        DatasetError: If the folder is not of the layout, or the split is not there.
        OptionError: If there are fewer.
    """
    frames = _images(address)
    longest = max(frames_in_a_row(frames), key=len)
    if len(longest) < least:
        raise OptionError(
            f"{address}: no more than {len(longest)} frames of split {frames.split!r} follow each other, and it takes"
            f" {least}; give another split, as LAYOUT:DIR:SPLIT, or a video"
        )
    return [each.image for each in longest.entries]
