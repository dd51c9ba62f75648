"""The machine, read about once a second by a thread of its own, in constant memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import msgspec

from edge_vseg.profiling.profile import Memory, Reading
from edge_vseg.profiling.sensors import Sample

log = logging.getLogger(__name__)

MOST_READINGS = 600
SETTLING_SHARE = 0.1
LEAST_FOR_SLOPE = 20


class Sensing(Protocol):
    """Something that gives samples, such as :class:`~edge_vseg.profiling.sensors.Sensors`."""

    def sample(self) -> Sample:
        """The machine now."""
        ...


class Watch:
    """Reads sensors until it is left.

    Args:
        sensors: What to read.
        every_s: Seconds between two readings, at first; with more than :data:`MOST_READINGS` of them, every second one
            is dropped and the pause doubles.
        clock: Seconds.
    """

    def __init__(self, sensors: Sensing, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.readings: list[Reading] = []
        self._sensors = sensors
        self._every_s = every_s
        self._clock = clock
        self._begin = clock()
        self._most_mb = 0.0
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
        self._thread.join()
        self.read()

    def read(self) -> None:
        """Take a reading now."""
        found = self._sensors.sample()
        at_s = self._clock() - self._begin
        self._most_mb = max(self._most_mb, found.rss_mb)
        # The first reading is of the time before the run, and the last one of a shorter time than the others.
        elapsed_s = at_s - self.readings[-1].at_s if self.readings else 0.0
        for rail, watts in found.power_w.items():
            joules, seconds = self._energy.get(rail, (0.0, 0.0))
            self._energy[rail] = (joules + watts * elapsed_s, seconds + elapsed_s)
        self.readings.append(
            Reading(
                at_s=at_s,
                rss_mb=found.rss_mb,
                cpu_percent=found.cpu_percent,
                process_cpu_percent=found.process_cpu_percent,
                frequency_mhz=found.frequency_mhz,
                temperature_c=found.temperature_c,
                throttled=found.throttled,
                power_w=found.power_w,
            )
        )
        if len(self.readings) > MOST_READINGS:
            self.readings = _halved(self.readings)
            self._every_s *= 2

    @property
    def watts(self) -> dict[str, float]:
        """Mean power by rail over the run."""
        return {rail: joules / seconds for rail, (joules, seconds) in self._energy.items() if seconds}

    def memory(self) -> Memory:
        """Resident memory over the run."""
        return Memory(
            first=self.readings[0].rss_mb,
            last=self.readings[-1].rss_mb,
            max=self._most_mb,
            slope_per_hour=_slope([(reading.at_s, reading.rss_mb) for reading in self.readings]),
        )

    def _go_on(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.read()
            except Exception:  # the run is worth more than the readings
                log.exception("the sensors are not read any more")
                return


def _halved(readings: list[Reading]) -> list[Reading]:
    """Every second one; that the processor was slowed down in one that goes is said by the next."""
    kept = readings[:1]
    for gone, each in zip(readings[1::2], readings[2::2], strict=False):
        throttled = tuple(dict.fromkeys((*gone.throttled, *each.throttled)))
        kept.append(msgspec.structs.replace(each, throttled=throttled))
    return kept


def _slope(points: list[tuple[float, float]]) -> float | None:
    """Least squares, per hour, over what comes after the settling; ``None`` for too few points."""
    points = points[int(SETTLING_SHARE * len(points)) :]
    if len(points) < LEAST_FOR_SLOPE:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else None
