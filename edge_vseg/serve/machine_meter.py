"""How busy, hot and fast the machine is, from ``/sys`` and the process's own clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_vseg.analysis.profiling.sensors_heat import find_temperatures, read_temperatures
from edge_vseg.machine.sysfs import find, read_int
from edge_vseg.runtimes.cpu import usable_cores

MIN_INTERVAL_S = 1.0
"""A share of the CPU over less time says little; a reading that is so young is given again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """One reading; what the machine does not tell is empty.

    Attributes:
        cpu_share: Share of the usable cores that this process used since the reading before, 0 to 1.
        temperature_c: Degrees Celsius by sensor.
        clock_mhz: Clock frequencies of the cores that tell it: lowest and highest.
    """

    cpu_share: float = 0.0
    temperature_c: Mapping[str, float] = field(default_factory=dict)
    clock_mhz: tuple[float, float] | None = None

    @property
    def hottest(self) -> tuple[str, float] | None:
        """Name and degrees of the hottest sensor."""
        return max(self.temperature_c.items(), key=lambda item: item[1], default=None)


class MachineMeter:
    """Reads the machine; from any thread, one at a time.

    Args:
        root: Where ``sys`` is.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._temperatures = find_temperatures(root)
        cores = find(root / "sys/devices/system/cpu", r"cpu\d+")
        clocks = [core / "cpufreq/scaling_cur_freq" for core in cores]
        self._clocks = [path for path in clocks if read_int(path) is not None]
        self._cores = usable_cores()
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()
        self.newest = MachineReading()

    def read(self) -> MachineReading:
        """Read it, if the last reading is old enough."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        if wall_s - self._wall_s < MIN_INTERVAL_S:
            return self.newest
        share = (cpu_s - self._cpu_s) / (wall_s - self._wall_s) / self._cores
        self._wall_s, self._cpu_s = wall_s, cpu_s
        clocks_mhz = [khz / 1e3 for path in self._clocks if (khz := read_int(path)) is not None]
        self.newest = MachineReading(
            cpu_share=min(1.0, share),
            temperature_c=read_temperatures(self._temperatures),
            clock_mhz=(min(clocks_mhz), max(clocks_mhz)) if clocks_mhz else None,
        )
        return self.newest
