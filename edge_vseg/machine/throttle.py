"""Throttling: flags of the Pi's firmware, Linux cooling devices, and the counters of Intel and Jetson.

Formats: raspberrypi/linux issue 2367 and the documentation of ``vcgencmd get_throttled``; the kernel's
Documentation/driver-api/thermal/sysfs-api.rst and Documentation/admin-guide/thermal/intel_thermal_throttle.rst;
NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance". Tested on file trees in these formats,
not on a Pi or a Jetson.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_vseg.machine.sysfs import find, read_int, read_text

FIRMWARE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of the Pi's flags: the present state. Bits 16 to 19: whether it has occurred since boot."""
_OCCURRED_SHIFT = 16

# Cooling devices that slow the processor down: not fans, screens or Jetson's hot-surface-alert (a warning only), and
# not "TCC Offset", whose state is a firmware setting that is never 0 on many laptops.
_SLOWING = re.compile(
    r"Processor|intel_powerclamp|(thermal-)?cpufreq-.*|(thermal-)?(idle|devfreq)-.*|.+-throttle-alert|.+-balanced"
)


class Throttle:
    """Reasons for throttling, now or since the last reading.

    Args:
        root: Where ``sys`` is.
    """

    def __init__(self, root: Path) -> None:
        self._firmware = _firmware(root)
        self._alarm = "" if self._firmware else _voltage_alarm(root)
        self._cooling = _cooling_devices(root)
        self._counters = _x86_counters(root) | _jetson_counters(root)
        self._counts = {path: read_int(path) for path in self._counters}
        self._flags = (read_int(self._firmware, 16) or 0) if self._firmware else 0
        self.happened_before = _named(self._flags >> _OCCURRED_SHIFT)

    @property
    def names(self) -> tuple[str, ...]:
        """The indicators of throttling that this machine has."""
        kinds = {
            "firmware flags": self._firmware,
            "voltage alarm": self._alarm,
            "cooling devices": self._cooling,
        }
        counters = dict.fromkeys(reason.rpartition(" oc")[0] or reason for reason in self._counters.values())
        return (*(name for name, found in kinds.items() if found), *(f"{name} counters" for name in counters))

    def read(self) -> tuple[str, ...]:
        """The reasons, without repetition."""
        reasons = list(self._read_firmware())
        if self._alarm and read_int(self._alarm):
            reasons.append(FIRMWARE_BITS[0])
        # intel_powerclamp reads -1 when idle.
        reasons += [f"cooling device {kind}" for path, kind in self._cooling.items() if (read_int(path) or 0) > 0]
        for path, reason in self._counters.items():
            count, last = read_int(path), self._counts[path]
            if count is not None:
                if last is not None and count > last:
                    reasons.append(reason)
                self._counts[path] = count
        return tuple(dict.fromkeys(reasons))

    def _read_firmware(self) -> tuple[str, ...]:
        flags = read_int(self._firmware, 16) if self._firmware else None
        if flags is None:
            return ()
        before, self._flags = self._flags, flags
        # An occurred flag that is new since the last reading means a short event in between.
        return _named(flags | (flags & ~before) >> _OCCURRED_SHIFT)


def _named(flags: int) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(FIRMWARE_BITS) if flags >> bit & 1)


def _firmware(root: Path) -> str:
    """The file with the Pi's flags; empty if there is none.

    Its folder is called ``soc``, or ``soc@107c000000`` where the device tree has an address. A Pi 5 is reported to give
    its flags to ``vcgencmd`` only; then the voltage alarm is read instead.
    """
    for soc in find(root / "sys/devices/platform", r"soc(@\w+)?"):
        for firmware in find(soc, r"soc(@\w+)?:firmware"):
            if read_int(firmware / "get_throttled", 16) is not None:
                return str(firmware / "get_throttled")
    return ""


def _voltage_alarm(root: Path) -> str:
    """The under-voltage alarm of mainline kernels, which lack the Raspberry Pi's flags."""
    for chip in find(root / "sys/class/hwmon", r"hwmon\d+"):
        if read_text(chip / "name") == "rpi_volt" and read_int(chip / "in0_lcrit_alarm") is not None:
            return str(chip / "in0_lcrit_alarm")
    return ""


def _cooling_devices(root: Path) -> dict[str, str]:
    devices = {}
    for device in find(root / "sys/class/thermal", r"cooling_device\d+"):
        kind = read_text(device / "type")
        if kind and _SLOWING.fullmatch(kind) and read_int(device / "cur_state") is not None:
            devices[str(device / "cur_state")] = kind
    return devices


def _x86_counters(root: Path) -> dict[str, str]:
    """Files with Intel's throttle counts, and their reasons; one per core and one per package."""
    counters, packages = {}, set()
    for core in find(root / "sys/devices/system/cpu", r"cpu\d+"):
        folder = core / "thermal_throttle"
        if read_int(folder / "core_throttle_count") is not None:
            counters[str(folder / "core_throttle_count")] = "core too hot"
        package = read_int(core / "topology/physical_package_id")
        if package not in packages and read_int(folder / "package_throttle_count") is not None:
            packages.add(package)
            counters[str(folder / "package_throttle_count")] = "package too hot"
    return counters


def _jetson_counters(root: Path) -> dict[str, str]:
    """Files with Jetson's over-current events; on Orin oc1 is under-voltage, oc2 mean and oc3 peak current."""
    return {
        str(path): f"over-current event {path.name.partition('_')[0]}"
        for chip in find(root / "sys/class/hwmon", r"hwmon\d+")
        for path in find(chip, r"oc\d+_event_cnt")
        if read_int(path) is not None
    }
