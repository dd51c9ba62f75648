"""Write frames and their labels as a plain folder, which the layout ``folder`` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.indexed import IMAGE_SUFFIXES
from edge_vseg.analysis.label_propagation.carried import CarriedLabels
from edge_vseg.analysis.label_propagation.staged_folder import stage_folder
from edge_vseg.bundle.labels import distinct_names
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.types import Image

_LONGEST_NAME = 80


class LabelledFolder:
    """``images/CLIP/``, ``labels/CLIP/``, ``confidence/CLIP/`` and ``classes.json`` in a folder; counts what it gets.

    Confidences are grey pictures, 255 for 1. Files are named by their place in the clip and the name of the frame.

    Args:
        root: A folder that is there.
        labels: The classes.
        rate: Frames per second of the clips; ``None`` if unknown.

    Attributes:
        frames: Frames so far.
        given: Those of them whose labels people drew.
        clips: Clips so far.
    """

    def __init__(self, root: Path, labels: Sequence[Label], rate: float | None) -> None:
        self._root, self._labels = root, tuple(labels)
        self.frames = self.given = self.clips = 0
        self._made_pixels = self._labelled_pixels = 0
        self._counts = np.zeros(len(labels), np.int64)
        self._folder, self._in_clip = "", 0
        self._folders: set[str] = set()
        tree: dict[str, Any] = {"classes": [{"name": each.name, "color": list(each.color)} for each in labels]}
        if rate is not None:
            tree["rate"] = round(rate, 3)
        self._write("classes.json", json.dumps(tree, indent=1, ensure_ascii=False).encode())

    def begin_clip(self, name: str) -> None:
        """What comes now does not follow what came before; clips of the same name get a number."""
        plain = _plain(name) or "clip"
        unique = plain
        for number in range(2, len(self._folders) + 3):
            if unique.lower() not in self._folders:
                break
            unique = f"{plain}-{number}"
        self._folders.add(unique.lower())
        self._folder, self._in_clip = unique, 0
        self.clips += 1

    def add(self, name: str, picture: Path | Image, carried: CarriedLabels, *, given: bool = False) -> None:
        """Add the next frame of the clip.

        Args:
            name: Its name.
            picture: Its file, which is copied, or its image, ``(H, W, 3)`` uint8 BGR.
            carried: Its labels.
            given: Whether people drew them: counted apart.

        Raises:
            OutputError: If it cannot be written.
            DatasetError: If its file cannot be read.
        """
        stem = "_".join(filter(None, (f"{self._in_clip:06d}", _plain(name))))
        suffix, data = _encoded(picture)
        self._write(f"images/{self._folder}/{stem}{suffix}", data)
        self._write(f"labels/{self._folder}/{stem}.png", _png(carried.labels))
        confidence = np.rint(255 * carried.confidence).astype(np.uint8)
        self._write(f"confidence/{self._folder}/{stem}.png", _png(confidence))
        self._in_clip += 1
        self.frames += 1
        self.given += given
        if not given:
            counts = np.bincount(carried.labels.ravel(), minlength=256)[: len(self._labels)]
            self._counts += counts
            self._labelled_pixels += int(counts.sum())
            self._made_pixels += carried.labels.size

    @property
    def made(self) -> int:
        """Frames whose labels were made here."""
        return self.frames - self.given

    def record(self) -> dict[str, Any]:
        """Counts, and the shares of the pixels of made frames: labelled, and of each class among these."""
        share = self._labelled_pixels / max(1, self._made_pixels)
        classes = {
            name: int(count) / max(1, self._labelled_pixels)
            for name, count in zip(distinct_names(self._labels), self._counts, strict=True)
        }
        return {
            "frames": self.frames,
            "given": self.given,
            "made": self.made,
            "clips": self.clips,
            "labelled_share": share,
            "classes": classes,
        }

    def _write(self, name: str, data: bytes) -> None:
        path = self._root / name
        make_folder(path.parent)
        write_whole(path, data, flush="system")


@contextmanager
def write_labelled_folder(
    folder: Path, labels: Sequence[Label], rate: float | None, *, force: bool, sources: Sequence[Path] = ()
) -> Iterator[LabelledFolder]:
    """Write such a folder, whole or not at all.

    Args:
        folder: Where it goes.
        labels: The classes.
        rate: Frames per second of the clips; ``None`` if unknown.
        force: Whether an older one is replaced.
        sources: Files and folders that are read, and so not replaced.

    Raises:
        OptionError: If the folder is not to be replaced.
        DatasetError: If no label was made: nothing is then written.
        OutputError: If it cannot be written.
    """
    with stage_folder(folder, force=force, sources=sources) as staged:
        writer = LabelledFolder(staged, labels, rate)
        yield writer
        if not writer.made:
            raise DatasetError(
                f"no frame got labels, and {folder} was not written; give clips with frames that lack them"
            )


def _encoded(picture: Path | Image) -> tuple[str, bytes]:
    """Suffix and content of a file with the picture."""
    if not isinstance(picture, Path):
        return ".png", _png(picture)
    suffix = picture.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise DatasetError(f"{picture}: expected a picture ({', '.join(IMAGE_SUFFIXES)}); convert it")
    try:
        return suffix, picture.read_bytes()
    except OSError as exc:
        raise DatasetError(f"{picture} cannot be read: {exc.strerror}; copy the dataset again") from exc


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _plain(name: str) -> str:
    """A name as a file's: word characters, points and dashes, not hidden."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).lstrip(".")[-_LONGEST_NAME:].lstrip(".")
