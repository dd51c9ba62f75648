"""Read the sensors about once a second in a thread, in constant memory."""

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
"""Start of a run that the memory trend leaves out: caches and the profile's own timelines fill by some MB."""
MIN_TREND_S = 450.0
"""Shortest time after settling that gives a memory trend."""
JOIN_S = 5.0


class SensorReader(Protocol):
    """Gives samples, such as :class:`~edge_vseg.analysis.profiling.sensors.Sensors`."""

    def sample(self) -> Sample:
        """Read all sensors."""
        ...


class SensorMonitor:
    """Reads sensors while its ``with`` block runs.

    Args:
        sensors: The sensors.
        interval_s: Seconds between two readings. At :data:`MAX_READINGS` readings, neighbours are merged.
        clock: Seconds.
    """

    def __init__(
        self, sensors: SensorReader, *, interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.readings: list[Reading] = []
        self._sensors = sensors
        self._interval_s = interval_s
        self._clock = clock
        self._start = clock()
        self._last_s = 0.0
        self._pending: Reading | None = None
        self._pending_samples, self._samples_per_reading = 0, 1
        self._first_mb = self._now_mb = self._max_mb = 0.0
        self._energy: dict[str, tuple[float, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-vseg-sensors", daemon=True)

    def __enter__(self) -> SensorMonitor:
        """Take a first reading and start the thread."""
        self._start = self._clock()
        self.read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread and take a last reading."""
        self._stopped.set()
        self._thread.join(JOIN_S)
        self._read_safely()
        if self._pending is not None:
            self.readings.append(self._pending)

    def read(self) -> None:
        """Take a reading."""
        sample = self._sensors.sample()
        at_s = self._clock() - self._start
        self._first_mb = self._first_mb or sample.rss_mb
        self._now_mb, self._max_mb = sample.rss_mb, max(self._max_mb, sample.rss_mb)
        # The first reading covers the time before the run, and the last one is shorter than the others.
        elapsed_s, self._last_s = at_s - self._last_s, at_s
        for rail, watts in sample.power_w.items() if self.readings else ():
            joules, seconds = self._energy.get(rail, (0.0, 0.0))
            self._energy[rail] = (joules + watts * elapsed_s, seconds + elapsed_s)
        reading = Reading(
            at_s=at_s,
            rss_mb=sample.rss_mb,
            cpu_percent=sample.cpu_percent,
            process_cpu_percent=sample.process_cpu_percent,
            frequency_mhz=sample.frequency_mhz,
            temperature_c=sample.temperature_c,
            throttled=sample.throttled,
            power_w=sample.power_w,
        )
        self._pending = reading if self._pending is None else _merged(self._pending, reading)
        self._pending_samples += 1
        if self._pending_samples >= self._samples_per_reading:
            self.readings.append(self._pending)
            self._pending, self._pending_samples = None, 0
        if len(self.readings) > MAX_READINGS:
            if len(self.readings) % 2:
                self._pending, self._pending_samples = self.readings.pop(), self._samples_per_reading
            self.readings = [_merged(*pair) for pair in zip(self.readings[::2], self.readings[1::2], strict=True)]
            self._samples_per_reading *= 2

    @property
    def watts(self) -> dict[str, float]:
        """Mean power by rail over the run."""
        return {rail: joules / seconds for rail, (joules, seconds) in list(self._energy.items()) if seconds}

    def memory(self) -> MemoryUse:
        """Resident memory over the run."""
        return MemoryUse(
            first=self._first_mb,
            last=self._now_mb,
            max=self._max_mb,
            slope_per_hour=_slope([(reading.at_s, reading.rss_mb) for reading in self.readings]),
        )

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            if not self._read_safely():
                return

    def _read_safely(self) -> bool:
        try:
            self.read()
        except Exception:  # the run matters more than its readings
            log.exception("reading the sensors failed; the run goes on without them")
            return False
        return True


def _merged(first: Reading, second: Reading) -> Reading:
    """Two readings as one: mean load, power and frequency, maximum memory and temperature, all throttling reasons."""
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
    if len(first) != len(second):  # a core went online or offline
        return first or second
    return tuple((a + b) / 2 for a, b in zip(first, second, strict=True))


def _slope(points: list[tuple[float, float]]) -> float | None:
    """Slope per hour by least squares after settling; ``None`` if that time is too short for a trend."""
    settled_s = max(SETTLING_S, SETTLING_SHARE * points[-1][0]) if points else 0.0
    points = [point for point in points if point[0] >= settled_s]
    if not points or points[-1][0] - points[0][0] < MIN_TREND_S:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
