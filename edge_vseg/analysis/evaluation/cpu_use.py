"""Which share of the machine the two lanes use."""

from __future__ import annotations

import re
from collections.abc import Callable

from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import DeviceProfile
from edge_vseg.scheduling.steps import Step, StepKind
from edge_vseg.types import BackgroundSpan, Result

NETWORK = (StepKind.INFER, StepKind.SLICE, StepKind.TILE)
"""Steps that take all threads of a session; the others take one core."""


def cores_of(profile: DeviceProfile | None) -> int:
    """Cores of the machine that a device profile was measured on; of this one without a profile."""
    machine = None if profile is None else re.search(r"-(\d+)-[0-9a-f]{8}$", profile.machine)
    return int(machine[1]) if machine else usable_cores()


class CpuMeter:
    """Share of the machine's cores that both lanes use while frames arrive at a rate.

    A network step counts for as many cores as its session has threads, in the frame lane and in the background; any
    other step counts for one. That is an upper bound: threads wait for each other. :attr:`process_share` measures what
    the process really used, of which the caller's own work is a part.

    Args:
        cores: Cores of the machine.
        threads: Threads of a session.
        background_ms: Milliseconds that a keyframe in the background takes, for replayed ones: their span is the time
            from their start to the frame that found them done, pauses included.
        process_time: Seconds of processor time that the process has used, ``time.process_time``; ``None`` where time is
            virtual.
    """

    def __init__(
        self,
        cores: int,
        threads: int,
        background_ms: Callable[[], float],
        process_time: Callable[[], float] | None = None,
    ) -> None:
        self._cores = cores
        self._threads = threads
        self._background_ms = background_ms
        self._process_time = process_time
        self._begin_ns: int | None = None
        self._process_begin_s = 0.0
        self._process_s = 0.0
        self._elapsed_ns = 0
        self._frame_ms = 0.0  # of one core
        self._parts_ms: list[float] = []
        self._keyframes_ms: list[float] = []

    def begin(self, time_ns: int) -> None:
        """Frames arrive from now on."""
        self._begin_ns = time_ns
        self._process_begin_s = self._process_time() if self._process_time else 0.0

    def add(self, result: Result) -> None:
        """Add a frame; nothing before :meth:`begin`."""
        if self._begin_ns is None:
            return
        network_ms = sum(ms for name, ms in result.latency_ms.items() if _is_network(name))
        self._frame_ms += result.latency_ms["total"] + (self._threads - 1) * network_ms
        for span in result.background:
            self._add_span(span, self._begin_ns)

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
        usual_ms = self._background_ms() if self._keyframes_ms else 0.0
        background_ms = sum(self._parts_ms) + sum(min(ms, usual_ms) for ms in self._keyframes_ms)
        used_ms = self._frame_ms + self._threads * background_ms
        return min(1.0, used_ms / (self._elapsed_ns / 1e6 * self._cores))

    @property
    def process_share(self) -> float | None:
        """Share of the cores that the process used, 0 to 1; ``None`` where it was not measured."""
        if self._process_time is None or not self._elapsed_ns:
            return None
        return self._process_s / (self._elapsed_ns / 1e9 * self._cores)

    def _add_span(self, span: BackgroundSpan, begin_ns: int) -> None:
        ms = max(0, span.end_ns - max(span.start_ns, begin_ns)) / 1e6
        (self._keyframes_ms if span.step == steps.BACKGROUND else self._parts_ms).append(ms)


def _is_network(name: str) -> bool:
    return name != "total" and Step.named(name).kind in NETWORK
