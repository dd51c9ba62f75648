"""What every source of frames has in common: iteration, a limit, and closing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from edge_vseg.errors import NoFramesError, OptionError, VideoError
from edge_vseg.types import Frame


class Source(ABC):
    """An iterator of frames and a context manager around what they come from.

    A source is read once, from its first frame to its last. Iterate and close it in one thread.

    Attributes:
        name: File, folder or device name, or the address without credentials; for people.
    """

    def __init__(self, *, name: str) -> None:
        """Start with nothing read and no limit."""
        self.name = name
        self._max_frames: int | None = None
        self._given = 0
        self._finished = False
        self._closed = False

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Nominal frames per second; ``None`` when the source does not say."""

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace, so that a slow reader loses some."""
        return False

    @property
    def frame_count(self) -> int | None:
        """How many frames to expect, for a progress bar: an estimate; ``None`` when nobody knows."""
        expected = self._expected()
        if expected is None or self._max_frames is None:
            return expected
        return min(expected, self._max_frames)

    @property
    def damaged(self) -> str | None:
        """What was found wrong with the frames read so far; ``None`` when nothing."""
        return None

    def limit(self, max_frames: int | None) -> Source:
        """Stop after so many frames; ``None`` for no limit.

        Returns:
            The source itself.

        Raises:
            OptionError: If ``max_frames`` is below 1.
        """
        if max_frames is not None and max_frames < 1:
            raise OptionError(f"max_frames must be 1 or more, or None for no limit, got {max_frames}")
        self._max_frames = max_frames
        return self

    @abstractmethod
    def _expected(self) -> int | None:
        """The number of frames that the container promises."""

    @abstractmethod
    def _read(self) -> Frame | None:
        """The next frame; ``None`` at the end."""

    @abstractmethod
    def _release(self) -> None:
        """Free what the source holds; called once."""

    def __iter__(self) -> Source:
        """A source is its own iterator."""
        return self

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            StopIteration: At the end, at ``max_frames``, and after :meth:`close`.
            NoFramesError: At the end, if there was no frame at all.
            VideoDecodeError: If the source cannot be read on.
        """
        if self._finished or self._closed or self._given == self._max_frames:
            raise StopIteration
        try:
            frame = self._read()
            if frame is None and self._given == 0 and not self._closed:
                raise NoFramesError(f"{self.name}: it can be read, but holds no frame; give another source")
        except VideoError:
            self._finished = True
            raise
        if frame is None:
            self._finished = True
            raise StopIteration
        self._given += 1
        return frame

    def close(self) -> None:
        """Free the file or device; iteration stops. Calling it twice does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Source:
        """The source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened inside."""
        self.close()
