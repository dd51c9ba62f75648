"""Sensors that are missing, damaged, reset or hidden, and the load of processes and cores."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from board_files import Clock, cores, hwmon, laptop, orin, pi, write

from edge_vseg.analysis.profiling import sensors as sensors_module
from edge_vseg.analysis.profiling.sensors import NOT_AVAILABLE, Sensors
from edge_vseg.errors import BackendMissingError

pytest.importorskip("psutil", reason="the extra profile")


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
