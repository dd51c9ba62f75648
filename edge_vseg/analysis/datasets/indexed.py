"""A dataset on disk: which frames there are, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import cv2
import numpy as np

from edge_vseg.analysis.datasets.label_sources import LabelSource, read_picture
from edge_vseg.analysis.datasets.labelled import LabelledFrame
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.input_files import read_regular
from edge_vseg.types import IGNORE_ID

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEntry:
    """One frame of a dataset, not yet read.

    Attributes:
        image: Its image.
        truth: Where its labels come from; ``None`` for a frame without.
        name: As in :class:`~edge_vseg.analysis.datasets.LabelledFrame`.
        clip: Name of its recording; frames of one clip follow each other.
        time_s: Its time in the recording, in seconds; ``None`` if unknown.
        confidence: Grey picture of how sure each label is, white for wholly; ``None`` where all are.
    """

    image: Path
    truth: LabelSource | None
    name: str = ""
    clip: str = ""
    time_s: float | None = None
    confidence: Path | None = None


class IndexedFrames(Sequence[LabelledFrame]):
    """The frames of one split, in order, read on access.

    Attributes:
        entries: What there is, not yet read.
        labels: The classes.
        split: Name of the split.

    Args:
        entries: The frames, those of a clip in order of time.
        labels: The classes.
        split: Name of the split.
        where: Folder, for the message where there is no frame.

    Raises:
        DatasetError: If there is no frame.
    """

    def __init__(self, entries: Sequence[FrameEntry], labels: tuple[Label, ...], *, split: str, where: Path) -> None:
        if not entries:
            raise DatasetError(f"no frames of split {split!r} in {where}; check the folder and the name of the split")
        self.entries = tuple(entries)
        self.labels = labels
        self.split = split

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...
    @overload
    def __getitem__(self, index: slice) -> IndexedFrames: ...
    def __getitem__(self, index: int | slice) -> LabelledFrame | IndexedFrames:
        """Read one frame, or make a part that is read later. A label of confidence 0 is none.

        Raises:
            DatasetError: If a file is unreadable, or it differs from its image in size.
        """
        if isinstance(index, slice):
            return IndexedFrames(self.entries[index], self.labels, split=self.split, where=self.entries[0].image.parent)
        entry = self.entries[index]
        image = np.asarray(read_picture(entry.image, cv2.IMREAD_COLOR), np.uint8)
        size_hw = image.shape[:2]
        labels = np.full(size_hw, IGNORE_ID, np.uint8) if entry.truth is None else entry.truth.read(size_hw)
        confidence = None
        if entry.truth is not None and entry.confidence is not None:
            confidence = np.asarray(read_picture(entry.confidence, cv2.IMREAD_GRAYSCALE, size_hw), np.uint8)
            labels = np.where(confidence > 0, labels, np.uint8(IGNORE_ID))
        return LabelledFrame(
            image=image, labels=labels, name=entry.name, clip=entry.clip, time_s=entry.time_s, confidence=confidence
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a dataset lies on disk.

    Attributes:
        name: As on the command line, in ``NAME:DIR:SPLIT``.
        about: The dataset and its paper, in a line.
        splits: The names of the splits in a folder; empty if it is not of this layout.
        read: Reads a split. Raises DatasetError if something is missing.
        default: The split to evaluate on, if it is there; otherwise the first.
    """

    name: str
    about: str
    splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str], IndexedFrames]
    default: str = "val"


def images_in(folder: Path, *, suffix: str = "", recursive: bool = False) -> list[Path]:
    """The images of a folder in order of their names.

    Args:
        folder: The folder.
        suffix: What their names end with, before the point.
        recursive: Whether folders in it count, too.

    Raises:
        DatasetError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; check the dataset's folder and the name of the split")
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES and path.stem.endswith(suffix) and not path.name.startswith(".")
    )


def require_labels(entries: Sequence[FrameEntry], *, images: Path, expected: str) -> None:
    """Refuse images of which none has labels.

    Args:
        entries: The frames.
        images: Where they are, for the message.
        expected: Which label maps were looked for, and where.

    Raises:
        DatasetError: If there are frames, and none has labels.
    """
    if entries and all(entry.truth is None for entry in entries):
        raise DatasetError(f"no image of {images} has a label map; expected {expected}")


def listed(path: Path) -> list[str]:
    """The lines of a list of names, without empty ones.

    Raises:
        DatasetError: If it cannot be read as text.
    """
    try:
        lines = read_regular(path).decode("utf-8").splitlines()
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc.strerror}; it lists the names of a split") from exc
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{path} is not text; expected a name in each line") from exc
    return [line.strip() for line in lines if line.strip()]


def folders_in(folder: Path) -> tuple[str, ...]:
    """Names of the folders in a folder, in order; empty if it is none."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def same_stem(folder: Path, stem: str) -> Path | None:
    """The image of a folder with a name, whatever its suffix."""
    for suffix in IMAGE_SUFFIXES:
        for path in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
            if path.is_file():
                return path
    return None
