"""Read the machine's sensors: load, memory, clock frequency, temperature, throttling, power.

Linux only, from files under ``/sys``. Every sensor is optional. Boards were tested on file trees in the documented
formats, not on a Pi or a Jetson.

A sample takes 0.1 ms on a virtual machine with two x86 cores and no sensors, 0.2 ms there on the file trees of a Pi, a
Jetson Orin and a laptop, and 1.3 ms with all counters of 64 cores. Drivers that read a chip over a slow bus, such as
the INA3221's, add their own time.
"""

from __future__ import annotations

import importlib
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_vseg.analysis.profiling.sensors_heat import find_temperatures, read_temperatures
from edge_vseg.analysis.profiling.sensors_power import Power
from edge_vseg.errors import BackendMissingError
from edge_vseg.machine.sysfs import find, read_int, read_text
from edge_vseg.machine.throttle import Throttle

NOT_AVAILABLE = "not available"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of all sensors.

    Attributes:
        time_s: Time of the clock.
        rss_mb: Resident memory of this process in megabytes of 2**20 bytes.
        cpu_percent: Load of each online core by all processes since the last sample, 0 to 100; empty if a core went
            online or offline.
        process_cpu_percent: CPU time of this process since the last sample; 100 is one core.
        frequency_mhz: Clock frequency by core; often empty in a virtual machine.
        temperature_c: Degrees Celsius by sensor.
        throttled: Why the processor is throttled, now or at any time since the last sample.
        power_w: Watts by rail. Rails contain each other: ``package-0`` includes ``package-0 core``, a Jetson's
            ``VDD_IN`` includes all others.
        load: Load average of the last minute.
        preemptions: How often the kernel preempted this process since the last sample.
    """

    time_s: float
    rss_mb: float
    cpu_percent: tuple[float, ...]
    process_cpu_percent: float
    frequency_mhz: tuple[float, ...]
    temperature_c: dict[str, float]
    throttled: tuple[str, ...]
    power_w: dict[str, float]
    load: float
    preemptions: int


class Sensors:
    """Samples this machine and process; the first sample covers the time since construction.

    Sensors are found once, at construction. Sample from any thread, one at a time.

    Args:
        root: Where ``sys`` and ``proc`` are; load and memory always come from the real ones.
        clock: Seconds, such as :func:`time.monotonic`.

    Raises:
        BackendMissingError: If psutil is not installed.
    """

    def __init__(self, root: Path = Path("/"), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._psutil = _load_psutil()
        self._process = self._psutil.Process()
        self._root = root
        self._clock = clock
        self._cores = find(root / "sys/devices/system/cpu", r"cpu\d+")
        clocks = [str(core / "cpufreq/scaling_cur_freq") for core in self._cores]
        self._frequencies = [path for path in clocks if read_int(path) is not None]
        self._temperatures = find_temperatures(root)
        self._throttle = Throttle(root)
        self._power = Power(root, clock)
        self._last_s = clock()
        self._last_process_s = time.process_time()
        self._last_cores = self._core_times()
        self._last_preemptions = _preemptions()

    def sample(self) -> Sample:
        """Read all sensors once."""
        now, process_s, preemptions = self._clock(), time.process_time(), _preemptions()
        elapsed, spent = now - self._last_s, process_s - self._last_process_s
        switched = preemptions - self._last_preemptions
        self._last_s, self._last_process_s, self._last_preemptions = now, process_s, preemptions
        return Sample(
            time_s=now,
            rss_mb=self._process.memory_info().rss / 2**20,
            cpu_percent=self._cpu_percent(),
            process_cpu_percent=100 * spent / elapsed if elapsed > 0 else 0.0,
            frequency_mhz=tuple(khz / 1e3 for path in self._frequencies if (khz := read_int(path)) is not None),
            temperature_c=read_temperatures(self._temperatures),
            throttled=self._throttle.read(),
            power_w=self._power.read(),
            load=os.getloadavg()[0],
            preemptions=switched,
        )

    def describe(self) -> dict[str, str]:
        """The machine and the sensors that it has, for a report."""
        governor = read_text(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        clocked = len(self._frequencies)
        facts = {
            "machine": _machine(self._root),
            "kernel": read_text(self._root / "proc/sys/kernel/osrelease") or "unknown",
            "cores": str(len(self._cores) or os.cpu_count() or "unknown"),
            "governor": governor or NOT_AVAILABLE,
            "frequency": f"of {clocked} core{'s' * (clocked > 1)}" if clocked else NOT_AVAILABLE,
            "temperature": ", ".join(self._temperatures) or NOT_AVAILABLE,
            "throttling": ", ".join(self._throttle.names) or NOT_AVAILABLE,
            "power": ", ".join(self._power.names) or self._power.unreadable or NOT_AVAILABLE,
        }
        if self._throttle.happened_before:
            facts["throttled before the run"] = ", ".join(self._throttle.happened_before)
        return facts

    def _core_times(self) -> list[tuple[float, float]]:
        """Busy and total seconds of each core."""
        return [_busy_and_total(times) for times in self._psutil.cpu_times(percpu=True)]

    def _cpu_percent(self) -> tuple[float, ...]:
        # psutil.cpu_percent keeps its last call per thread and shares it among all callers, so we count ourselves.
        before, self._last_cores = self._last_cores, self._core_times()
        if len(before) != len(self._last_cores):  # a core went online or offline: cores cannot be matched
            return ()
        return tuple(
            max(0.0, min(100.0, 100 * (busy - was_busy) / (total - was))) if total > was else 0.0
            for (was_busy, was), (busy, total) in zip(before, self._last_cores, strict=True)
        )


def _load_psutil() -> ModuleType:
    try:
        return importlib.import_module("psutil")
    except ImportError as exc:
        raise BackendMissingError("profiling needs psutil: pip install 'edge-vseg[profile]'") from exc


def _busy_and_total(times: Any) -> tuple[float, float]:
    # Linux includes the time of guests in user and nice.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _preemptions() -> int:
    # psutil counts those of the main thread only.
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _machine(root: Path) -> str:
    for tree in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        if model := read_text(root / tree):
            return model
    dmi = root / "sys/class/dmi/id"
    maker, product = read_text(dmi / "sys_vendor"), read_text(dmi / "product_name")
    return " ".join(part for part in (maker, product) if part) or "unknown"
