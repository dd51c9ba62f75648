"""Frames and classes of a training run on a dataset of one's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LAYOUTS, IndexedFrames, LabelledFrame, find_dataset, match_labels
from edge_vseg.analysis.datasets.registry import DatasetPlace
from edge_vseg.bundle.labels import named_labels
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.streets import render_streets
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.video_pairs import read_video_pairs
from edge_vseg.types import IGNORE_ID

log = logging.getLogger(__name__)

MAX_HELD_BYTES = 2 << 30
"""Frames of a split are kept in memory up to this size, and read again for every crop beyond it."""
_USUAL = ("val", "valid", "validation")
"""Names of a split to judge by."""


def training_address(data: str) -> str:
    """``LAYOUT:DIR`` as it is; a folder alone is CamVid's."""
    name, separator, _ = data.partition(":")
    return data if separator and name in LAYOUTS else f"camvid:{data}"


def read_training_data(
    address: str,
    config: TrainConfig,
    *,
    labels: tuple[Label, ...] | None = None,
    val: str | None = None,
    videos: Sequence[str] = (),
) -> TrainingData:
    """The labelled frames of ``train``, and of another split to judge by.

    Args:
        address: ``LAYOUT:DIR``, or ``LAYOUT:DIR:SPLIT`` to train on another split than ``train``.
        config: Says how many streets are rendered; their classes are matched by name.
        labels: The classes to learn, by name; ``None`` for all of the dataset's.
        val: The split to judge by; ``None`` for the layout's own, or ``val`` or ``valid``. If none of them is there,
            nothing is judged, and a warning says so.
        videos: Unlabelled videos, on which the network shall say the same along the motion.

    Raises:
        VideoError: If a video cannot be read.
        DatasetError: If a split or its labels are missing.
        OptionError: If the address is wrong, ``val`` is missing or what is learnt, rendered streets have none of the
            classes, or nothing asks for a video.
    """
    place = find_dataset(address)
    train = place.open(place.split or "train")
    wanted = labels or train.labels
    judged: Sequence[LabelledFrame] = ()
    val_split = _split_to_judge_by(place, train.split, val)
    if val_split is not None:
        judged = _hold(_labelled(match_labels(place.open(val_split), wanted)))
    else:
        log.warning(
            "nothing tells how good the network is: besides %r there is no split to judge by; --val takes one of %s",
            train.split, ", ".join(place.splits),
        )  # fmt: skip
    if videos and not config.consistency:
        raise OptionError("a video without labels serves the consistency loss: set for example consistency=1")
    frames = _hold(_labelled(match_labels(train, wanted)))
    height, width = frames[0].labels.shape
    size_hw = max(height, config.crop_hw[0]), max(width, config.crop_hw[1])
    return TrainingData(
        train=frames,
        val=judged,
        streets=_in_classes(render_streets(config), wanted) if config.streets else (),
        pairs=[pair for video in videos for pair in read_video_pairs(video, size_hw)],
        labels=wanted,
        split=train.split,
        val_split=val_split,
    )


def _split_to_judge_by(place: DatasetPlace, learnt: str, val: str | None) -> str | None:
    if val is None:
        usual = (place.layout.default, *_USUAL)
        return next((name for name in usual if name in place.splits and name != learnt), None)
    if val not in place.splits:
        raise OptionError(f"--val {val}: {place.folder} has no such split, only {', '.join(place.splits)}")
    if val == learnt:
        raise OptionError(f"--val {val} is what the network learns, and would flatter it; give another split")
    return val


def _labelled(frames: IndexedFrames) -> IndexedFrames:
    """Those that have labels: a clip may have one."""
    entries = [entry for entry in frames.entries if entry.truth is not None]
    if not entries:
        raise DatasetError(f"no frame of split {frames.split!r} has labels, and a network learns from nothing else")
    return IndexedFrames(entries, frames.labels, split=frames.split, where=Path())


def _hold(frames: IndexedFrames) -> Sequence[LabelledFrame]:
    first = frames[0]
    if len(frames) * (first.image.nbytes + first.labels.nbytes) <= MAX_HELD_BYTES:
        return list(frames)
    log.info(
        "the %d frames of %s do not fit into memory; they are read again for every crop", len(frames), frames.split
    )
    return frames


def _in_classes(streets: Sequence[SceneFrame], labels: Sequence[Label]) -> list[SceneFrame]:
    """Rendered frames with other class ids; 255 for what is not among the classes."""
    ids = {label.name.lower(): label.id for label in labels}
    table = np.full(256, IGNORE_ID, np.uint8)
    for label in named_labels("camvid"):
        table[label.id] = ids.get(label.name.lower(), IGNORE_ID)
    if (table == IGNORE_ID).all():
        raise OptionError(
            "rendered streets have none of these classes, only "
            f"{', '.join(label.name for label in named_labels('camvid'))}; set streets=0"
        )
    return [replace(frame, labels=table[frame.labels]) for frame in streets]
