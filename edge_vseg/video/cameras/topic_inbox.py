"""Camera messages between the thread that receives them and the one that reads frames."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_vseg.messages.images import CameraMessage
from edge_vseg.video.options import BufferOptions
from edge_vseg.video.port import FrameCounts

SILENCE_S = 1.0
"""Without a message for so long, a camera counts as away; a slow one after three of its periods."""

_PERIODS = 3
_GAPS = 5
"""The period is the median of so many gaps."""
_FEWEST_GAPS = 3
_MAX_SILENCE_S = 60.0
"""Some outages in a row look like a period."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A message, the number of its frame, and when it came (``time.monotonic_ns()``)."""

    message: CameraMessage
    seq: int
    arrival_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether messages come.

    Attributes:
        last_ns: When the last one came; ``None`` before the first.
        back_ns: When the first one came after the last silence, or at all.
        returns: How often they came back after a silence.
        silence_s: Without a message for so long, the camera counts as away.
    """

    last_ns: int | None
    back_ns: int
    returns: int
    silence_s: float = SILENCE_S


class TopicInbox:
    """Keeps messages undecoded until they are taken; one that is replaced costs no decoding.

    A silence is a gap of one in the numbers, as a reconnect is for other cameras.

    Args:
        buffer: Which messages a slow reader gets.
        clock: ``time.monotonic_ns``.
    """

    def __init__(self, buffer: BufferOptions, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._buffer = buffer
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Arrival] = deque()
        self._received = self._dropped = self._taken = self._unread = 0
        self._next_seq = 0
        self._gaps_ns: deque[int] = deque(maxlen=_GAPS)
        self._presence = Presence(last_ns=None, back_ns=clock(), returns=0)
        self._closed = False

    @property
    def presence(self) -> Presence:
        """Whether messages come."""
        return self._presence

    @property
    def counts(self) -> FrameCounts:
        """Where the messages went, at one moment; those that could not be decoded count as dropped."""
        with self._changed:
            return FrameCounts(
                captured=self._received,
                dropped=self._dropped + self._unread,
                waiting=len(self._waiting),
                read=self._taken - self._unread,
            )

    def put(self, message: CameraMessage) -> None:
        """Add a message; with ``every``, wait for room."""
        now_ns = self._clock()
        with self._changed:
            arrival = Arrival(message=message, seq=self._number(now_ns), arrival_ns=now_ns)
            if self._buffer.keep == "every":
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._buffer.bound)
            # A message that waits for room is in no other count yet.
            self._received += 1
            if self._closed:
                self._dropped += 1
                return
            if len(self._waiting) >= self._buffer.bound:
                self._dropped += 1
                if self._buffer.keep == "oldest":
                    return
                self._waiting.popleft()
            self._waiting.append(arrival)
            self._changed.notify_all()

    def _number(self, now_ns: int) -> int:
        known = self._presence
        came_back = False
        if known.last_ns is not None:
            came_back = now_ns - known.last_ns > known.silence_s * 1e9
            self._gaps_ns.append(now_ns - known.last_ns)
        seq = self._next_seq + came_back
        self._next_seq = seq + 1
        self._presence = Presence(
            last_ns=now_ns,
            back_ns=now_ns if came_back or known.last_ns is None else known.back_ns,
            returns=known.returns + came_back,
            silence_s=self._silence_s(),
        )
        return seq

    def _silence_s(self) -> float:
        if len(self._gaps_ns) < _FEWEST_GAPS:
            return SILENCE_S
        period_s = statistics.median(self._gaps_ns) / 1e9
        return min(max(SILENCE_S, _PERIODS * period_s), _MAX_SILENCE_S)

    def take(self, timeout_s: float) -> Arrival | None:
        """Wait for a message; ``None`` if none came, or the inbox was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if not self._waiting or self._closed:
                return None
            self._taken += 1
            self._changed.notify_all()
            return self._waiting.popleft()

    def discard(self) -> None:
        """Count the message that was taken last as dropped."""
        with self._changed:
            self._unread += 1

    def close(self) -> None:
        """Wake both sides; what comes is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
