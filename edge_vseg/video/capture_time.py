"""When a frame was captured, as early as its source lets one know."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

_OLDEST_NS = 5 * 10**9
_AHEAD_NS = 5 * 10**6
_STEP_NS = 50 * 10**6
_MAX_PACKETS = 64
_MANY_LATE = 20
logger = logging.getLogger(__name__)


def _boot_ns() -> int:
    """Nanoseconds since the machine was started, with the time that it was suspended; only Linux tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class StampClock:
    """Finds out on which of this machine's clocks a camera stamps its frames.

    V4L2 drivers stamp with the monotonic clock, a few with the wall clock; libcamera with the time since boot, which is
    the monotonic clock unless the machine was suspended. A clock is recognised by a stamp in the five seconds before
    the arrival, and stays recognised: later frames are as old as their stamps say, also after minutes in the queue of a
    process that was stopped. A stamp that cannot be of that clock, as it is not after the one before or lies ahead of
    the arrival, is looked for on the others; one that is on none of them is ignored. A camera that is opened again
    needs another object.

    Stamps that a sender far away sets, as in a pipeline of GStreamer, may fall behind for good: it paused and goes on
    where it was, or its clock is slower. A queue drains; so if many frames in a row are older than five seconds and not
    younger than the ones before, the clock was taken for known wrongly, and is looked for anew.

    The monotonic clock stands still while the machine is suspended, and frames from before are younger by as much.
    """

    def __init__(
        self,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        boot: Callable[[], int] = _boot_ns,
        *,
        by_driver: bool = True,
    ) -> None:
        """Start knowing nothing.

        Args:
            monotonic: Nanoseconds.
            wall: Nanoseconds since 1970.
            boot: Nanoseconds since the machine was started, also those in which it was suspended.
            by_driver: Whether a driver of this machine sets the stamps, which cannot fall behind.
        """
        self._monotonic = monotonic
        self._clocks = (monotonic, wall, boot)
        self._known: Callable[[], int] | None = None
        self._offset_ns = 0
        self._last_ns = 0
        self._last_stamp_ns = 0
        self._by_driver = by_driver
        self._limit_ns = _OLDEST_NS
        self._late_frames = 0
        self._least_age_ns = 0

    def capture_ns(self, stamp_ns: int | None, arrived_ns: int) -> int:
        """The capture time by the monotonic clock.

        Args:
            stamp_ns: The camera's stamp; ``None`` if there is none.
            arrived_ns: When the frame reached this process, by the monotonic clock.

        Returns:
            The stamp, if it is on the recognised clock, or lies in the five seconds before the arrival by another; else
            the arrival.
        """
        if stamp_ns is None or not (self._is_on_known(stamp_ns, arrived_ns) or self._recognise(stamp_ns, arrived_ns)):
            return arrived_ns
        self._last_stamp_ns, self._last_ns = stamp_ns, stamp_ns - self._offset_ns
        if not self._by_driver and self._is_behind(arrived_ns - self._last_ns):
            self._forget(arrived_ns - self._last_ns)
            return arrived_ns
        return min(arrived_ns, self._last_ns)

    def _is_on_known(self, stamp_ns: int, arrived_ns: int) -> bool:
        """Whether the stamp can be of the recognised clock; sets the clock's offset."""
        if self._known is None or stamp_ns == self._last_stamp_ns:
            return False
        # Asked each time: the wall clock may be set, or the machine suspended, while a camera runs. The frames that
        # wait then have stamps from before. By the other offset a stamp lies ahead, or is older by the whole step.
        offset_ns = self._offset_of(self._known)
        stepped = abs(offset_ns - self._offset_ns) > _STEP_NS
        for each in sorted({offset_ns, self._offset_ns} if stepped else {offset_ns}):
            if self._last_ns - _AHEAD_NS <= stamp_ns - each <= arrived_ns + _AHEAD_NS:
                self._offset_ns = each
                return True
        return False

    def _recognise(self, stamp_ns: int, arrived_ns: int) -> bool:
        """Whether the stamp is of the last five seconds by one of the clocks, which is known then."""
        for clock in self._clocks:
            offset_ns = self._offset_of(clock)
            if -_AHEAD_NS <= arrived_ns - (stamp_ns - offset_ns) <= self._limit_ns:
                self._known, self._offset_ns = clock, offset_ns
                return True
        return False

    def _is_behind(self, age_ns: int) -> bool:
        """Whether frames have been late for long, and no queue drains."""
        if age_ns <= _OLDEST_NS:
            self._late_frames = 0
            return False
        if not self._late_frames or age_ns < self._least_age_ns - _STEP_NS:
            self._late_frames, self._least_age_ns = 0, age_ns
        self._late_frames += 1
        return self._late_frames > _MANY_LATE

    def _forget(self, age_ns: int) -> None:
        if self._limit_ns == _OLDEST_NS:
            logger.warning(
                "the stamps of a camera stay %.1f s behind this machine's clock; its frames count from their arrival"
                " until stamps are in time again",
                age_ns / 1e9,
            )
        # Less from now on: a stamp just within the limit would be known again, and forgotten again.
        self._known, self._late_frames, self._limit_ns = None, 0, _OLDEST_NS // 2

    def _offset_of(self, clock: Callable[[], int]) -> int:
        return 0 if clock is self._monotonic else clock() - self._monotonic()


_DRIFT = 0.01
_MAX_DELAY_NS = 10 * 10**9


class StreamClock:
    """Finds out how long the pictures of a stream were under way, by the stream's own time stamps.

    A picture that waited, in the network or in a buffer of this machine, arrives later after its stamp than others did.
    The shortest delay of all counts as none: what a camera and a network always take is not known here. The delay that
    counts as none grows by one hundredth of the time, for no two clocks agree, and cameras that drop pictures may stamp
    as if they had not. Stamps that go back or stand still, or tell of more than ten seconds, begin anew.
    """

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._least_ns = 0

    def capture_ns(self, stamp_ns: int | None, arrived_ns: int) -> int:
        """The capture time by the monotonic clock, up to the shortest delay.

        Args:
            stamp_ns: The stream's stamp, by a clock of its own; ``None`` if there is none.
            arrived_ns: When the picture's packet arrived, by the monotonic clock.
        """
        if stamp_ns is None:
            return arrived_ns
        delay_ns = arrived_ns - stamp_ns
        begins = self._last is None or stamp_ns <= self._last[0] or delay_ns - self._least_ns > _MAX_DELAY_NS
        if begins or self._last is None:
            self._least_ns = delay_ns
        else:
            drift_ns = round(_DRIFT * max(0, arrived_ns - self._last[1]))
            self._least_ns = min(delay_ns, self._least_ns + drift_ns)
        self._last = stamp_ns, arrived_ns
        return stamp_ns + self._least_ns


_SPLIT_BY_PARSER = ("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video")
_WITHOUT_BOUNDS = ("rtsp", "sdp", "rtp", "mpegts", "hls")


def is_known_complete_late(format_name: str, codec_name: str) -> bool:
    """Whether FFmpeg gives a packet only when the next one begins, as nothing in the stream says where it ends.

    It waits so in RTP and in MPEG transport streams for codecs whose packets its parser has to put together. After a
    silence, and at the end of the stream, it then gives a picture that arrived long before.
    """
    return codec_name in _SPLIT_BY_PARSER and any(name in _WITHOUT_BOUNDS for name in format_name.split(","))


class ArrivalTimes:
    """When the packets of a stream arrived, for the pictures that come out of the decoder later.

    Args:
        complete_late: See :func:`is_known_complete_late`; then a packet counts from when it began, which is when the
            one before it was given.
        opened_ns: When the stream was open; ``time.monotonic_ns()``.
    """

    def __init__(self, *, complete_late: bool, opened_ns: int) -> None:
        self._complete_late = complete_late
        self._given_ns = opened_ns
        self._arrivals: deque[tuple[int | None, int]] = deque(maxlen=_MAX_PACKETS)

    def add(self, pts: int | None, given_ns: int) -> None:
        """A packet was given."""
        self._arrivals.append((pts, self._given_ns if self._complete_late else given_ns))
        self._given_ns = given_ns

    def of(self, pts: int | None) -> int:
        """When the packet of a picture arrived; that of the last packet, if its own is not known."""
        for known, arrived_ns in self._arrivals:
            if known is not None and known == pts:
                return arrived_ns
        return self._arrivals[-1][1] if self._arrivals else time.monotonic_ns()
