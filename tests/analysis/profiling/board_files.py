"""The files of sensors as boards and computers have them."""

from __future__ import annotations

from pathlib import Path

PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
CPU = "sys/devices/system/cpu"


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def write(root: Path, files: dict[str, object]) -> Path:
    for path, value in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{value}\n")
    return root


def zones(*found: tuple[str, object]) -> dict[str, object]:
    at = "sys/class/thermal/thermal_zone"
    return {f"{at}{n}/{key}": v for n, pair in enumerate(found) for key, v in zip(("type", "temp"), pair, strict=True)}


def cooling(*found: tuple[str, int, int]) -> dict[str, object]:
    at, keys = "sys/class/thermal/cooling_device", ("type", "cur_state", "max_state")
    return {f"{at}{n}/{key}": v for n, row in enumerate(found) for key, v in zip(keys, row, strict=True)}


def hwmon(number: int, name: str, **files: object) -> dict[str, object]:
    return {f"sys/class/hwmon/hwmon{number}/{key}": value for key, value in {"name": name, **files}.items()}


def cores(count: int, governor: str, khz: int) -> dict[str, object]:
    files: dict[str, object] = {}
    for core in range(count):
        at = f"{CPU}/cpu{core}/cpufreq"
        files |= {f"{at}/scaling_cur_freq": khz + core, f"{at}/scaling_governor": governor}
    return files


def pi(root: Path) -> Path:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    return write(
        root,
        {
            "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-v8",
            PI_FLAGS: "0",
            **zones(("cpu-thermal", 48312)),
            **cooling(("cpufreq-cpu0", 0, 4), ("pwm-fan", 3, 4)),
            **hwmon(0, "cpu_thermal", temp1_input=48312),
            **hwmon(1, "rpi_volt", in0_lcrit_alarm=1),
            **cores(4, "ondemand", 1800000),
        },
    )


def orin(root: Path) -> Path:
    return write(
        root,
        {
            "sys/firmware/devicetree/base/model": "NVIDIA Jetson Orin Nano Developer Kit",
            **zones(("cpu-thermal", 51281), ("gpu-thermal", 49875), ("cv0-thermal", ""), ("PMIC-Die", 100000)),
            **cooling(("pwm-fan", 2, 3), ("hot-surface-alert", 1, 1), ("cpu-throttle-alert", 0, 1)),
            **hwmon(
                1,
                "ina3221",
                in1_label="VDD_IN",
                in1_input=5056,
                curr1_input=984,
                in2_label="VDD_CPU_GPU_CV",
                in2_input=5048,
                curr2_input=200,
                in3_label="NC",
                in3_input=0,
                curr3_input=0,
                in4_input=1200,
                in7_label="sum of shunt voltages",
                in7_input=9999,
                curr4_input=77,
            ),
            **hwmon(3, "soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=15, oc3_event_cnt=37, oc3_throt_en=1),
            **hwmon(10, "cpu_thermal", temp1_input=51281),
            **cores(6, "schedutil", 1510400),
        },
    )


def laptop(root: Path) -> Path:
    rapl = "sys/class/powercap/intel-rapl"
    energy = {
        f"{rapl}:0": ("package-0", 262143328850, 262143000000),
        f"{rapl}:0:0": ("core", 262143328850, 1000),
        f"{rapl}:1": ("psys", 262143328850, 5000000),
        f"{rapl}-mmio:0": ("package-0", 262143328850, 7),
    }
    files: dict[str, object] = {
        "sys/class/dmi/id/sys_vendor": "LENOVO",
        "sys/class/dmi/id/product_name": "20XW",
        "sys/class/powercap/intel-rapl/enabled": 1,
        **zones(("acpitz", 43000), ("x86_pkg_temp", 61000), ("acpitz", 20000)),
        **cooling(("Processor", 0, 10), ("Processor", 0, 10), ("intel_powerclamp", -1, 100), ("TCC Offset", 10, 63)),
        **hwmon(5, "coretemp", temp1_input=61000, temp1_label="Package id 0", temp2_input=58000, temp2_label="Core 0"),
        **hwmon(6, "nvme", temp1_input=35850),
        **cores(4, "powersave", 2600000),
    }
    for at, (name, most, now) in energy.items():
        files |= {f"{at}/name": name, f"{at}/max_energy_range_uj": most, f"{at}/energy_uj": now}
    for core in range(4):
        files |= {
            f"{CPU}/cpu{core}/topology/physical_package_id": 0,
            f"{CPU}/cpu{core}/thermal_throttle/core_throttle_count": 3,
            f"{CPU}/cpu{core}/thermal_throttle/package_throttle_count": 7,
        }
    return write(root, files)
