"""What a process holds, sampled for hours, and whether it grows."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What this process holds at one moment.

    Attributes:
        seconds: Since the start.
        mib: Resident memory.
        descriptors: Open descriptors.
        threads: Threads, also those of native code.
        shared: Entries of ``/dev/shm``.
    """

    seconds: float
    mib: float
    descriptors: int
    threads: int
    shared: int

    @classmethod
    def now(cls, started_s: float) -> Holdings:
        """Read them from ``/proc``; no garbage is collected first, for on a robot nobody does that either."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            seconds=time.monotonic() - started_s,
            mib=pages * os.sysconf("SC_PAGESIZE") / 2**20,
            descriptors=_entries("/proc/self/fd") - 1,
            threads=_entries("/proc/self/task"),
            shared=_entries("/dev/shm"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Growth in an hour, with a 95 % confidence interval."""

    per_hour: float
    low: float
    high: float

    @classmethod
    def of(cls, hours: list[float], values: list[float]) -> Slope:
        """The median of the slopes between all pairs of points, and Kendall's interval for it.

        A few samples that stand out do not move it.

        Reference: Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968.
        """
        count = len(hours)
        first, second = np.triu_indices(count, 1)
        x, y = np.asarray(hours), np.asarray(values)
        slopes = np.sort((y[second] - y[first]) / np.maximum(x[second] - x[first], 1e-9))
        if not len(slopes):
            return cls(per_hour=0.0, low=-math.inf, high=math.inf)
        spread = 1.96 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
        low, high = (len(slopes) - spread) / 2, (len(slopes) + spread) / 2
        return cls(
            per_hour=float(np.median(slopes)),
            low=float(slopes[math.floor(low)]) if low >= 0 else -math.inf,
            high=float(slopes[math.ceil(high)]) if math.ceil(high) < len(slopes) else math.inf,
        )


def memory_slope(samples: list[Holdings]) -> Slope:
    """Growth of the resident memory in MiB an hour, over the second half."""
    later = samples[len(samples) // 2 :]
    return Slope.of([each.seconds / 3600 for each in later], [each.mib for each in later])


def leaks(samples: list[Holdings], max_mib_per_hour: float) -> list[str]:
    """What grows without need, a sentence each.

    Memory grows if the interval of its slope lies above the limit. Descriptors, threads and shared memory are counted
    at the same point of each round, so there they must not be more than they ever were in the first third.
    """
    found = []
    slope = memory_slope(samples)
    if slope.low > max_mib_per_hour:
        found.append(f"memory grows by {slope.per_hour:.1f} MiB an hour (95 %: {slope.low:.1f} to {slope.high:.1f})")
    early, late = samples[: max(2, len(samples) // 3)], samples[-1]
    for name in ("descriptors", "threads", "shared"):
        most = max(getattr(each, name) for each in early)
        if getattr(late, name) > most:
            found.append(f"{name} grow: {most} at most in the first rounds, {getattr(late, name)} in the last")
    return found


def as_rows(samples: list[Holdings]) -> list[dict[str, float]]:
    """For JSON."""
    return [asdict(each) for each in samples]


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())
