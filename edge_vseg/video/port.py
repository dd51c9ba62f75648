"""The port of all frame sources: iteration, a frame limit, and closing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from edge_vseg.errors import NoFramesError, OptionError, VideoError
from edge_vseg.types import Frame


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

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Nominal frames per second; ``None`` if unknown."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive in real time, so that a slow reader misses some."""
        return False

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
        except VideoError:
            self._finished = True
            raise
        if frame is None:
            self._finished = True
            raise StopIteration
        self._frames_returned += 1
        return frame

    def close(self) -> None:
        """Free the file or device; iteration stops. Calling it twice does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Source:
        """Return the source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source, also after an error."""
        self.close()
