"""Sensors, on trees of files with the documented formats: no board is here to try."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from edge_vseg.analysis.profiling import sensors as sensors_module
from edge_vseg.analysis.profiling.sensors import NOT_AVAILABLE, Sensors
from edge_vseg.errors import BackendMissingError

pytest.importorskip("psutil", reason="the extra profile")

PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
CPU = "sys/devices/system/cpu"


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


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


def test_pi(tmp_path: Path, clock: Clock) -> None:
    sensors = Sensors(pi(tmp_path), clock=clock)
    sample = sensors.sample()
    assert sample.temperature_c == {"cpu-thermal": 48.312}
    assert sample.frequency_mhz == (1800.0, 1800.001, 1800.002, 1800.003)
    assert (sample.throttled, sample.power_w) == ((), {})
    facts = sensors.describe()
    assert facts["machine"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts["kernel"] == "6.6.31+rpt-rpi-v8"
    assert (facts["cores"], facts["governor"], facts["frequency"]) == ("4", "ondemand", "of 4 cores")
    assert facts["temperature"] == "cpu-thermal"
    assert facts["throttling"] == "firmware flags, cooling devices"
    assert facts["power"] == NOT_AVAILABLE
    assert "throttled before the run" not in facts


@pytest.mark.parametrize(
    ("flags", "reasons"),
    [
        pytest.param("0", (), id="none"),
        pytest.param("1", ("under-voltage",), id="under-voltage"),
        pytest.param("0x50005", ("under-voltage", "throttled"), id="as-vcgencmd-writes-it"),
        pytest.param("a000a", ("frequency capped", "soft temperature limit"), id="capped"),
        pytest.param("20000", ("frequency capped",), id="between-two-samples"),
        pytest.param("80000000", (), id="unknown-bit"),
        pytest.param("throttled=", (), id="nonsense"),
    ],
)
def test_pi_flags(flags: str, reasons: tuple[str, ...], tmp_path: Path) -> None:
    sensors = Sensors(pi(tmp_path))
    write(tmp_path, {PI_FLAGS: flags})
    assert sensors.sample().throttled == reasons


def test_pi_flags_of_before_the_run_are_not_of_now(tmp_path: Path) -> None:
    sensors = Sensors(write(pi(tmp_path), {PI_FLAGS: "50000"}))
    assert sensors.sample().throttled == ()
    assert sensors.describe()["throttled before the run"] == "under-voltage, throttled"
    (tmp_path / PI_FLAGS).write_text("")
    assert sensors.sample().throttled == ()
    write(tmp_path, {PI_FLAGS: "50000"})
    assert sensors.sample().throttled == (), "a failed reading must not make the old flags new"
    write(tmp_path, {PI_FLAGS: "d0000"})
    assert sensors.sample().throttled == ("soft temperature limit",)
    assert sensors.sample().throttled == ()


def test_pi_5_has_an_address_in_the_path(tmp_path: Path) -> None:
    write(tmp_path, {"sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "4"})
    assert Sensors(tmp_path).sample().throttled == ("throttled",)


def test_pi_with_a_mainline_kernel_has_a_voltage_alarm(tmp_path: Path) -> None:
    (pi(tmp_path) / PI_FLAGS).unlink()
    sensors = Sensors(tmp_path)
    assert sensors.describe()["throttling"] == "voltage alarm, cooling devices"
    assert sensors.sample().throttled == ("under-voltage",)
    write(tmp_path, hwmon(1, "rpi_volt", in0_lcrit_alarm=0))
    assert sensors.sample().throttled == ()


def test_orin(tmp_path: Path, clock: Clock) -> None:
    sensors = Sensors(orin(tmp_path), clock=clock)
    sample = sensors.sample()
    assert sample.temperature_c == {"cpu-thermal": 51.281, "gpu-thermal": 49.875}
    assert sample.power_w == {
        "VDD_IN": pytest.approx(5.056 * 0.984),
        "VDD_CPU_GPU_CV": pytest.approx(5.048 * 0.2),
    }
    assert sample.throttled == ()
    facts = sensors.describe()
    assert facts["machine"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert facts["power"] == "VDD_IN, VDD_CPU_GPU_CV"
    assert facts["throttling"] == "cooling devices, over-current event counters"


def test_orin_slows_down(tmp_path: Path) -> None:
    sensors = Sensors(orin(tmp_path))
    write(tmp_path, hwmon(3, "soctherm_oc", oc3_event_cnt=40))
    write(tmp_path, {"sys/class/thermal/cooling_device2/cur_state": 1})
    assert sensors.sample().throttled == ("cooling device cpu-throttle-alert", "over-current event oc3")
    write(tmp_path, {"sys/class/thermal/cooling_device2/cur_state": 0})
    assert sensors.sample().throttled == (), "the counter stands still"


def test_a_zone_that_is_switched_off_is_absent(tmp_path: Path) -> None:
    sensors = Sensors(orin(tmp_path))
    write(tmp_path, {"sys/class/thermal/thermal_zone1/temp": -256000})
    assert sensors.sample().temperature_c == {"cpu-thermal": 51.281}
    write(tmp_path, {"sys/class/thermal/thermal_zone2/temp": 47000})
    assert sensors.sample().temperature_c == {"cpu-thermal": 51.281, "cv0-thermal": 47.0}


def test_laptop(tmp_path: Path, clock: Clock) -> None:
    sensors = Sensors(laptop(tmp_path), clock=clock)
    write(
        tmp_path,
        {
            "sys/class/powercap/intel-rapl:0/energy_uj": 29671150,  # 30 J further, past the end of the counter
            "sys/class/powercap/intel-rapl:0:0/energy_uj": 4001000,
            "sys/class/powercap/intel-rapl:1/energy_uj": 45000000,
        },
    )
    clock.now += 2.0
    sample = sensors.sample()
    assert sample.power_w == pytest.approx({"package-0": 15.0, "package-0 core": 2.0, "psys": 20.0})
    assert sample.temperature_c == {
        "acpitz": 43.0,
        "x86_pkg_temp": 61.0,
        "acpitz 2": 20.0,
        "coretemp Package id 0": 61.0,
    }
    assert sample.throttled == ()
    assert sensors.describe()["machine"] == "LENOVO 20XW"
    assert sensors.sample().power_w == {}, "no time has passed"
    clock.now += 1.0
    assert set(sensors.sample().power_w.values()) == {0.0}


def test_laptop_gets_hot(tmp_path: Path) -> None:
    sensors = Sensors(laptop(tmp_path))
    write(
        tmp_path,
        {
            f"{CPU}/cpu2/thermal_throttle/core_throttle_count": 5,
            f"{CPU}/cpu0/thermal_throttle/package_throttle_count": 9,
            "sys/class/thermal/cooling_device0/cur_state": 3,
            "sys/class/thermal/cooling_device1/cur_state": 3,
        },
    )
    assert sensors.sample().throttled == ("cooling device Processor", "package too hot", "core too hot")
    write(tmp_path, cooling(("Processor", 0, 10), ("Processor", 0, 10)))
    assert sensors.sample().throttled == ()


def test_a_counter_that_was_reset_gives_no_power(tmp_path: Path, clock: Clock) -> None:
    sensors = Sensors(laptop(tmp_path), clock=clock)
    (tmp_path / "sys/class/powercap/intel-rapl:1/max_energy_range_uj").write_text("9")
    sensors = Sensors(tmp_path, clock=clock)
    clock.now += 1
    write(tmp_path, {"sys/class/powercap/intel-rapl:1/energy_uj": 3})
    assert "psys" not in sensors.sample().power_w
    clock.now += 1
    write(tmp_path, {"sys/class/powercap/intel-rapl:1/energy_uj": 2000003})
    assert sensors.sample().power_w["psys"] == pytest.approx(2.0)


def test_server_tells_the_processor_and_may_hide_its_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        {
            "sys/class/dmi/id/product_name": "PowerEdge R6525",
            "sys/class/powercap/intel-rapl:0/name": "package-0",
            "sys/class/powercap/intel-rapl:0/max_energy_range_uj": 65532610987,
            "sys/class/powercap/intel-rapl:0/energy_uj": 1,
            **hwmon(0, "k10temp", temp1_input=55625, temp1_label="Tctl", temp3_input=50000, temp3_label="Tccd1"),
            **hwmon(1, "k10temp", temp1_input=57000, temp1_label="Tctl"),
            **hwmon(2, "tg3", temp1_input=60000),
            **cores(12, "schedutil", 3000000),
        },
    )
    refuse(monkeypatch, "energy_uj", errno.EACCES)
    sensors = Sensors(tmp_path)
    assert sensors.sample().temperature_c == {"k10temp Tctl": 55.625, "k10temp Tctl 2": 57.0}
    assert sensors.sample().frequency_mhz[10] == 3000.01, "cpu10 comes after cpu9"
    facts = sensors.describe()
    assert "only root" in facts["power"]
    assert facts["machine"] == "PowerEdge R6525"


def test_without_zones_and_processor_every_chip_counts(tmp_path: Path) -> None:
    write(tmp_path, hwmon(0, "nvme", temp1_input=41850, temp1_label="Composite") | hwmon(1, "acpi_fan", fan1_input=1))
    assert Sensors(tmp_path).sample().temperature_c == {"nvme Composite": 41.85}


def test_container_where_all_is_missing(tmp_path: Path) -> None:
    sensors = Sensors(tmp_path)
    sample = sensors.sample()
    assert (sample.frequency_mhz, sample.temperature_c, sample.throttled, sample.power_w) == ((), {}, (), {})
    assert sample.rss_mb > 1
    facts = sensors.describe()
    assert {facts[key] for key in ("governor", "frequency", "temperature", "throttling", "power")} == {NOT_AVAILABLE}
    assert (facts["machine"], facts["kernel"]) == ("unknown", "unknown")
    assert int(facts["cores"]) >= 1
    assert all(isinstance(value, str) and value for value in facts.values())


@pytest.mark.parametrize("machine", [pi, orin, laptop], ids=["pi", "orin", "laptop"])
@pytest.mark.parametrize("damage", ["nonsense", "bytes", "empty", "folders", "gone", "eio", "eacces"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_unreadable_raises(
    machine: object, damage: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path)
    sensors = Sensors(root) if when == "after" else None
    spoil(root, damage, monkeypatch)
    sensors = sensors or Sensors(root)
    for _ in range(2):
        sample = sensors.sample()
        assert (sample.frequency_mhz, sample.temperature_c, sample.throttled, sample.power_w) == ((), {}, (), {})
    assert all(sensors.describe().values())


def spoil(root: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage every file whose value is read."""
    if damage in ("eio", "eacces"):
        refuse(monkeypatch, "", errno.EIO if damage == "eio" else errno.EACCES)
        return
    for path in [path for path in root.rglob("*") if path.is_file() and path.name not in ("type", "name")]:
        match damage:
            case "nonsense":
                path.write_text("<unknown>\n")
            case "bytes":
                path.write_bytes(b"\xff\xfe\x0012")
            case "empty":
                path.write_bytes(b"")
            case "folders":
                path.unlink()
                path.mkdir()
            case "gone":
                path.unlink()


def refuse(monkeypatch: pytest.MonkeyPatch, ending: str, code: int) -> None:
    """Let the kernel refuse files: opening them, or reading them for an I/O error. Tests may run as root."""
    plain_open, plain_read, refused = os.open, os.read, set()

    def opening(path: object, flags: int, *more: object) -> int:
        matches = str(path).endswith(ending)
        if matches and code == errno.EACCES:
            raise PermissionError(code, os.strerror(code), str(path))
        handle = plain_open(path, flags, *more)
        (refused.add if matches else refused.discard)(handle)
        return handle

    def reading(handle: int, count: int) -> bytes:
        if handle in refused:
            raise OSError(code, os.strerror(code))
        return plain_read(handle, count)

    monkeypatch.setattr("edge_vseg.machine.sysfs.os.open", opening)
    monkeypatch.setattr("edge_vseg.machine.sysfs.os.read", reading)


def test_process_load_uses_the_clock_argument(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = Clock()
    monkeypatch.setattr(sensors_module.time, "process_time", spent)
    sensors = Sensors(tmp_path, clock=clock)
    clock.now, spent.now = 110.0, 115.0
    sample = sensors.sample()
    assert (sample.time_s, sample.process_cpu_percent) == (110.0, 50.0 * 3)
    assert sensors.sample().process_cpu_percent == 0.0, "no time has passed"


def test_load_of_the_cores_is_since_the_last_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def at(**seconds: float) -> object:
        fields = dict.fromkeys(psutil.cpu_times()._fields, 0.0) | seconds
        return type(psutil.cpu_times())(**fields)

    readings = iter(
        [
            [at(user=10, idle=10), at(user=5, idle=15)],
            [at(user=13, idle=11), at(user=6, system=1, idle=16, iowait=1)],
            [at(user=13, idle=11), at(user=6, system=0.9, idle=26, iowait=1)],
            [at(user=13, idle=11)],
            [at(user=14, idle=11)],
        ]
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(readings))
    sensors = Sensors(tmp_path)
    assert sensors.sample().cpu_percent == (75.0, 50.0)
    assert sensors.sample().cpu_percent == (0.0, 0.0), "a core whose times stood still; system time that went back"
    assert sensors.sample().cpu_percent == (), "a core was switched off"
    assert sensors.sample().cpu_percent == (100.0,)


def test_this_machine() -> None:
    sensors = Sensors()
    sample = sensors.sample()
    assert len(sample.cpu_percent) in (0, len(os.sched_getaffinity(0)), os.cpu_count())
    assert all(0 <= percent <= 100 for percent in sample.cpu_percent)
    assert sample.rss_mb > 10
    assert sample.load >= 0
    assert sample.preemptions >= 0
    assert all(-50 < degrees < 150 for degrees in sample.temperature_c.values())
    assert sensors.describe()["kernel"] == os.uname().release


def test_without_psutil_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(BackendMissingError, match=r"pip install 'edge-vseg\[profile\]'"):
        Sensors(tmp_path)
