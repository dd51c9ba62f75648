"""Images that a program brings itself: out of an iterable, a function, or a driver's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.types import Frame, Image
from edge_vseg.video.frame_buffer import FrameBuffer
from edge_vseg.video.options import BufferOptions
from edge_vseg.video.port import FrameCounts, Source

_AHEAD_NS = 10**9
_BEHIND_NS = 600 * 10**9
"""No driver's queue holds images for so long; recordings come from an iterable, or as frames of a segmenter."""


def require_image(image: Image, name: str) -> None:
    """Check the type of an image.

    Raises:
        FrameError: If it is not ``(H, W, 3)`` uint8.
    """
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        raise FrameError(f"{name}: expected an image of shape (H, W, 3) uint8 BGR, got {shape} {dtype}; convert it")


class IterableSource(Source):
    """The images of an iterable, one at a time, each counted as captured when it is given.

    A driver that blocks until it has an image may be read live, in a thread of its own: ``open_source(images,
    live=True)``.
    """

    def __init__(self, images: Iterable[Image], *, name: str = "images") -> None:
        """Nothing is read yet.

        Args:
            images: ``(H, W, 3)`` uint8 BGR each.
            name: For messages.
        """
        super().__init__(name=name)
        self._images: Iterator[Image] | None = iter(images)
        self._seq = 0
        self._first_ns: int | None = None

    @property
    def fps(self) -> float | None:
        """Unknown."""
        return None

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        image = next(self._images, None) if self._images is not None else None
        if image is None:
            return None
        require_image(image, self.name)
        now_ns = time.monotonic_ns()
        if self._first_ns is None:
            self._first_ns = now_ns
        seq, self._seq = self._seq, self._seq + 1
        return Frame(image=image, seq=seq, capture_ns=now_ns, pts_ns=now_ns - self._first_ns, source_name=self.name)

    def _release(self) -> None:
        self._images = None


def called(function: Callable[[], Image | None]) -> Iterator[Image]:
    """What a function returns, call by call, until it returns ``None``."""
    while (image := function()) is not None:
        yield image


def copied(images: Iterable[Image]) -> Iterator[Image]:
    """The images, each in memory of its own: a driver that is asked for the next one may fill its memory again."""
    for image in images:
        yield np.array(image, order="C") if isinstance(image, np.ndarray) else image


class Mailbox(Source):
    """A live source for a camera driver of one's own: its thread puts images in, and the newest one is taken out.

    Example:
        >>> import numpy as np
        >>> from edge_vseg.video import Mailbox
        >>> box = Mailbox(name="left camera")
        >>> box.put(np.zeros((480, 640, 3), np.uint8))  # in the driver's callback
        True
        >>> next(box).seq  # in the loop that segments
        0
        >>> box.close()
    """

    def __init__(self, *, name: str = "mailbox", fps: float | None = None) -> None:
        """Start empty.

        Args:
            name: For messages, and the frames' ``source_name``.
            fps: Nominal frames per second; ``None`` if unknown.
        """
        super().__init__(name=name)
        self._fps = fps
        self._buffer = FrameBuffer(BufferOptions())
        self._putting = threading.Lock()
        self._first_ns: int | None = None
        self._seq = 0

    @property
    def fps(self) -> float | None:
        """The rate given by the caller."""
        return self._fps

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    @property
    def counts(self) -> FrameCounts:
        """Where the images went so far."""
        return self._buffer.counts

    def put(self, image: Image, *, capture_ns: int | None = None) -> bool:
        """Bring an image, from any thread; one that was not taken yet is dropped.

        Args:
            image: ``(H, W, 3)`` uint8 BGR; copied, so that the driver may fill its memory again.
            capture_ns: When it was captured, ``time.monotonic_ns()``; ``None`` for now.

        Returns:
            Whether the box is open.

        Raises:
            FrameError: If it is not an image.
            OptionError: If ``capture_ns`` lies in the future, or ten minutes in the past, as one of another clock or
                unit does.
        """
        require_image(image, self.name)
        now_ns = time.monotonic_ns()
        if capture_ns is not None and capture_ns > now_ns + _AHEAD_NS:
            raise OptionError(
                f"{self.name}: capture_ns lies {(capture_ns - now_ns) / 1e9:.0f} s in the future; give"
                " time.monotonic_ns(), not the wall clock"
            )
        if capture_ns is not None and capture_ns < now_ns - _BEHIND_NS:
            raise OptionError(
                f"{self.name}: capture_ns lies {(now_ns - capture_ns) / 1e9:.0f} s in the past, and this is a live"
                " source; give time.monotonic_ns() of the capture, in nanoseconds"
            )
        copied = np.array(image, np.uint8, order="C")
        with self._putting:
            if self._buffer.stopped.is_set():
                return False
            self._buffer.put(self._frame(copied, now_ns if capture_ns is None else capture_ns))
        return True

    def _frame(self, image: Image, capture_ns: int) -> Frame:
        if self._first_ns is None:
            self._first_ns = capture_ns
        seq, self._seq = self._seq, self._seq + 1
        return Frame(
            image=image, seq=seq, capture_ns=capture_ns, pts_ns=capture_ns - self._first_ns, source_name=self.name
        )

    def finish(self) -> None:
        """No more images come: what reads the box ends after the one that waits."""
        self._buffer.end()

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        return self._buffer.take()

    def interrupt(self) -> None:
        """End the wait for an image."""
        self._buffer.stop()

    def _release(self) -> None:
        self._buffer.stop()
