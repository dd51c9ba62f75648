"""Power by rail: Intel's and AMD's RAPL counters, and the INA3221 monitors of Jetsons.

Formats: the kernel's Documentation/power/powercap/powercap.rst and Documentation/hwmon/ina3221.rst. Tested on file
trees in these formats, not on a Jetson. The monitors of JetPack 4, under iio, are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.machine.sysfs import find, read_int, read_text, unique

RAPL_FOR_ROOT = "the processor's RAPL counters, which only root may read (energy_uj)"
_NOT_CONNECTED = "NC"


@dataclass(slots=True, kw_only=True)
class _Counter:
    """A RAPL domain, with its last reading in microjoules."""

    path: str
    range_uj: int | None
    last_uj: int | None


class Power:
    """Power by rail in watts.

    Args:
        root: Where ``sys`` is.
        clock: Seconds; RAPL power is the mean since the last reading.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        domains = _domains(root)
        self._counters = {name: counter for name, counter in domains.items() if counter.last_uj is not None}
        self._rails = _rails(root)
        self._last_s = clock()
        self.unreadable = RAPL_FOR_ROOT if domains and not self._counters else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The rails."""
        return (*self._counters, *self._rails)

    def read(self) -> dict[str, float]:
        """Watts by rail: the mean since the last reading for RAPL, the latest sample for an INA3221."""
        now = self._clock()
        elapsed, self._last_s = now - self._last_s, now
        means = {name: _joules(counter) for name, counter in self._counters.items()}
        watts = {name: spent / elapsed for name, spent in means.items() if spent is not None and elapsed > 0}
        for name, (volts, amperes) in self._rails.items():
            millivolts, milliamperes = read_int(volts), read_int(amperes)
            if millivolts is not None and milliamperes is not None:
                watts[name] = millivolts * milliamperes / 1e6
        return watts


def _joules(counter: _Counter) -> float | None:
    before, counter.last_uj = counter.last_uj, read_int(counter.path)
    if before is None or counter.last_uj is None:
        return None
    spent = counter.last_uj - before
    if spent < 0:
        if counter.range_uj is None:
            return None
        spent += counter.range_uj
    # Still negative: the counter was reset, for example by a suspend.
    return spent / 1e6 if spent >= 0 else None


def _domains(root: Path) -> dict[str, _Counter]:
    """RAPL domains by name; a subdomain has its package in its name, such as ``package-0 core``."""
    folders = find(root / "sys/class/powercap", r"intel-rapl:\d+(:\d+)*")
    own = {folder.name: read_text(folder / "name") or folder.name for folder in folders}
    names = []
    for folder in folders:
        parent = own.get(folder.name.rpartition(":")[0])
        names.append(f"{parent} {own[folder.name]}" if parent else own[folder.name])
    counters = [
        _Counter(
            path=str(folder / "energy_uj"),
            range_uj=read_int(folder / "max_energy_range_uj"),
            last_uj=read_int(folder / "energy_uj"),
        )
        for folder in folders
    ]
    return dict(zip(unique(names), counters, strict=True))


def _rails(root: Path) -> dict[str, tuple[str, str]]:
    """Files with millivolts and milliamperes of the INA3221 channels 1 to 3; higher channels are sums of these."""
    names, files = [], []
    for chip in find(root / "sys/class/hwmon", r"hwmon\d+"):
        if read_text(chip / "name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = read_text(chip / f"in{channel}_label")
            volts, amperes = chip / f"in{channel}_input", chip / f"curr{channel}_input"
            if label != _NOT_CONNECTED and read_int(volts) is not None and read_int(amperes) is not None:
                names.append(label or f"ina3221 channel {channel}")
                files.append((str(volts), str(amperes)))
    return dict(zip(unique(names), files, strict=True))
