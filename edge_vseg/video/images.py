"""Frames from still images: a file, a list of files, or a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import NoFramesError, OptionError, VideoDecodeError
from edge_vseg.input_files import read_regular
from edge_vseg.types import Frame, Image
from edge_vseg.video.paths import check_content, check_exists, natural_key
from edge_vseg.video.port import Source

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"})

MAX_IMAGE_BYTES = 1 << 30


def is_image(path: Path) -> bool:
    """Whether the file name is that of a still image; hidden files are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """List the images directly inside a folder, in natural order (``frame9`` before ``frame10``).

    Raises:
        NoFramesError: If there are none; the message says what the folder contains instead.
    """
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    images = [entry for entry in entries if is_image(entry) and entry.is_file()]
    if images:
        return images
    nested = [entry.name for entry in entries if entry.is_dir() and any(is_image(item) for item in entry.iterdir())]
    if nested:
        raise NoFramesError(f"{folder} contains no images, but its folders {_abbreviate(nested)} do; give one of them")
    files = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    if files:
        raise NoFramesError(f"{folder}: expected images, found {_abbreviate(files)}; give a video by its own path")
    raise NoFramesError(f"{folder} is empty; expected images ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_image(path: Path) -> Image:
    """Decode one image file.

    Returns:
        ``(H, W, 3)`` uint8 BGR, rotated by its EXIF tag; 16-bit values are scaled to 8 bits, alpha is dropped.

    Raises:
        VideoDecodeError: If the file is unreadable, empty, truncated, or not an image.
    """
    try:
        data = read_regular(path, MAX_IMAGE_BYTES)
    except OSError as exc:
        raise VideoDecodeError(f"{path}: cannot be read: {exc.strerror}; check its permissions") from exc
    check_content(path, data[:64])
    # OpenCV before 4.12 silently fills the missing part of a truncated JPEG with grey.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise VideoDecodeError(f"{path}: the image is truncated; copy it again, or remove it from the list")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise VideoDecodeError(f"{path}: cannot be read as an image: {exc.err}; remove it from the list") from exc
    # Against its type stub, imdecode returns None for data it cannot read.
    if not isinstance(image, np.ndarray):
        raise VideoDecodeError(f"{path}: damaged, or not an image; copy it again, or remove it from the list")
    return np.ascontiguousarray(image, dtype=np.uint8)


def picture_in(path: Path, mode: int) -> NDArray[np.integer] | None:
    """The pixels of a picture as OpenCV decodes them; ``None`` if it cannot be read.

    Unlike ``cv2.imread``, which ends the process at a name that is no UTF-8.

    Args:
        path: The file.
        mode: OpenCV's ``IMREAD_...``.

    Raises:
        cv2.error: If its header promises more pixels than OpenCV takes.
    """
    try:
        data = read_regular(path, MAX_IMAGE_BYTES)
    except OSError:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    return None if picture is None else np.asarray(picture)


class ImageSource(Source):
    """Still images in the given order; each frame has its own size."""

    def __init__(self, paths: Sequence[Path], *, name: str, fps: float | None = None) -> None:
        """Check that every file exists; nothing is decoded yet.

        Args:
            paths: Image files.
            name: For messages.
            fps: Frames per second, for the frames' presentation times; ``None`` for none.

        Raises:
            VideoNotFoundError: If a file is missing.
            OptionError: If ``fps`` is not positive.
        """
        super().__init__(name=name)
        if fps is not None and not 0 < fps < float("inf"):
            raise OptionError(
                f"image_fps must be positive and finite, got {fps}; leave it out for frames without times"
            )
        for path in paths:
            check_exists(path)
        self._paths = tuple(paths)
        self._next = 0
        self._fps = fps

    @property
    def fps(self) -> float | None:
        """The rate given by the caller."""
        return self._fps

    @property
    def has_capture_times(self) -> bool:
        """Always false: the images are from before."""
        return False

    def _expected_frames(self) -> int | None:
        return len(self._paths)

    def _read(self) -> Frame | None:
        if self._next == len(self._paths):
            return None
        path, seq = self._paths[self._next], self._next
        self._next += 1
        return Frame(
            image=read_image(path),
            seq=seq,
            capture_ns=time.monotonic_ns(),
            pts_ns=None if self._fps is None else round(seq * 1e9 / self._fps),
            source_name=str(path),
        )

    def _release(self) -> None:
        self._paths = ()
