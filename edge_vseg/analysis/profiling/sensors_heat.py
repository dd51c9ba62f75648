"""Temperatures.

Formats: the kernel's Documentation/driver-api/thermal/sysfs-api.rst and Documentation/hwmon/sysfs-interface.rst. Tested
on file trees in these formats, not on boards.
"""

from __future__ import annotations

from pathlib import Path

from edge_vseg.machine.sysfs import find, read_int, read_text, unique

CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
FIXED = ("PMIC-Die",)
"""Zones that are not sensors: on Jetsons up to Xavier this one always reads 100 degrees."""
_SWITCHED_OFF_BELOW = -100.0


def find_temperatures(root: Path) -> dict[str, str]:
    """Files with millidegrees, by sensor name.

    All thermal zones, and the hwmon chips of the processor, because AMD, and Intel outside laptops, have no zone in the
    processor. Without either, every hwmon chip. Of each chip only the first sensor, which is the package.
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
    """Degrees Celsius by sensor, without sensors that are off or cannot be read."""
    degrees = {name: milli / 1e3 for name, path in files.items() if (milli := read_int(path)) is not None}
    return {name: value for name, value in degrees.items() if value > _SWITCHED_OFF_BELOW}


def _chips(root: Path, zones: set[str]) -> list[tuple[str, Path]]:
    chips = []
    for chip in find(root / "sys/class/hwmon", r"hwmon\d+"):
        name = read_text(chip / "name")
        # The kernel lists most thermal zones again as an hwmon chip, with underscores in the name.
        if not name or name.replace("-", "_") in zones or read_text(chip / "temp1_input") is None:
            continue
        label = read_text(chip / "temp1_label")
        chips.append((f"{name} {label}" if label else name, chip / "temp1_input"))
    return chips
