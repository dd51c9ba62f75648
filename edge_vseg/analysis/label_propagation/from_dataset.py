"""Make labels for the frames of a dataset that have none."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise

from edge_vseg.analysis.datasets import IndexedFrames, find_dataset, match_labels
from edge_vseg.analysis.datasets.recordings import entries_in_a_row, frames_in_a_row
from edge_vseg.analysis.label_propagation.carried import CarriedLabels
from edge_vseg.analysis.label_propagation.labelled_folder import LabelledFolder
from edge_vseg.analysis.label_propagation.propagation import PropagationOptions, propagate_labels
from edge_vseg.analysis.label_propagation.pseudo_labels import LabelTeacher, PseudoLabelOptions, pseudo_label
from edge_vseg.errors import DatasetError

Progress = Callable[[int], None]
"""Is told how many frames are done."""


def open_training_split(address: str) -> IndexedFrames:
    """Open the split of ``LAYOUT:DIR:SPLIT``; of ``LAYOUT:DIR`` ``train`` in any spelling, or the only one.

    Raises:
        OptionError: If the address is incomplete or its layout unknown.
        DatasetError: If the folder is not of the layout, the split is not there, or names do not tell which it is.
    """
    place = find_dataset(address)
    return place.open(place.split_to_learn())


def frame_rate(frames: IndexedFrames) -> float | None:
    """Frames per second, labelled or not, by the times of frames that follow each other; ``None`` if they have none."""
    periods_s = [
        after.time_s - before.time_s
        for before, after in pairwise(frames.entries)
        if before.time_s is not None and after.time_s is not None and entries_in_a_row(before, after)
    ]
    return 1 / statistics.median(periods_s) if periods_s else None


def propagate_dataset(
    frames: IndexedFrames, output: LabelledFolder, options: PropagationOptions, progress: Progress
) -> None:
    """Write the labelled frames of a dataset, and the frames that their labels reach.

    Frames that no label reaches are left out; where that parts a clip, its parts are clips.

    Raises:
        DatasetError: If a frame cannot be read, or frames of a clip differ in size.
    """
    written = 0
    for clip in frames_in_a_row(frames):
        expected = -1
        for each in propagate_labels(clip, [entry.truth is not None for entry in clip.entries], options):
            entry = clip.entries[each.index]
            if each.index != expected:
                output.begin_clip(entry.clip)
            expected = each.index + 1
            picture = entry.image if each.image is None else each.image
            output.add(entry.name, picture, each.carried, given=each.distance == 0)
            written += 1
            progress(written)


def pseudo_label_dataset(
    frames: IndexedFrames,
    teacher: LabelTeacher,
    output: LabelledFolder,
    options: PseudoLabelOptions,
    progress: Progress,
) -> None:
    """Write the frames of a dataset in the classes of a teacher; those without labels get its own.

    Raises:
        DatasetError: If every frame has labels, no class of the dataset is among the teacher's, a frame cannot be read,
            or frames of a clip differ in size.
        SessionError: If the teacher fails.
    """
    if all(entry.truth is not None for entry in frames.entries):
        raise DatasetError(f"every frame of split {frames.split!r} has labels; give frames without, or a video")
    written = 0
    for clip in frames_in_a_row(match_labels(frames, teacher.labels)):
        output.begin_clip(clip.entries[0].clip)
        images, paths = (frame.image for frame in clip), [str(entry.image) for entry in clip.entries]
        for each in pseudo_label(teacher, images, options, name=paths.__getitem__):
            entry = clip.entries[each.index]
            given = entry.truth is not None
            carried = CarriedLabels.given(clip[each.index].labels) if given else each.carried
            output.add(entry.name, entry.image, carried, given=given)
            written += 1
            progress(written)
