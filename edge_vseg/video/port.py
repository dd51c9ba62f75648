"""The port of all frame sources: iteration, a frame limit, and closing."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TypeAlias

from edge_vseg.errors import NoFramesError, OptionError, VideoError
from edge_vseg.types import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCounts:
    """Where the frames of a source went, at one moment; ``captured == dropped + waiting + read``.

    Attributes:
        captured: Frames that were decoded.
        dropped: Frames that a newer one replaced before they were read.
        waiting: Frames in the buffer.
        read: Frames that the reader got.
    """

    captured: int
    dropped: int = 0
    waiting: int = 0
    read: int


ConnectionState: TypeAlias = Literal["connected", "reconnecting", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Whether frames come.

    Attributes:
        state: ``reconnecting`` while a camera or stream is away and is tried again, ``ended`` after the last frame.
        since_ns: When that began, ``time.monotonic_ns()``.
        reason: Why it reconnects or ended; empty while all is well.
        reconnects: How often it came back so far.
    """

    state: ConnectionState
    since_ns: int
    reason: str = ""
    reconnects: int = 0


class Source(ABC):
    """An iterator of frames, and a context manager around its file or device.

    A source can be read once, from the first frame to the last. Iterate and close it in one thread.

    Attributes:
        name: File, folder or device name, or the address without credentials, for messages.
    """

    def __init__(self, *, name: str) -> None:
        """Start without a frame limit."""
        self.name = name
        self._max_frames: int | None = None
        self._frames_returned = 0
        self._finished = False
        self._closed = False
        self._opened_ns = time.monotonic_ns()
        self._end_seen: Connection | None = None

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Nominal frames per second; ``None`` if unknown."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive in real time, so that a slow reader misses some."""
        return False

    @property
    def has_capture_times(self) -> bool:
        """Whether ``capture_ns`` tells when an image was seen; false for recordings that are read flat out."""
        return True

    @property
    def frame_count(self) -> int | None:
        """Estimated number of frames, for a progress bar; ``None`` if unknown."""
        expected = self._expected_frames()
        if expected is None or self._max_frames is None:
            return expected
        return min(expected, self._max_frames)

    @property
    def damaged(self) -> str | None:
        """What was wrong with the frames read so far; ``None`` if nothing."""
        return None

    @property
    def counts(self) -> FrameCounts:
        """Where the frames went so far; may be read from any thread."""
        return FrameCounts(captured=self._frames_returned, read=self._frames_returned)

    @property
    def connection(self) -> Connection:
        """Whether frames come; may be read from any thread."""
        return self._end_seen or Connection(state="connected", since_ns=self._opened_ns)

    def limit(self, max_frames: int | None) -> Source:
        """Stop after ``max_frames`` frames; ``None`` for no limit.

        Returns:
            The source itself.

        Raises:
            OptionError: If ``max_frames`` is below 1.
        """
        if max_frames is not None and max_frames < 1:
            raise OptionError(f"max_frames must be at least 1, or None for no limit; got {max_frames}")
        self._max_frames = max_frames
        return self

    @property
    def is_full(self) -> bool:
        """Whether as many frames were read as :meth:`limit` allows; false without a limit."""
        return self._max_frames is not None and self._frames_returned >= self._max_frames

    @abstractmethod
    def _expected_frames(self) -> int | None:
        """The number of frames that the container declares."""

    @abstractmethod
    def _read(self) -> Frame | None:
        """The next frame; ``None`` at the end."""

    @abstractmethod
    def _release(self) -> None:
        """Free the file or device; called once."""

    def __iter__(self) -> Source:
        """Return the source itself."""
        return self

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            StopIteration: At the end, at ``max_frames``, and after :meth:`close`.
            NoFramesError: At the end, if there was no frame.
            VideoDecodeError: If reading fails.
        """
        if self._finished or self._closed or self._frames_returned == self._max_frames:
            raise StopIteration
        try:
            frame = self._read()
            if frame is None and self._frames_returned == 0 and not self._closed:
                raise NoFramesError(f"{self.name} can be read, but contains no frame; give another source")
        except VideoError as exc:
            self._end(str(exc))
            raise
        if frame is None:
            self._end("closed" if self._closed else "the last frame was read")
            raise StopIteration
        self._frames_returned += 1
        return frame

    def _end(self, reason: str) -> None:
        self._finished = True
        if self._end_seen is None:
            reconnects = self.connection.reconnects
            self._end_seen = Connection(
                state="ended", since_ns=time.monotonic_ns(), reason=reason, reconnects=reconnects
            )

    def interrupt(self) -> None:  # noqa: B027
        """Make waits of a read in another thread end soon; only :meth:`close` may follow."""

    def close(self) -> None:
        """Free the file or device; iteration stops. Calling it twice does nothing."""
        if not self._closed:
            self._closed = True
            self._end("closed")
            self._release()

    def __enter__(self) -> Source:
        """Return the source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source, also after an error."""
        self.close()
