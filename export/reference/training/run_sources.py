"""What a run is made from: for the command that repeats it, and for the checkpoint, which refuses another source."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame
from edge_vseg.analysis.datasets.drawn_masks import DrawnLater
from edge_vseg.analysis.datasets.label_sources import LabelSource
from edge_vseg.bundle.labels import MergedLabel
from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.sized_frames import SizedFrames
from edge_vseg.export.reference.training.training_data import TrainingData
from edge_vseg.video.address import without_credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSources:
    """The sources of a run, as the command line names them.

    Attributes:
        split: The split that is learnt.
        val: The split to judge by; ``None`` for none, or a part of the split that is learnt.
        classes: The classes to learn; ``None`` for all.
        start: Initial weights.
        teacher: What to distil from; ``None`` for nothing.
        videos: Videos without labels.
        merged: Which classes are made of several of the dataset's; see :func:`merged_text`.
    """

    split: str
    val: str | None
    classes: str | None
    start: str
    teacher: str | None
    videos: tuple[str, ...]
    merged: str = "none"

    def named(self) -> dict[str, str]:
        """What no fingerprint of the data tells, by option; without the folders, which may move."""
        return {
            "--classes": self.merged,
            "--start": shown_source(self.start),
            "--teacher": shown_source(self.teacher or "none"),
            "--video": " ".join(map(shown_source, self.videos)) or "none",
        }

    def command(self, options: TrainConfig) -> str:
        """The command that repeats the run, for a shell, with placeholders for the folders."""
        defaults = TrainConfig().tree()
        words = ["edge-vseg-train", "LAYOUT:DIR" if self.split == "train" else f"LAYOUT:DIR:{self.split}", "-o", "RUN"]
        for name, value in options.tree().items():
            if value != defaults[name]:
                text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
                words += ["--set", f"{name}={text}"]
        given = [("--classes", self.classes), ("--val", self.val), ("--start", self.start), ("--teacher", self.teacher)]
        given += [("--video", video) for video in self.videos]
        for option, source in given:
            if source is not None:
                words += [option, shown_source(source)]
        return shlex.join(words)


def shown_source(source: str) -> str:
    """A file without its folders but the last, or an address without credentials."""
    shown = without_credentials(source)
    return shown if shown != source or "://" in source else "/".join(Path(source).parts[-2:])


def merged_text(labels: Sequence[Label]) -> str:
    """Which classes are made of several of a dataset's, such as ``vehicle=car+truck``; ``none`` without one."""
    merged = [f"{each.name}={'+'.join(each.of)}" for each in labels if isinstance(each, MergedLabel)]
    return " ".join(merged) or "none"


def data_fingerprints(data: TrainingData) -> dict[str, str]:
    """What tells the frames of a run from others, wherever they lie."""
    found = {
        "the training frames": _fingerprint(data.train),
        "the validation frames (--val)": _fingerprint(data.val),
    }
    # By names of their own: a run that began before they were compared names none, and goes on.
    for what, option, frames in (("training", "", data.train), ("validation", " (--val)", data.val)):
        indexed = _read_again(frames)
        if indexed is not None:
            found[f"the {what} labels{option}"] = _label_fingerprint(indexed)
            if drawn := _drawn_fingerprint(indexed):
                found[f"the shapes of the {what} labels{option}"] = drawn
    return found


def _read_again(frames: Sequence[LabelledFrame]) -> IndexedFrames | None:
    """Frames that are not held in memory, as they are on disk."""
    frames = frames.indexed if isinstance(frames, SizedFrames) else frames
    return frames if isinstance(frames, IndexedFrames) else None


def _fingerprint(frames: Sequence[LabelledFrame]) -> str:
    """Of names and label maps; of frames that are read again and again, of names and the sizes of image files."""
    digest = hashlib.sha256()
    indexed = _read_again(frames)
    if indexed is not None:
        for entry in indexed.entries:
            size = 0
            with contextlib.suppress(OSError):
                size = entry.image.stat().st_size
            digest.update(f"{entry.clip}/{entry.name} {size}\n".encode())
    else:
        for frame in frames:
            digest.update(f"{frame.clip}/{frame.name} {frame.labels.shape}\n".encode())
            digest.update(frame.labels.tobytes())
            if frame.confidence is not None:
                digest.update(frame.confidence.tobytes())
    return f"{len(frames)} {digest.hexdigest()[:16]}"


def _label_fingerprint(frames: IndexedFrames) -> str:
    """Of the files of label maps and their confidence, in full: they are small beside the images, which are counted."""
    digest = hashlib.sha256()
    for entry in frames.entries:
        path = getattr(_in_own_ids(entry.truth), "path", None)
        for file in (path if isinstance(path, Path) else None, entry.confidence):
            digest.update(_content_sha256(None if file is None else file.read_bytes))
    return digest.hexdigest()[:16]


def _drawn_fingerprint(frames: IndexedFrames) -> str:
    """Of what label maps are drawn from; empty if none is drawn."""
    drawn = [source if isinstance(source := _in_own_ids(entry.truth), DrawnLater) else None for entry in frames.entries]
    if not any(drawn):
        return ""
    digest = hashlib.sha256()
    for each in drawn:
        digest.update(_content_sha256(None if each is None else each.content))
    return digest.hexdigest()[:16]


def _in_own_ids(truth: LabelSource | None) -> LabelSource | None:
    """Labels with the dataset's own ids, where a table gives them others."""
    while (source := getattr(truth, "source", None)) is not None:
        truth = source
    return truth


def _content_sha256(read: Callable[[], bytes] | None) -> bytes:
    content = b""
    if read is not None:
        with contextlib.suppress(OSError):  # reading the frame says what is wrong with it
            content = read()
    return hashlib.sha256(content).digest()
