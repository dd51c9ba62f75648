"""How a source is opened, opened again, and buffered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError

DEFAULT_TIMEOUT_S = 10.0

Keep: TypeAlias = Literal["newest", "every", "oldest"]
"""Which frames of a live source a slow reader gets; see :class:`BufferOptions`."""

_DEEP = 8
"""Frames that ``every`` and ``oldest`` hold unless told otherwise: a quarter of a second at 30 frames per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectOptions:
    """How a camera or stream that was lost is opened again.

    The n-th wait is ``min(cap_s, first_s * 2 ** n)`` times a random number from 0.5 to 1, so that many readers of one
    camera do not come back at once. A connection that was good for longer than the last wait starts at ``first_s``
    again.

    Attributes:
        first_s: Seconds to the first attempt.
        cap_s: Seconds between attempts at most.
        give_up_s: Seconds without a frame after which the source ends with an error; ``None`` for never.
        stall_s: Seconds that one read may take; then the connection is given up and opened again.
        first_opening: ``raise`` raises an error at the first opening, such as a wrong address; ``wait`` waits for the
            camera. Then an ``http://`` address is taken for a live stream.
    """

    first_s: float = 0.5
    cap_s: float = 10.0
    give_up_s: float | None = None
    stall_s: float = 10.0
    first_opening: Literal["raise", "wait"] = "raise"

    def __post_init__(self) -> None:
        """Raise OptionError if a time is not positive and finite, or the cap is below the first wait."""
        times = {"first_s": self.first_s, "cap_s": self.cap_s, "stall_s": self.stall_s}
        if self.give_up_s is not None:
            times["give_up_s"] = self.give_up_s
        for name, seconds in times.items():
            if not (seconds > 0 and math.isfinite(seconds)):
                raise OptionError(f"{name} must be positive and finite, got {seconds}; give seconds")
        if self.cap_s < self.first_s:
            raise OptionError(f"cap_s is {self.cap_s}, below first_s = {self.first_s}; raise cap_s")
        if self.first_opening not in ("raise", "wait"):
            raise OptionError(f"first_opening must be 'raise' or 'wait', got {self.first_opening!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferOptions:
    """Which frames of a live source a slow reader gets.

    ==========  =======================================================  ==================================
    keep        when a frame comes and the buffer is full                the reader gets
    ==========  =======================================================  ==================================
    ``newest``  the oldest frame in the buffer is dropped                the newest ``frames``, in order
    ``every``   the reading thread waits, and the camera's own queue     every frame, late; what the camera
                fills up                                                 drops is a gap in ``seq`` at best
    ``oldest``  the frame that came is dropped                           what the buffer held first
    ==========  =======================================================  ==================================

    Attributes:
        keep: ``newest`` for control, ``every`` for recording, ``oldest`` for bursts that must be seen whole.
        frames: Frames that the buffer holds; ``None`` for 1 with ``newest`` and 8 with the others.

    Reference: Roboflow's inference has the same three as ``DROP_OLDEST``, ``WAIT`` and ``DROP_LATEST``.
    """

    keep: Keep = "newest"
    frames: int | None = None

    def __post_init__(self) -> None:
        """Raise OptionError for an unknown strategy or an empty buffer."""
        if self.keep not in ("newest", "every", "oldest"):
            raise OptionError(f"there is no buffer strategy {self.keep!r}; known: newest, every, oldest")
        if self.frames is not None and self.frames < 1:
            raise OptionError(f"a buffer holds at least 1 frame, got {self.frames}")

    @property
    def bound(self) -> int:
        """Frames that the buffer holds."""
        return self.frames or (1 if self.keep == "newest" else _DEEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """How a video, camera or stream is opened and read.

    Attributes:
        timeout_s: Seconds that a network source may take to answer.
        ffmpeg: Options of FFmpeg's input format, such as ``{"video_size": "640x480"}`` for a camera. FFmpeg ignores
            names that it does not know; a warning names those that none of its inputs is known to have.
        reconnect: How a live source that was lost is opened again; ``None`` lets it end.
        buffer: Which frames of a live source a slow reader gets.
    """

    timeout_s: float = DEFAULT_TIMEOUT_S
    ffmpeg: Mapping[str, str] = field(default_factory=dict)
    reconnect: ReconnectOptions | None = ReconnectOptions()
    buffer: BufferOptions = BufferOptions()

    def __post_init__(self) -> None:
        """Raise OptionError if the timeout is not positive."""
        if not self.timeout_s > 0:
            raise OptionError(
                f"timeout_s must be positive, got {self.timeout_s}; give the seconds to wait for an answer"
            )

    @property
    def stall_s(self) -> float:
        """Seconds that one read may take."""
        return DEFAULT_TIMEOUT_S if self.reconnect is None else self.reconnect.stall_s


DEFAULT_INPUT_OPTIONS = InputOptions()
