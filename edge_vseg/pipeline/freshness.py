"""How old a result is, and how old it may be."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.costs import NetworkPace
from edge_vseg.scheduling.policies import EveryFrame, Policy, limits_of, renewal_ms
from edge_vseg.types import Result

MAX_AGE_PERIODS = 3
USUAL_FPS = 30.0
"""Of a source that tells no rate, until it has been measured."""
SETTLED_RESULTS = 20
"""Durations are learned from so many first results, and the network's once more from its first map in the background,
which a slow one makes later. Others do not count: a machine that slows down makes results stale, and does not make
stale results allowed."""
_NETWORK_RUNS_CARRIED = 3
MIN_PERIODS = 5
"""So many measured periods are believed more than the rate that a source tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeLimits:
    """How old a result may be when it is handed out.

    Attributes:
        frame_ms: Milliseconds from the capture of its frame.
        map_ms: Milliseconds from the capture of the image that its oldest labels come from, unless nothing has moved
            since.
    """

    frame_ms: float
    map_ms: float

    @classmethod
    def both(cls, max_age_ms: float) -> AgeLimits:
        """One limit for frame and map.

        Raises:
            OptionError: If it is not positive.
        """
        if not max_age_ms > 0:
            raise OptionError(f"max_age_ms must be positive, got {max_age_ms}; leave it out for the default")
        return cls(frame_ms=max_age_ms, map_ms=max_age_ms)

    def expired_ns(self, result: Result) -> float:
        """From when on the result is too old, ``time.monotonic_ns()``; infinite for never."""
        return min(result.capture_ns + self.frame_ms * 1e6, result.labels_ns + self.map_ms * 1e6)

    def __str__(self) -> str:
        if self.frame_ms == self.map_ms:
            return f"{self.frame_ms:.0f} ms"
        return f"{self.frame_ms:.0f} ms for the frame and {self.map_ms:.0f} ms for its labels"


UNLIMITED = AgeLimits.both(math.inf)


def age_ms(result: Result, now_ns: int) -> float:
    """Milliseconds from the capture of what the labels show until now."""
    return (now_ns - result.labels_ns) / 1e6


def describe_age(result: Result, now_ns: int) -> str:
    """The age of a result in words."""
    frame_ms, labels_ms = (now_ns - result.capture_ns) / 1e6, age_ms(result, now_ns)
    if labels_ms - frame_ms < 1:
        return f"frame {result.seq} is {frame_ms:.0f} ms old"
    return f"frame {result.seq} is {frame_ms:.0f} ms old and its oldest labels {labels_ms:.0f} ms"


class PaceMeter:
    """Learns the default limits: three periods, of the source or of the segmenter, whichever is longer.

    Policies that carry maps mean them to get older than that. Their labels may be as old as the policy lets maps become
    (``max_age_frames``, or a few durations of the network where that is longer) on top of the three periods, and older
    by what the network has to wait: it rests to keep to ``cpu_share``, and other cameras of a fleet have their turn.

    Args:
        fps: Frames per second of the source; ``None`` if it tells no rate: it is measured then. What is measured also
            counts where it is slower, as of a camera that exposes longer in the dark.
        policy: What schedules the frames.
    """

    def __init__(self, fps: float | None, policy: Policy | None) -> None:
        self._told_ms = 1000 / fps if fps else None
        self._policy = policy
        self._periods_ms: deque[float] = deque(maxlen=SETTLED_RESULTS)
        self._frames_ms: list[float] = []
        self._network = NetworkPace()
        self._last: Result | None = None

    def add(self, result: Result, network: NetworkPace) -> None:
        """Learn from a result, and from how often the network makes a map."""
        last, self._last = self._last, result
        if last is not None and result.seq > last.seq and result.capture_ns > last.capture_ns:
            self._periods_ms.append((result.capture_ns - last.capture_ns) / 1e6 / (result.seq - last.seq))
        learns = len(self._frames_ms) < SETTLED_RESULTS
        if learns:
            self._frames_ms.append(result.latency_ms.get("total", 0.0))
        if learns or (network.measured and not self._network.measured):
            self._network = network

    @property
    def period_ms(self) -> float:
        """Milliseconds between two frames of the source."""
        if len(self._periods_ms) < (1 if self._told_ms is None else MIN_PERIODS):
            return self._told_ms or 1000 / USUAL_FPS
        return max(self._told_ms or 0.0, float(np.median(self._periods_ms)))

    @property
    def limits(self) -> AgeLimits:
        """The limits where none are given."""
        # The first frames allocate, and are no measure unless there are no others.
        frames_ms = self._frames_ms[len(self._frames_ms) // 4 :]
        usual_ms = float(np.median(frames_ms)) if frames_ms else 0.0
        frame_ms = MAX_AGE_PERIODS * max(self.period_ms, usual_ms)
        return AgeLimits(frame_ms=frame_ms, map_ms=frame_ms + self._carried_ms())

    def _carried_ms(self) -> float:
        if self._policy is None or isinstance(self._policy, EveryFrame):
            return 0.0
        network_ms, wait_ms = self._network.duration_ms, self._network.wait_ms
        allowed_ms = limits_of(self._policy).oldest_ms(network_ms, renewal_ms(self._policy, self.period_ms))
        frames = getattr(self._policy, "max_age_frames", None)
        if not isinstance(frames, int):
            return allowed_ms
        return min(allowed_ms, max(frames * self.period_ms, _NETWORK_RUNS_CARRIED * network_ms) + wait_ms)
