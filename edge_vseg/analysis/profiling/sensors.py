"""What the machine says of itself while it works: load, memory, clocks, heat, throttling, power.

Linux only, from files under ``/sys``. None of them is a must: what a machine does not tell is absent. What boards tell
was tested on trees of files in the documented formats, not on a Pi or a Jetson.

A sample takes 0.1 ms on two x86 cores in a virtual machine that has no sensors, most of it in psutil, and 0.2 ms on
the trees of a Pi, a Jetson Orin and a laptop there; with all counters of 64 cores, 1.3 ms. A driver that asks a chip
over a slow bus, as the INA3221's does, adds its own time.
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
from edge_vseg.analysis.profiling.sensors_throttle import Throttle
from edge_vseg.analysis.profiling.sysfs import find, read_int, read_text
from edge_vseg.errors import BackendMissingError

NONE = "none that this machine tells"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The machine at a moment.

    Attributes:
        time_s: What the clock said.
        rss_mb: Resident memory of this process in megabytes of 2**20 bytes.
        cpu_percent: Load of each core that is on, 0 to 100, by all processes, since the last sample;
            empty where one was switched on or off meanwhile.
        process_cpu_percent: Processor time of this process since the last sample; 100 is one core.
        frequency_mhz: Clock of each core that tells; often empty in a virtual machine.
        temperature_c: Degrees Celsius by sensor.
        throttled: Why the processor is slowed down now, or was at a moment since the last sample.
        power_w: Watts by rail. Rails contain each other: ``package-0`` has ``package-0 core`` in it, and a Jetson's
            ``VDD_IN`` all others.
        load: Processes that ran or waited to run, mean of the last minute.
        preemptions: How often the kernel took a core from this process since the last sample.
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
    """Samples of this machine and process; the first is since the construction.

    Looks once for what there is. Samples may be taken in any thread, one at a time.

    Args:
        root: Where ``sys`` and ``proc`` are. What the process and the cores' load come from is always the real one.
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
        """Read everything once."""
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
        """The machine, and which sensors were found, for a report."""
        governor = read_text(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        told = len(self._frequencies)
        facts = {
            "machine": _machine(self._root),
            "kernel": read_text(self._root / "proc/sys/kernel/osrelease") or "unknown",
            "cores": str(len(self._cores) or os.cpu_count() or "unknown"),
            "governor": governor or NONE,
            "frequency": f"of {told} core{'s' * (told > 1)}" if told else NONE,
            "temperature": ", ".join(self._temperatures) or NONE,
            "throttling": ", ".join(self._throttle.names) or NONE,
            "power": ", ".join(self._power.names) or self._power.unreadable or NONE,
        }
        if self._throttle.happened_before:
            facts["throttled before the run"] = ", ".join(self._throttle.happened_before)
        return facts

    def _core_times(self) -> list[tuple[float, float]]:
        """Busy and total seconds of each core."""
        return [_busy_and_total(times) for times in self._psutil.cpu_times(percpu=True)]

    def _cpu_percent(self) -> tuple[float, ...]:
        # psutil.cpu_percent would do, but it remembers its last call per thread and for all its callers together.
        before, self._last_cores = self._last_cores, self._core_times()
        if len(before) != len(self._last_cores):  # a core was switched on or off: who is who is unknown
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
    # Linux counts the time of guests in user and nice already.
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
