"""Frames from still images: a file, a list of files, or a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.errors import NoFramesError, OptionError, VideoDecodeError
from edge_vseg.types import Frame, Image
from edge_vseg.video.paths import check_content, check_exists, natural_key
from edge_vseg.video.port import Source

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"})


def is_image(path: Path) -> bool:
    """Whether the name is that of a still image; files that start with a dot are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """The images directly inside a folder, in natural order (``frame9`` before ``frame10``).

    Raises:
        NoFramesError: If there is none; the message says what is there instead.
    """
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    images = [entry for entry in entries if is_image(entry) and entry.is_file()]
    if images:
        return images
    nested = [entry.name for entry in entries if entry.is_dir() and any(is_image(item) for item in entry.iterdir())]
    if nested:
        raise NoFramesError(f"{folder}: no image directly inside, but in its folders {_some(nested)}; give one of them")
    files = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    if files:
        raise NoFramesError(f"{folder}: expected images, found {_some(files)}; give a video by its own path")
    raise NoFramesError(f"{folder}: the folder is empty; expected images ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_image(path: Path) -> Image:
    """Decode one image file.

    Returns:
        ``(H, W, 3)`` uint8 BGR, turned upright by its EXIF tag; 16-bit values are scaled to 8 bits, alpha is dropped.

    Raises:
        VideoDecodeError: If the file is unreadable, empty, cut off, or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise VideoDecodeError(f"{path}: cannot be read: {exc.strerror}; check its permissions") from exc
    check_content(path, data[:64])
    # OpenCV before 4.12 fills the missing part of a cut JPEG with grey and says nothing.
    if data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise VideoDecodeError(f"{path}: the image is cut off; copy it again, or take it out of the list")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:
        raise VideoDecodeError(f"{path}: not an image that can be read: {exc.err}; take it out of the list") from exc
    # The stubs say that imdecode always gives an image; it gives None for what it cannot read.
    if not isinstance(image, np.ndarray):
        raise VideoDecodeError(f"{path}: damaged, or not an image; copy it again, or take it out of the list")
    return np.ascontiguousarray(image, dtype=np.uint8)


class ImageSource(Source):
    """Still images in the order given, each a frame of its own size."""

    def __init__(self, paths: Sequence[Path], *, name: str, fps: float | None = None) -> None:
        """Check that every file is there; none is decoded yet.

        Args:
            paths: Image files.
            name: For people.
            fps: Frames per second, which gives the frames presentation times; ``None`` for none.

        Raises:
            VideoNotFoundError: If a file is missing.
            OptionError: If ``fps`` is not positive.
        """
        super().__init__(name=name)
        if fps is not None and not 0 < fps < float("inf"):
            raise OptionError(f"frames per second must be positive, got {fps}")
        for path in paths:
            check_exists(path)
        self._paths = tuple(paths)
        self._next = 0
        self._fps = fps

    @property
    def fps(self) -> float | None:
        """The rate given by the caller; images have none of their own."""
        return self._fps

    def _expected(self) -> int | None:
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
