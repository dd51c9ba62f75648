"""Temperatures that Linux tells.

Formats: the kernel's Documentation/driver-api/thermal/sysfs-api.rst and Documentation/hwmon/sysfs-interface.rst. Tested
on trees of files with these formats; on boards untested.
"""

from __future__ import annotations

from pathlib import Path

from edge_vseg.analysis.profiling.sysfs import find, read_int, read_text, unique

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
FIXED = ("PMIC-Die",)
"""Zones that are no sensors: on Jetsons up to Xavier this one always says 100 degrees."""
_SWITCHED_OFF_BELOW = -100.0


def find_temperatures(root: Path) -> dict[str, str]:
    """Files with millidegrees, by the name of their sensor.

    All thermal zones, and of hwmon the processor's chips: on AMD, and on Intel outside laptops, no zone is inside the
    processor. Without either of them, every hwmon chip. Of a chip its first sensor: the package, not each core.
    """
    zones = [
        (name, zone / "temp")
        for zone in find(root / "sys/class/thermal", r"thermal_zone\d+")
        if (name := read_text(zone / "type")) and name not in FIXED
    ]
    chips = _chips(root, {name.replace("-", "_") for name, _ in zones})
    found = zones + ([chip for chip in chips if chip[0].split()[0] in CPU_CHIPS] or ([] if zones else chips))
    return dict(zip(unique([name for name, _ in found]), [str(path) for _, path in found], strict=True))


def read_temperatures(files: dict[str, str]) -> dict[str, float]:
    """Degrees Celsius by sensor, without those that cannot be read now or are switched off."""
    degrees = {name: milli / 1e3 for name, path in files.items() if (milli := read_int(path)) is not None}
    return {name: value for name, value in degrees.items() if value > _SWITCHED_OFF_BELOW}


def _chips(root: Path, zones: set[str]) -> list[tuple[str, Path]]:
    chips = []
    for chip in find(root / "sys/class/hwmon", r"hwmon\d+"):
        name = read_text(chip / "name")
        # The kernel shows most thermal zones as an hwmon chip too, with underscores in its name.
        if not name or name.replace("-", "_") in zones or read_text(chip / "temp1_input") is None:
            continue
        label = read_text(chip / "temp1_label")
        chips.append((f"{name} {label}" if label else name, chip / "temp1_input"))
    return chips
