"""What tests of the pipeline feed it with, and what they watch it by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from edge_vseg import Frame, Result, Segmenter
from edge_vseg.video import Connection, FrameCounts, Source

PATIENCE_S = 20.0
LONG_MS = PATIENCE_S * 1000
IMAGE = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)


class Feed(Source):
    """A live source with one newest frame, which a test puts there."""

    def __init__(self, fps: float | None = 30.0) -> None:
        super().__init__(name="feed")
        self.told: Connection | None = None
        self._fps = fps
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._over = False
        self._numbers = [0, 0, 0]  # captured, dropped, read

    def put(self, *, age_ms: float = 0.0, image: np.ndarray = IMAGE) -> int:
        """Capture a frame so many ms ago; returns its number."""
        with self._changed:
            seq = self._numbers[0]
            self._numbers[0] += 1
            self._numbers[1] += self._frame is not None
            capture_ns = time.monotonic_ns() - round(age_ms * 1e6)
            self._frame = Frame(image=image, seq=seq, capture_ns=capture_ns, source_name="feed")
            self._changed.notify_all()
            return seq

    def end(self, error: Exception | None = None) -> None:
        with self._changed:
            self._over, self._error = True, error
            self._changed.notify_all()

    def wait_until_read(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._numbers[2] >= count, PATIENCE_S)

    @property
    def fps(self) -> float | None:
        return self._fps

    @property
    def is_live(self) -> bool:
        return True

    @property
    def counts(self) -> FrameCounts:
        with self._changed:
            captured, dropped, read = self._numbers
            return FrameCounts(captured=captured, dropped=dropped, waiting=captured - dropped - read, read=read)

    @property
    def connection(self) -> Connection:
        return self.told or super().connection

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._over)
            if self._frame is None and self._error is not None:
                raise self._error
            frame, self._frame = self._frame, None
            self._numbers[2] += frame is not None
            self._changed.notify_all()
            return frame

    def _release(self) -> None:
        self.end()


class Watched:
    """A real segmenter that calls a function with each frame first, and another one with each result."""

    def __init__(
        self, segmenter: Segmenter, before: Callable[[Frame], object], change: Callable[[Result], Result]
    ) -> None:
        self._segmenter, self._before, self._change = segmenter, before, change
        self.closed = threading.Event()

    def __call__(self, frame: Frame) -> Result:
        self._before(frame)
        return self._change(self._segmenter(frame))

    def close(self) -> None:
        self.closed.set()
        self._segmenter.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._segmenter, name)


class Gate:
    """Holds whoever passes until it is opened; tells when somebody has arrived."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)


def threads_of_pipelines() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-vseg")]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that no event tells of."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)
