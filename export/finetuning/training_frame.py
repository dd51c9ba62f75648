"""Frames to learn from, with the truth where there is some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle.manifest import FrameSpec, Letterbox
from edge_vseg.errors import OptionError
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.imaging.letterbox import FramePlace, fit_image
from edge_vseg.types import IGNORE_ID, Image, LabelMap

SET_ASIDE = 4
"""One in so many frames is not trained on, and decides whether the result is taken."""
MAX_LABELLED = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingFrame:
    """A frame to train on.

    Attributes:
        image: ``(H, W, 3)`` uint8 at the input size.
        labels: Its truth, ``(H, W)`` uint8, if there is one; at least one pixel has a class.
    """

    image: Image
    labels: LabelMap | None = None


def with_truth(frame: LabelledFrame, spec: FrameSpec) -> TrainingFrame | None:
    """A labelled frame at the input size, by the bundle's rule; ``None`` if no pixel has a class."""
    labels = _fit_labels(frame.labels, spec)
    if (labels == IGNORE_ID).all():
        return None
    return TrainingFrame(image=fit_image(frame.image, spec), labels=labels)


def frames_with_truth(frames: Sequence[LabelledFrame], spec: FrameSpec, classes: int) -> list[TrainingFrame]:
    """Up to :data:`MAX_LABELLED` labelled frames at the input size, evenly out of all.

    Args:
        frames: Read one by one: they may be many times as large as the input.
        spec: Of the input.
        classes: That the network gives.

    Raises:
        OptionError: If they have classes that the network does not know.
    """
    found = []
    for number in range(0, len(frames), max(1, -(-len(frames) // MAX_LABELLED))):
        frame = frames[number]
        check_truth([frame], classes)
        if (taken := with_truth(frame, spec)) is not None:
            found.append(taken)
    return found


def check_truth(frames: Sequence[LabelledFrame], classes: int) -> None:
    """Raise OptionError if a frame has a class that the network does not give."""
    for frame in frames:
        known = frame.labels[frame.labels != IGNORE_ID]
        if known.size and int(known.max()) >= classes:
            raise OptionError(f"the labels have class {int(known.max())}, the network gives {classes} classes")


def _fit_labels(labels: LabelMap, spec: FrameSpec) -> LabelMap:
    if isinstance(spec.resize, Letterbox):
        place = FramePlace.of((labels.shape[0], labels.shape[1]), spec.size_hw)
        (top, left), (rows, columns) = place.offset, place.inner_hw
        fitted = np.full(spec.size_hw, IGNORE_ID, np.uint8)
        fitted[top : top + rows, left : left + columns] = resize_labels(labels, place.inner_hw)
        return fitted
    return resize_labels(labels, spec.size_hw)
