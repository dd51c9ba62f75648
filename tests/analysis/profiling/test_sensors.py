"""Sensors, on trees of files with the documented formats: no board is here to try."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_files import CPU, PI_FLAGS, Clock, cooling, hwmon, laptop, orin, pi, write

from edge_vseg.analysis.profiling.sensors import NOT_AVAILABLE, Sensors

pytest.importorskip("psutil", reason="the extra profile")


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
