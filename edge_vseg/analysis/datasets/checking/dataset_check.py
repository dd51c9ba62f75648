"""Read every frame of a dataset once, and note what a training would stumble over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.checking.frame_prints import FramePrint, alike_pairs, equal_pairs
from edge_vseg.analysis.datasets.indexed import IndexedFrames
from edge_vseg.analysis.datasets.labelled import LabelledFrame, stands_alone
from edge_vseg.analysis.datasets.registry import find_dataset
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID

SHOWN = 20
"""So many messages, pairs and values are kept of each kind; all are counted."""
SAMPLES = 12
"""Frames of each split for the contact sheet."""


@dataclass(kw_only=True)
class SplitCheck:
    """What is in a split.

    Attributes:
        split: Its name.
        labels: Its classes.
        frames: Frames that were read.
        labelled: Frames with a pixel that has a class.
        clips: Recordings that they are from; a single image is one of its own.
        sizes: Frames by size, ``360x480``.
        pixels: Pixels of each class.
        seen_in: Frames with each class.
        unlabelled_share: Share of the pixels of labelled frames that have no class.
        stray: Values in label files that the layout does not know, with their pixels or shapes.
        broken: Frames that cannot be read, or whose label map does not fit; the first messages.
        broken_count: How many there are.
        equal: Equal images in this split, the first pairs.
        equal_count: How many there are.
        samples: Some frames for the contact sheet.
    """

    split: str
    labels: tuple[Label, ...] = field(default=(), repr=False)
    frames: int = 0
    labelled: int = 0
    clips: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    seen_in: dict[str, int] = field(default_factory=dict)
    unlabelled_share: float = 0.0
    stray: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    broken_count: int = 0
    equal: list[tuple[str, str]] = field(default_factory=list)
    equal_count: int = 0
    samples: list[LabelledFrame] = field(default_factory=list, repr=False)

    def share(self, name: str) -> float:
        """Share of a class in the pixels that have one; 0 also for a class that only other splits have."""
        return self.pixels.get(name, 0) / max(1, sum(self.pixels.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Frames of one split that are in another.

    Attributes:
        splits: Names of both.
        equal: Frames with an equal image in the other.
        alike: Frames that look like one of the other, such as the same picture compressed again.
        pairs: The first of them by name.
        clips: Recordings that have frames in both: their frames may be neighbours in time.
    """

    splits: tuple[str, str]
    equal: int
    alike: int
    pairs: tuple[tuple[str, str], ...]
    clips: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCheck:
    """All splits of a dataset.

    Attributes:
        address: ``LAYOUT:DIR``.
        labels: The classes of all splits.
        splits: What is in each.
        leaks: What is in two.
    """

    address: str
    labels: tuple[Label, ...]
    splits: tuple[SplitCheck, ...]
    leaks: tuple[Leak, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(label.name for label in self.labels)

    @property
    def problems(self) -> tuple[str, ...]:
        """What has to be put right before training, a line each."""
        return (
            *(line for each in self.splits for line in _problems(each)),
            *(line for pair in combinations(self.splits, 2) for line in _other_classes(*pair)),
            *map(_leak_line, filter(_hurts, self.leaks)),
        )


def check_dataset(
    address: str, *, max_frames: int | None = None, progress: Callable[[int], object] = lambda done: None
) -> DatasetCheck:
    """Check a dataset.

    Args:
        address: ``LAYOUT:DIR`` for all its splits, or ``LAYOUT:DIR:SPLIT`` for one.
        max_frames: Read at most so many frames of each split, evenly spread; ``None`` for all.
        progress: Called with the number of frames read so far.

    Raises:
        DatasetError: If the folder is not of the layout, or a split cannot be listed.
        OptionError: If the address is incomplete or its layout unknown.
    """
    place = find_dataset(address)
    opened = [place.open(each) for each in ((place.split,) if place.split else place.splits)]
    meters, done = [], 0
    for frames in opened:
        meter = _Meter(frames)
        for number in _spread(len(frames), max_frames):
            meter.add(number)
            done += 1
            progress(done)
        meters.append(meter)
    checks = [meter.finish() for meter in meters]
    leaks = [_leak(ours, theirs) for ours, theirs in combinations(meters, 2)]
    labels = {label.name: label for frames in reversed(opened) for label in frames.labels}
    names = dict.fromkeys(label.name for frames in opened for label in frames.labels)
    return DatasetCheck(
        address=address,
        labels=tuple(labels[name] for name in names),
        splits=tuple(checks),
        leaks=tuple(each for each in leaks if each.equal or each.alike or each.clips),
    )


class _Meter:
    """Counts the frames of a split."""

    def __init__(self, frames: IndexedFrames) -> None:
        self.split = frames.split
        self.prints: list[FramePrint] = []
        self.recordings: dict[str, None] = {}
        self._clips: dict[str, None] = {}
        self._names = [label.name for label in frames.labels]
        self._frames = frames
        self._check = SplitCheck(split=frames.split, labels=frames.labels)
        self._pixels = np.zeros(256, np.int64)
        self._seen = np.zeros(256, np.int64)
        self._stray: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def add(self, number: int) -> None:
        check, truth = self._check, self._frames.entries[number].truth
        try:
            frame = self._frames[number]
        except DatasetError as exc:
            check.broken_count += 1
            check.broken += [str(exc)] * (len(check.broken) < SHOWN)
            return
        height, width = frame.labels.shape
        check.frames += 1
        self._sizes[f"{height}x{width}"] += 1
        self._clips[frame.clip] = None
        if not _is_single(frame, number):
            self.recordings[frame.clip] = None
        self.prints.append(FramePrint.of(_full_name(frame, number), frame.image))
        counts = np.bincount(frame.labels.ravel(), minlength=256)
        if counts[:IGNORE_ID].any():
            check.labelled += 1
            self._pixels += counts
            self._seen += counts > 0
            if number >= len(check.samples) * len(self._frames) / SAMPLES:
                check.samples.append(frame)
        if truth is not None:
            self._stray.update(truth.stray((height, width)))

    def finish(self) -> SplitCheck:
        check, pixels = self._check, self._pixels
        check.clips = list(self._clips)
        check.pixels = _by_name(self._names, pixels)
        check.seen_in = _by_name(self._names, self._seen)
        check.unlabelled_share = float(pixels[IGNORE_ID] / max(1, pixels.sum()))
        check.sizes = dict(self._sizes.most_common())
        check.stray = dict(self._stray.most_common())
        pairs = equal_pairs(self.prints)
        check.equal, check.equal_count = pairs[:SHOWN], len(pairs)
        return check


def _full_name(frame: LabelledFrame, number: int) -> str:
    """With its recording: cameras number the files of each from the start."""
    name = frame.name or str(number)
    return frame.clip or name if _is_single(frame, number) else f"{frame.clip}/{name}"


def _is_single(frame: LabelledFrame, number: int) -> bool:
    return stands_alone(frame.clip, frame.name or str(number))


def _by_name(names: Sequence[str], counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts[: len(names)], strict=True)}


def _spread(count: int, most: int | None) -> list[int]:
    if most is None or count <= most:
        return list(range(count))
    return sorted({round(at) for at in np.linspace(0, count - 1, most)})


def _leak(ours: _Meter, theirs: _Meter) -> Leak:
    a, b = ours.prints, theirs.prints
    there = {each.digest: each.name for each in b}
    equal = [(each.name, there[each.digest]) for each in a if each.digest in there]
    alike = alike_pairs([each for each in a if each.digest not in there], b)
    shared = tuple(clip for clip in ours.recordings if clip in theirs.recordings)
    pairs = tuple((equal + alike)[:SHOWN])
    return Leak(splits=(ours.split, theirs.split), equal=len(equal), alike=len(alike), pairs=pairs, clips=shared)


def _hurts(leak: Leak) -> bool:
    return bool(leak.equal or leak.alike)


def _problems(check: SplitCheck) -> list[str]:
    lines = []
    if check.broken_count:
        lines.append(f"{check.split}: {check.broken_count} frames cannot be used, such as: {check.broken[0]}")
    if not check.labelled:
        lines.append(f"{check.split}: no frame has a label")
    if check.stray:
        values = ", ".join(list(check.stray)[:5])
        lines.append(
            f"{check.split}: label files have {len(check.stray)} values that are no class and not ignored: {values}"
        )
    if check.equal_count:
        lines.append(f"{check.split}: {check.equal_count} images are copies, such as {' and '.join(check.equal[0])}")
    absent = [name for name, count in check.pixels.items() if not count]
    if check.labelled and absent:
        lines.append(f"{check.split}: no pixel of {', '.join(absent)}")
    return lines


def _other_classes(ours: SplitCheck, theirs: SplitCheck) -> list[str]:
    names = [[label.name for label in each.labels] for each in (ours, theirs)]
    if set(names[0]) == set(names[1]):
        return []
    alone = [
        f"only {each.split} has {', '.join(name for name in mine if name not in others)}"
        for each, mine, others in ((ours, names[0], names[1]), (theirs, names[1], names[0]))
        if set(mine) - set(others)
    ]
    return [f"{ours.split} and {theirs.split} have different classes: {' and '.join(alone)}"]


def _leak_line(leak: Leak) -> str:
    first, second = leak.splits
    return (
        f"{first} and {second}: {leak.equal} images are in both and {leak.alike} look alike, such as"
        f" {' and '.join(leak.pairs[0])}"
    )
