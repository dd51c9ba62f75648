"""Readings of a machine that says what a test wants, by a clock that stands still until it is told to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edge_vseg.analysis.profiling.sensor_monitor import MAX_READINGS, MIN_TREND_S, SETTLING_S, SensorMonitor
from edge_vseg.analysis.profiling.sensors import Sample


@dataclass
class Machine:
    """Its own clock, and sensors that read functions of it."""

    rss_mb: Callable[[float], float] = lambda at_s: 100.0
    power_w: Callable[[float], dict[str, float]] = lambda at_s: {}
    throttled: Callable[[float], tuple[str, ...]] = lambda at_s: ()
    temperature_c: Callable[[float], dict[str, float]] = lambda at_s: {"cpu": 40.0}
    cpu_percent: Callable[[float], tuple[float, ...]] = lambda at_s: (50.0, 60.0)
    now: float = 1000.0
    asked: threading.Event = field(default_factory=threading.Event)

    def clock(self) -> float:
        return self.now

    def sample(self) -> Sample:
        at_s = self.now - 1000.0
        self.asked.set()
        return Sample(
            time_s=self.now,
            rss_mb=self.rss_mb(at_s),
            cpu_percent=self.cpu_percent(at_s),
            process_cpu_percent=110.0,
            frequency_mhz=(),
            temperature_c=self.temperature_c(at_s),
            throttled=self.throttled(at_s),
            power_w=self.power_w(at_s),
            load=1.0,
            preemptions=0,
        )

    def watched(self, seconds: list[float]) -> SensorMonitor:
        """A monitor that has read at these moments."""
        monitor = SensorMonitor(self, clock=self.clock)
        for at_s in seconds:
            self.now = 1000.0 + at_s
            monitor.read()
        return monitor


@pytest.mark.parametrize("per_hour", [0.0, 36.0, -7.2])
@pytest.mark.parametrize("seconds", [620, 900])
def test_the_slope_is_that_of_a_known_leak(per_hour: float, seconds: int) -> None:
    """After the settling, in which caches fill."""
    machine = Machine(rss_mb=lambda at_s: 200 + per_hour * at_s / 3600 - (80 if at_s < SETTLING_S else 0))
    memory = machine.watched([float(at) for at in range(seconds)]).memory()
    assert memory.slope_per_hour == pytest.approx(per_hour, abs=0.3)
    assert memory.first == 120


def test_of_a_long_run_the_first_tenth_is_left_out() -> None:
    machine = Machine(rss_mb=lambda at_s: 100 - (50 if at_s < 9000 else 0))
    assert machine.watched([100.0 * at for at in range(1000)]).memory().slope_per_hour == pytest.approx(0, abs=1e-6)


def test_too_short_a_run_has_no_slope() -> None:
    assert (
        Machine().watched([float(at) for at in range(int(SETTLING_S + MIN_TREND_S) - 1)]).memory().slope_per_hour
        is None
    )
    assert Machine().watched([0.0] * 50).memory().slope_per_hour is None, "no time has passed"


def test_the_largest_memory_is_kept() -> None:
    machine = Machine(rss_mb=lambda at_s: 900.0 if at_s == 7 else 100.0)
    monitor = machine.watched([float(at) for at in range(MAX_READINGS + 2)])
    assert max(reading.rss_mb for reading in monitor.readings) == 900
    assert (monitor.memory().first, monitor.memory().max, monitor.memory().last) == (100, 900, 100)


def test_readings_are_bounded_and_cover_the_whole_run() -> None:
    monitor = Machine().watched([float(at) for at in range(5 * MAX_READINGS)])
    moments = [reading.at_s for reading in monitor.readings]
    assert MAX_READINGS / 2 < len(moments) <= MAX_READINGS
    assert moments[0] < 8
    assert moments[-1] > 5 * MAX_READINGS - 9
    assert moments == sorted(set(moments))


@pytest.mark.parametrize("moment", [7, 8, MAX_READINGS, MAX_READINGS + 1])
def test_merged_readings_forget_no_reason_and_no_heat(moment: int) -> None:
    machine = Machine(
        throttled=lambda at_s: ("too hot",) if at_s == moment else (),
        temperature_c=lambda at_s: {"cpu": 90.0 if at_s == moment else 40.0},
    )
    monitor = machine.watched([float(at) for at in range(MAX_READINGS + 2)])
    assert [reading.throttled for reading in monitor.readings if reading.throttled] == [("too hot",)]
    assert sorted({reading.temperature_c["cpu"] for reading in monitor.readings}) == [40, 90]


def test_merged_readings_are_means_of_loads_and_power() -> None:
    """The two halves of every pair differ; a power that one of them lacks is the other's."""
    machine = Machine(
        cpu_percent=lambda at_s: (10.0, 30.0) if at_s % 2 else (20.0, 40.0),
        power_w=lambda at_s: {"all": 4.0} | ({"gpu": 6.0} if at_s % 2 else {}),
    )
    monitor = machine.watched([float(at) for at in range(MAX_READINGS + 1)])
    assert {reading.cpu_percent for reading in monitor.readings[:20]} == {(15, 35)}
    assert all(reading.power_w == {"all": 4, "gpu": 6} for reading in monitor.readings[:20])


def test_a_core_that_goes_off_costs_no_reading() -> None:
    machine = Machine(cpu_percent=lambda at_s: () if at_s == 4 else (10.0, 30.0))
    monitor = machine.watched([float(at) for at in range(MAX_READINGS + 1)])
    assert {reading.cpu_percent for reading in monitor.readings} == {(10, 30)}


def test_sensors_that_fail_do_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    with SensorMonitor(machine, interval_s=0.001, clock=machine.clock) as monitor:
        machine.power_w = lambda at_s: 1 / 0
        monitor._thread.join(5)
        assert not monitor._thread.is_alive()
    assert "reading the sensors failed" in caplog.text
    assert len(monitor.readings) >= 1


def test_watts_are_a_mean_over_time() -> None:
    """9 s at 10 W, then 1 s at 20 W, whatever the number of readings; the 99 W before the run are none of its own."""
    machine = Machine(power_w=lambda at_s: {"all": 99.0 if at_s == 0 else 10.0 if at_s <= 9 else 20.0})
    assert machine.watched([0.0, 3.0, 9.0, 9.25, 9.5, 10.0]).watts == {"all": pytest.approx(11)}


def test_a_rail_that_is_silent_for_a_while_counts_while_it_speaks() -> None:
    machine = Machine(power_w=lambda at_s: {"cpu": 4.0} | ({"gpu": 0.0 if at_s < 3 else 6.0} if at_s != 2 else {}))
    assert machine.watched([0.0, 1.0, 2.0, 3.0]).watts == {"cpu": pytest.approx(4), "gpu": pytest.approx(3)}


def test_without_sensors_there_are_no_watts() -> None:
    assert Machine().watched([0.0, 1.0]).watts == {}


def test_a_thread_reads_until_it_is_left() -> None:
    machine = Machine()
    with SensorMonitor(machine, interval_s=0.001, clock=machine.clock) as monitor:
        assert len(monitor.readings) >= 1
        thread = monitor._thread
        for _ in range(2):
            machine.asked.clear()
            machine.now += 1
            assert machine.asked.wait(5), "nobody reads"
        assert thread.is_alive()
    assert not thread.is_alive()
    count = len(monitor.readings)
    assert count >= 3
    time.sleep(0.02)
    assert len(monitor.readings) == count
    assert (monitor.readings[0].at_s, monitor.readings[-1].at_s) == (0, 2)
    assert monitor.readings[0].cpu_percent == (50, 60)


def test_the_thread_stops_when_the_run_fails() -> None:
    machine = Machine()
    monitor = SensorMonitor(machine, interval_s=0.001, clock=machine.clock)
    with pytest.raises(ZeroDivisionError), monitor:
        raise ZeroDivisionError
    assert not monitor._thread.is_alive()
