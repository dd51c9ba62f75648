"""Open a camera or stream again when it is lost, without hammering it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_vseg.errors import NoFramesError, VideoDecodeError, VideoError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video.continuity import Continuity
from edge_vseg.video.options import ReconnectOptions
from edge_vseg.video.port import Connection, Source

logger = logging.getLogger(__name__)

MAY_PASS = (VideoNotFoundError, VideoDecodeError, NoFramesError, OSError)
"""What may pass by itself, as too many open files do; a missing package or an impossible option does not."""


class Backoff:
    """Seconds to wait before each attempt: doubled up to a cap, times a random share from a half to one."""

    def __init__(self, options: ReconnectOptions, chance: np.random.Generator) -> None:
        """Start before the first attempt.

        Args:
            options: First wait and cap.
            chance: Draws the share.
        """
        self._options = options
        self._chance = chance
        self._attempts = 0
        self._last_s = 0.0

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        # 2 ** 30 times the smallest wait is past any cap; a camera that is away for weeks must not overflow a float.
        full_s = min(self._options.cap_s, self._options.first_s * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        self._last_s = full_s * self._chance.uniform(0.5, 1.0)
        return self._last_s

    def lasted(self, seconds: float) -> None:
        """A connection gave frames for so long; a shorter one than the last wait counts as another failed attempt."""
        if seconds > self._last_s:
            self._attempts = 0


class ReconnectingSource(Source):
    """Reads a source that ends or fails as if it did not: it is opened again until it is back.

    It blocks while the camera is away, so it is read in a thread of its own by
    :class:`~edge_vseg.video.live.LatestSource`. Frame size and colour format may change between connections.
    """

    def __init__(
        self,
        opener: Callable[[], Source],
        options: ReconnectOptions,
        *,
        name: str,
        opened: Source | None = None,
        chance: np.random.Generator | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Start with an open source, or with none.

        Args:
            opener: Opens the source; raises a :class:`~edge_vseg.errors.VideoError` while it is away.
            options: When to try again, and when to give up.
            name: For messages, without credentials.
            opened: The source, already open; ``None`` leaves the first opening to the first read.
            chance: Spreads the attempts.
            clock: Nanoseconds.
        """
        super().__init__(name=name)
        self._opener = opener
        self._options = options
        self._clock = clock
        self._current = opened
        self._last_fps = None if opened is None else opened.fps
        self._damage: str | None = None
        self._backoff = Backoff(options, chance or np.random.default_rng())
        self._continuity = Continuity(name)
        self._stop = threading.Event()
        self._wait_s = 0.0
        self._back_ns = clock()
        state = Connection(state="connected", since_ns=self._back_ns)
        if opened is None:
            state = Connection(state="reconnecting", since_ns=self._back_ns, reason="it is not open yet")
        self._state = state

    @property
    def fps(self) -> float | None:
        """Nominal frames per second of the last connection; ``None`` if unknown."""
        return self._last_fps

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    @property
    def damaged(self) -> str | None:
        """What was wrong with the frames of this connection, or the last one; ``None`` if nothing."""
        current = self._current
        return self._damage if current is None else current.damaged

    @property
    def connection(self) -> Connection:
        """Whether frames come."""
        return self._end_seen or self._state

    def interrupt(self) -> None:
        """End the wait for the next attempt, and the waits of the source."""
        self._stop.set()
        current = self._current
        if current is not None:
            current.interrupt()

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        while not self._stop.is_set():
            if self._current is None and not self._open():
                continue
            assert self._current is not None
            try:
                frame = next(self._current)
            except StopIteration:
                self._lose(VideoDecodeError(f"{self.name}: the stream ended"))
            except MAY_PASS as exc:
                self._lose(exc)
            else:
                if self._state.state == "reconnecting":
                    self._come_back()
                return self._continuity.follow(frame)
        return None

    def _open(self) -> bool:
        """Wait and try once; whether it worked."""
        if self._stop.wait(self._wait_s):
            return False
        try:
            self._current = self._opener()
        except MAY_PASS as exc:
            logger.debug("%s: %s", self.name, self._reason(exc))
            self._blame(exc)
            return False
        self._last_fps = self._current.fps
        return True

    def _lose(self, exc: VideoError | OSError) -> None:
        """The connection gives no more frames."""
        current, self._current = self._current, None
        if current is not None:
            self._damage = current.damaged
        if not self._stop.is_set() and self._state.state == "connected":
            now_ns = self._clock()
            self._backoff.lasted((now_ns - self._back_ns) / 1e9)
            self._continuity.break_off()
            reason = self._reason(exc)
            self._state = replace(self._state, state="reconnecting", since_ns=now_ns, reason=reason)
            logger.warning("%s: %s; it is opened again until it is back", self.name, reason)
        # Only now: a driver that hangs in it, as after a camera was pulled out, must not hide why it was lost.
        if current is not None:
            self._close(current)
        if not self._stop.is_set():
            self._blame(exc)

    def _close(self, lost: Source) -> None:
        """Close a connection; what fails there must not keep the next one from being opened."""
        try:
            lost.close()
        except Exception as exc:
            logger.warning("%s: closing it failed (%s)", self.name, self._reason(exc))

    def _blame(self, exc: VideoError | OSError) -> None:
        """Note why there are no frames, and when to try next.

        Raises:
            VideoDecodeError: If it is time to give up.
        """
        away_s = (self._clock() - self._state.since_ns) / 1e9
        reason = self._reason(exc)
        limit_s = self._options.give_up_s
        if limit_s is not None and away_s >= limit_s:
            raise VideoDecodeError(
                f"{self.name}: given up after {away_s:.1f} s without a frame ({reason}); check the camera, or raise"
                " ReconnectOptions.give_up_s"
            ) from exc
        self._wait_s = self._backoff.next_s()
        if limit_s is not None:
            self._wait_s = min(self._wait_s, limit_s - away_s)
        self._state = replace(self._state, reason=reason)

    def _reason(self, exc: Exception) -> str:
        if not isinstance(exc, VideoError):
            # Not str(exc): an OSError repeats the address, which may hold a password.
            return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__
        return str(exc).removeprefix(f"{self.name}: ").removesuffix("; open it again")

    def _come_back(self) -> None:
        """The first frame of a new connection is there."""
        now_ns = self._clock()
        first = not self._frames_returned
        if not first:
            away_s = (now_ns - self._state.since_ns) / 1e9
            logger.warning("%s: it is back after %.1f s", self.name, away_s)
        self._back_ns = now_ns
        count = self._state.reconnects + (0 if first else 1)
        self._state = Connection(state="connected", since_ns=now_ns, reconnects=count)

    def _release(self) -> None:
        self._stop.set()
        current, self._current = self._current, None
        if current is not None:
            self._damage = current.damaged
            self._close(current)
