"""Which share of the machine the two lanes use."""

from __future__ import annotations

from collections.abc import Callable

from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling.device_profile import DeviceProfile
from edge_vseg.scheduling.steps import ALL_THREADS, Step, StepKind
from edge_vseg.types import Result


def cores_of(profile: DeviceProfile | None) -> int:
    """Cores of the machine that a device profile was measured on; of this one without a profile."""
    return usable_cores() if profile is None else profile.cores


class CpuMeter:
    """Share of the machine's cores that both lanes use while frames arrive at a rate.

    A network step counts for as many cores as its session has threads, in the frame lane and in the background; any
    other step counts for one. That is an upper bound: threads wait for each other. :attr:`process_share` measures what
    the process really used, of which the caller's own work is a part.

    Args:
        cores: Cores of the machine.
        threads: Threads of a session.
        process_time: Seconds of processor time that the process has used, ``time.process_time``; ``None`` where time is
            virtual.
    """

    def __init__(
        self,
        cores: int,
        threads: int,
        process_time: Callable[[], float] | None = None,
    ) -> None:
        self._cores = cores
        self._threads = threads
        self._process_time = process_time
        self._begin_ns: int | None = None
        self._process_begin_s = 0.0
        self._process_s = 0.0
        self._elapsed_ns = 0
        self._used_ms = 0.0  # of one core

    def begin(self, time_ns: int) -> None:
        """Frames arrive from now on."""
        self._begin_ns = time_ns
        self._process_begin_s = self._process_time() if self._process_time else 0.0

    def add(self, result: Result) -> None:
        """Add a frame; nothing before :meth:`begin`."""
        if self._begin_ns is None:
            return
        network_ms = sum(ms for name, ms in result.latency_ms.items() if name != "total" and self._cores_of(name) > 1)
        self._used_ms += result.latency_ms["total"] + (self._threads - 1) * network_ms
        for span in result.background:
            ms = max(0, span.end_ns - max(span.start_ns, self._begin_ns)) / 1e6
            self._used_ms += self._cores_of(span.step) * ms

    def end(self, time_ns: int) -> None:
        """No more frames arrive for now."""
        if self._begin_ns is None:
            return
        self._elapsed_ns += time_ns - self._begin_ns
        self._begin_ns = None
        if self._process_time:
            self._process_s += self._process_time() - self._process_begin_s

    @property
    def share(self) -> float | None:
        """Share of the cores, 0 to 1; ``None`` if no frames arrived at a rate."""
        if not self._elapsed_ns:
            return None
        return min(1.0, self._used_ms / (self._elapsed_ns / 1e6 * self._cores))

    @property
    def process_share(self) -> float | None:
        """Share of the cores that the process used, 0 to 1; ``None`` where it was not measured."""
        if self._process_time is None or not self._elapsed_ns:
            return None
        return self._process_s / (self._elapsed_ns / 1e9 * self._cores)

    def _cores_of(self, step: str) -> int:
        """Cores that a step takes; a replayed keyframe is one step."""
        return self._threads if Step.named(step).kind in (*ALL_THREADS, StepKind.BACKGROUND) else 1
