"""Frames and classes of a training run on a dataset of one's own."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_vseg.analysis.datasets import LAYOUTS, IndexedFrames, LabelledFrame, find_dataset, match_labels
from edge_vseg.analysis.datasets.divided_split import LEAST_FRAMES, divide_split
from edge_vseg.analysis.datasets.registry import DatasetPlace
from edge_vseg.bundle.labels import comparable_name, named_labels, taken_names
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.sized_frames import SizedFrames
from edge_vseg.export.reference.training.streets import render_streets
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.export.reference.training.video_pairs import read_video_pairs
from edge_vseg.types import IGNORE_ID

log = logging.getLogger(__name__)

NOTHING = "none"
"""Instead of a split to judge by."""
MAX_HELD_BYTES = 2 << 30
"""Frames of a split are kept in memory up to this size, and read again for every crop beyond it."""
LARGE = 4.0
"""Frames of more pixels than so many crops are told where no ``frame_hw`` is set; CamVid's have 1.6."""
_LOOKED_AT = 8
"""Frames whose size is looked at for that."""


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

    Where a dataset has a single split, a part of it is set aside to judge by; see
    :func:`~edge_vseg.analysis.datasets.divided_split.divide_split`.

    Args:
        address: ``LAYOUT:DIR``, or ``LAYOUT:DIR:SPLIT`` to train on another split than ``train``.
        config: Says at which size frames are learnt and judged, and how many streets are rendered; their classes are
            matched by name.
        labels: The classes to learn, by name; ``None`` for all of the dataset's.
        val: The split to judge by, or ``none`` to judge by nothing; ``None`` for the layout's own, or ``val`` in any
            spelling. If neither is there, nor anything to set aside, nothing is judged, and a warning says so.
        videos: Unlabelled videos, on which the network shall say the same along the motion.

    Raises:
        VideoError: If a video cannot be read.
        DatasetError: If a split or its labels are missing, or names do not tell what to train on.
        OptionError: If the address is wrong, ``val`` is missing or what is learnt, rendered streets have none of the
            classes, or nothing asks for a video.
    """
    place = find_dataset(address)
    learnt = place.open(place.split_to_learn())
    wanted = labels or learnt.labels
    judged: IndexedFrames | None
    val_split = _split_to_judge_by(place, learnt.split, val)
    if val_split == NOTHING:
        judged = None
    elif val_split is not None:
        judged = place.open(val_split)
    else:
        learnt, judged = _set_aside(place, learnt)
    if videos and not config.consistency:
        raise OptionError("a video without labels serves the consistency loss: set for example consistency=1")
    frames = _read(learnt, wanted, config)
    _tell_large(frames, config)
    height, width = frames[0].labels.shape
    size_hw = max(height, config.crop_hw[0]), max(width, config.crop_hw[1])
    return TrainingData(
        train=frames,
        val=() if judged is None else _read(judged, wanted, config),
        streets=_in_classes(render_streets(config), wanted) if config.streets else (),
        pairs=[pair for video in videos for pair in read_video_pairs(video, size_hw)],
        labels=wanted,
        split=learnt.split,
        val_split=val_split,
    )


def _split_to_judge_by(place: DatasetPlace, learnt: str, val: str | None) -> str | None:
    if val is None:
        return place.split_to_judge_by(learnt)
    if val == NOTHING and val not in place.splits:
        return val
    if val not in place.splits:
        raise OptionError(f"--val {val}: {place.folder} has no such split, only {', '.join(place.splits)}")
    if val == learnt:
        advice = "give another split" if len(place.splits) > 1 else "leave --val out, and a part of it is set aside"
        raise OptionError(f"--val {val} is what the network learns, and would flatter it; {advice}")
    return val


def _set_aside(place: DatasetPlace, frames: IndexedFrames) -> tuple[IndexedFrames, IndexedFrames | None]:
    """What is learnt of a split that nothing else judges, and what it is judged by."""
    if len(place.splits) > 1:
        log.warning(
            "nothing tells how good the network is: besides %r there is no split to judge by; --val takes one of %s",
            frames.split, ", ".join(name for name in place.splits if name != frames.split),
        )  # fmt: skip
        return frames, None
    divided = divide_split(frames)
    if divided is None:
        log.warning(
            "nothing tells how good the network is: split %r is the only one, and of fewer than %d labelled frames none"
            " are set aside to judge by", frames.split, LEAST_FRAMES,
        )  # fmt: skip
        return frames, None
    log.warning(
        "split %r is the only one: %d frames of it are learnt, and %d are set aside to judge by, %s; --val none learns"
        " all",
        frames.split, len(divided.learnt), len(divided.judged), divided.how,
    )  # fmt: skip
    return divided.learnt, divided.judged


def _read(frames: IndexedFrames, labels: tuple[Label, ...], config: TrainConfig) -> Sequence[LabelledFrame]:
    return _hold(SizedFrames(_labelled(match_labels(frames, labels)), config.frame_hw))


def _tell_large(frames: Sequence[LabelledFrame], config: TrainConfig) -> None:
    """Warn where objects in crops are larger than a bundle of a usual input size will see them."""
    if config.frame_hw is not None:
        return
    looked_at = range(0, len(frames), -(-len(frames) // _LOOKED_AT))
    height, width = max((frames[number].labels.shape for number in looked_at), key=math.prod)
    if height * width > LARGE * math.prod(config.crop_hw):
        log.warning(
            "the frames are %dx%d, much larger than crops of %dx%d, and are learnt at that scale: a bundle with a"
            " smaller --input-size sees everything smaller. Set frame_hw to its input size, such as"
            " frame_hw=[360,480], or to [%d,%d] if that is it",
            height, width, *config.crop_hw, height, width,
        )  # fmt: skip


def _labelled(frames: IndexedFrames) -> IndexedFrames:
    """Those that have labels: a clip may have one."""
    entries = [entry for entry in frames.entries if entry.truth is not None]
    if not entries:
        raise DatasetError(f"no frame of split {frames.split!r} has labels, and a network learns from nothing else")
    return IndexedFrames(entries, frames.labels, split=frames.split, where=Path())


def _hold(frames: SizedFrames) -> Sequence[LabelledFrame]:
    """The frames in memory, or as they are where they turn out to be too many: the first may be the smallest."""
    held, size = [], 0
    for frame in frames:
        size += frame.image.nbytes + frame.labels.nbytes * (1 if frame.confidence is None else 2)
        if size > MAX_HELD_BYTES:
            log.info(
                "the %d frames of %s do not fit into memory; they are read again for every crop",
                len(frames), frames.indexed.split,
            )  # fmt: skip
            return frames
        held.append(frame)
    return held


def _in_classes(streets: Sequence[SceneFrame], labels: Sequence[Label]) -> list[SceneFrame]:
    """Rendered frames with other class ids; 255 for what is not among the classes."""
    ids = {comparable_name(name): label.id for label in labels for name in taken_names(label)}
    table = np.full(256, IGNORE_ID, np.uint8)
    for label in named_labels("camvid"):
        table[label.id] = ids.get(comparable_name(label.name), IGNORE_ID)
    if (table == IGNORE_ID).all():
        raise OptionError(
            "rendered streets have none of these classes, only "
            f"{', '.join(label.name for label in named_labels('camvid'))}; set streets=0"
        )
    return [replace(frame, labels=table[frame.labels]) for frame in streets]
