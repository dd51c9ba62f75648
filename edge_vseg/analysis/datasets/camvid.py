"""CamVid in the layout of SegNet: ``train``, ``trainannot``, ``val``, ``valannot``, 11 classes.

Brostow et al., Semantic Object Classes in Video, Pattern Recognition Letters 2009.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.analysis.datasets.labelled import LabelledFrame
from edge_vseg.errors import DatasetError
from edge_vseg.types import IGNORE_ID

CLASSES = 11
VIDEO_RATE = 30.0
"""Frames per second of its drives; file names carry the frame number."""
_SUFFIXES = (".png", ".jpg", ".jpeg")


class CamVid(Sequence[LabelledFrame]):
    """The frames of one split in order of their names, read on access.

    Args:
        folder: Has ``<split>`` with the images and ``<split>annot`` with label maps of the same names.
        split: ``train``, ``val`` or ``test``.

    Raises:
        DatasetError: If a folder is missing or empty, or an image has no label map.
    """

    def __init__(self, folder: Path, split: str) -> None:
        images = sorted(path for path in _folder(folder, split).iterdir() if path.suffix.lower() in _SUFFIXES)
        truth = {path.stem: path for path in _folder(folder, f"{split}annot").iterdir()}
        if not images:
            raise DatasetError(f"no images in {folder / split}; expected {', '.join(_SUFFIXES)} files")
        if without := [path.name for path in images if path.stem not in truth]:
            raise DatasetError(
                f"{len(without)} images of {folder / split} have no label map, for example {without[0]};"
                f" expected one of the same name in {folder / (split + 'annot')}"
            )
        self.split = split
        self._pairs = [(path, truth[path.stem]) for path in images]

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledFrame]: ...
    def __getitem__(self, index: int | slice) -> LabelledFrame | list[LabelledFrame]:
        """Read one frame, or several.

        Raises:
            DatasetError: If a file is unreadable, or image and label map differ in size.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        image_path, labels_path = self._pairs[index]
        image = _read(image_path, cv2.IMREAD_COLOR)
        labels = _read(labels_path, cv2.IMREAD_GRAYSCALE)
        if image.shape[:2] != labels.shape:
            raise DatasetError(f"{image_path} is {image.shape[:2]}, its label map {labels.shape}; sizes must agree")
        ids = np.where(labels < CLASSES, labels, IGNORE_ID).astype(np.uint8)
        clip, number = _clip_and_number(image_path.stem)
        time_s = None if number is None else number / VIDEO_RATE
        return LabelledFrame(image=image, labels=ids, name=image_path.stem, clip=clip, time_s=time_s)


def _clip_and_number(stem: str) -> tuple[str, int | None]:
    """The drive and the frame number: ``0006R0`` and 3540 for ``0006R0_f03540``."""
    match = re.fullmatch(r"(\w+)_f?(\d+)", stem)
    return (match[1], int(match[2])) if match else ("", None)


def _read(path: Path, mode: int) -> NDArray[np.uint8]:
    value = cv2.imread(str(path), mode)
    if value is None:
        raise DatasetError(f"{path} is not a readable image; copy the dataset again")
    return np.asarray(value, np.uint8)


def _folder(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_dir():
        raise DatasetError(f"no folder {path}; expected CamVid with train, trainannot, val and valannot")
    return path
