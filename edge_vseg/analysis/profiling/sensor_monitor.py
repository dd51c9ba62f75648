"""The machine, read about once a second by a thread of its own, in constant memory."""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from edge_vseg.analysis.profiling.latency_profile import MemoryUse, Reading
from edge_vseg.analysis.profiling.sensors import Sample

log = logging.getLogger(__name__)

MAX_READINGS = 300
SETTLING_SHARE, SETTLING_S = 0.1, 150.0
"""What is left out before memory is said to grow: caches fill, and so do the profile's own timelines, by some MB."""
MIN_TREND_S = 450.0
"""Of what is left, for a slope."""
JOIN_S = 5.0


class Sensing(Protocol):
    """Something that gives samples, such as :class:`~edge_vseg.analysis.profiling.sensors.Sensors`."""

    def sample(self) -> Sample:
        """The machine now."""
        ...


class Watch:
    """Reads sensors until it is left.

    Args:
        sensors: What to read.
        every_s: Seconds between two readings; with more than :data:`MAX_READINGS` of them, neighbours become one.
        clock: Seconds.
    """

    def __init__(self, sensors: Sensing, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.readings: list[Reading] = []
        self._sensors = sensors
        self._every_s = every_s
        self._clock = clock
        self._begin = clock()
        self._last_s = 0.0
        self._pending: Reading | None = None
        self._waiting, self._together = 0, 1
        self._first_mb = self._now_mb = self._most_mb = 0.0
        self._energy: dict[str, tuple[float, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="edge-vseg-sensors", daemon=True)

    def __enter__(self) -> Watch:
        """Read once, then begin."""
        self._begin = self._clock()
        self.read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and read a last time."""
        self._stopped.set()
        self._thread.join(JOIN_S)
        self._try()
        if self._pending is not None:
            self.readings.append(self._pending)

    def read(self) -> None:
        """Take a reading now."""
        found = self._sensors.sample()
        at_s = self._clock() - self._begin
        self._first_mb = self._first_mb or found.rss_mb
        self._now_mb, self._most_mb = found.rss_mb, max(self._most_mb, found.rss_mb)
        # The first reading is of the time before the run, and the last one of a shorter time than the others.
        elapsed_s, self._last_s = at_s - self._last_s, at_s
        for rail, watts in found.power_w.items() if self.readings else ():
            joules, seconds = self._energy.get(rail, (0.0, 0.0))
            self._energy[rail] = (joules + watts * elapsed_s, seconds + elapsed_s)
        reading = Reading(
            at_s=at_s,
            rss_mb=found.rss_mb,
            cpu_percent=found.cpu_percent,
            process_cpu_percent=found.process_cpu_percent,
            frequency_mhz=found.frequency_mhz,
            temperature_c=found.temperature_c,
            throttled=found.throttled,
            power_w=found.power_w,
        )
        self._pending = reading if self._pending is None else _merged(self._pending, reading)
        self._waiting += 1
        if self._waiting >= self._together:
            self.readings.append(self._pending)
            self._pending, self._waiting = None, 0
        if len(self.readings) > MAX_READINGS:
            if len(self.readings) % 2:
                self._pending, self._waiting = self.readings.pop(), self._together
            self.readings = [_merged(*pair) for pair in zip(self.readings[::2], self.readings[1::2], strict=True)]
            self._together *= 2

    @property
    def watts(self) -> dict[str, float]:
        """Mean power by rail over the run."""
        return {rail: joules / seconds for rail, (joules, seconds) in list(self._energy.items()) if seconds}

    def memory(self) -> MemoryUse:
        """Resident memory over the run."""
        return MemoryUse(
            first=self._first_mb,
            last=self._now_mb,
            max=self._most_mb,
            slope_per_hour=_slope([(reading.at_s, reading.rss_mb) for reading in self.readings]),
        )

    def _go_on(self) -> None:
        while not self._stopped.wait(self._every_s):
            if not self._try():
                return

    def _try(self) -> bool:
        try:
            self.read()
        except Exception:  # the run is worth more than the readings
            log.exception("the sensors are not read any more")
            return False
        return True


def _merged(first: Reading, second: Reading) -> Reading:
    """Two readings as one: means of loads, power and frequency, the highest of memory and heat, all reasons."""
    return Reading(
        at_s=second.at_s,
        rss_mb=max(first.rss_mb, second.rss_mb),
        cpu_percent=_means(first.cpu_percent, second.cpu_percent),
        process_cpu_percent=(first.process_cpu_percent + second.process_cpu_percent) / 2,
        frequency_mhz=_means(first.frequency_mhz, second.frequency_mhz),
        temperature_c={
            name: max(each.get(name, -math.inf) for each in (first.temperature_c, second.temperature_c))
            for name in first.temperature_c | second.temperature_c
        },
        throttled=tuple(dict.fromkeys((*first.throttled, *second.throttled))),
        power_w={
            name: statistics.mean(each[name] for each in (first.power_w, second.power_w) if name in each)
            for name in first.power_w | second.power_w
        },
    )


def _means(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    if len(first) != len(second):  # a core went on or off
        return first or second
    return tuple((a + b) / 2 for a, b in zip(first, second, strict=True))


def _slope(points: list[tuple[float, float]]) -> float | None:
    """Least squares, per hour, over what comes after the settling; ``None`` if that is too short to tell."""
    settled_s = max(SETTLING_S, SETTLING_SHARE * points[-1][0]) if points else 0.0
    points = [point for point in points if point[0] >= settled_s]
    if not points or points[-1][0] - points[0][0] < MIN_TREND_S:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
