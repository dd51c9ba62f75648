"""The parts behind the server: recordings that repeat, records of results, and what the machine tells."""

from __future__ import annotations

import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from running_server import PATIENCE_S

from edge_vseg import Frame, Result, open_source
from edge_vseg.cli.extras import require_serve
from edge_vseg.errors import BackendMissingError, OptionError
from edge_vseg.scheduling.policies import POLICIES, Deadline, EveryFrame
from edge_vseg.serve.machine_meter import MachineMeter
from edge_vseg.serve.recorder import BUCKETS_MS, MAX_RECENT, ResultLog
from edge_vseg.serve.repeated import RepeatedSource, play_repeatedly
from edge_vseg.serve.schedule import ScheduleRequest, describe_policies, describe_schedule
from edge_vseg.serve.state import describe_latency
from edge_vseg.types import BackgroundSpan

IMAGE = np.zeros((4, 4, 3), np.uint8)


def result(seq: int, total_ms: float, **fields: object) -> Result:
    given = {
        "labels": np.zeros((4, 4), np.uint8),
        "seq": seq,
        "capture_ns": seq * 10_000_000,
        "done_ns": seq * 10_000_000 + 5_000_000,
        "latency_ms": {"infer": total_ms / 2, "total": total_ms},
    }
    return Result(**(given | fields))  # type: ignore[arg-type]


def record(recorder: ResultLog, made: Result) -> None:
    recorder.add(Frame(image=IMAGE, seq=made.seq, capture_ns=made.capture_ns), made)


def test_a_recording_goes_on_from_its_start(clip: Path) -> None:
    with open_source(clip) as once:
        frames = list(once)
    with RepeatedSource(lambda: open_source(clip)) as source:
        repeated = list(islice(source, 2 * len(frames) + 3))
    assert [frame.seq for frame in repeated] == list(range(2 * len(frames) + 3))
    times_ns = [frame.pts_ns for frame in repeated]
    np.testing.assert_allclose(np.diff(times_ns), 1e9 / 30, rtol=0.01)  # type: ignore[arg-type]
    for first, second in zip(repeated, repeated[len(frames) :], strict=False):
        np.testing.assert_array_equal(first.image, second.image)


def test_a_recording_that_repeats_is_played_in_real_time(clip: Path) -> None:
    begin_s = time.monotonic()
    with play_repeatedly(lambda: open_source(clip)) as source:
        assert source.is_live
        while next(source).seq < 15:
            assert time.monotonic() - begin_s < PATIENCE_S
    assert time.monotonic() - begin_s >= 0.45


def test_what_is_live_has_no_end_to_repeat_from(clip: Path) -> None:
    with pytest.raises(OptionError, match="--repeat"):
        play_repeatedly(lambda: open_source(clip, live=True))


def test_histograms_count_as_numpy_does() -> None:
    times_ms = np.random.default_rng(1).gamma(2, 20, 500)
    recorder = ResultLog()
    for seq, milliseconds in enumerate(times_ms):
        record(recorder, result(seq, float(milliseconds)))
    # Prometheus's buckets hold what is less than or equal to their bound.
    expected = [int(((times_ms <= high) & (times_ms > low)).sum()) for low, high in pairwise((0, *BUCKETS_MS))]
    total = recorder.histograms["total"]
    assert total.counts == [*expected, int((times_ms > BUCKETS_MS[-1]).sum())]
    assert total.sum_ms == pytest.approx(times_ms.sum())
    assert recorder.histograms["infer"].sum_ms == pytest.approx(times_ms.sum() / 2)
    found = describe_latency(recorder.recent())
    assert found is not None
    assert found["p99"] == pytest.approx(np.percentile(times_ms, 99), abs=0.01)
    assert found["fps"] == pytest.approx(100.0)


def test_a_bucket_holds_its_bound() -> None:
    recorder = ResultLog()
    record(recorder, result(0, BUCKETS_MS[2]))
    assert recorder.histograms["total"].counts[2] == 1


def test_misses_and_background_are_summed() -> None:
    recorder = ResultLog()
    spans = (
        BackgroundSpan(step="infer", start_ns=0, end_ns=4_000_000),
        BackgroundSpan(step="labels", start_ns=4_000_000, end_ns=5_000_000),
    )
    record(recorder, result(0, 20.0, deadline_ms=15.0, background=spans))
    record(recorder, result(1, 10.0, deadline_ms=15.0, background=spans))
    assert (recorder.missed, recorder.background_ns) == (1, 10_000_000)
    found = describe_latency(recorder.recent())
    assert found is not None
    assert (found["missed"], found["background_share"]) == (1, 0.5)


def test_a_worker_that_was_given_up_does_not_show_an_old_frame() -> None:
    recorder = ResultLog()
    record(recorder, result(9, 1.0))
    record(recorder, result(3, 1.0))
    assert recorder.newest is not None
    assert recorder.newest.result.seq == 9


def test_records_take_constant_memory() -> None:
    recorder = ResultLog()
    for seq in range(MAX_RECENT + 50):
        record(recorder, result(seq, 1.0, latency_ms={f"slice {seq}": 1.0, "total": 1.0}))
    assert len(recorder.recent()) == MAX_RECENT
    assert len(recorder.histograms) <= 64


def test_the_machine_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vseg.serve.machine_meter.MIN_INTERVAL_S", 0.0)
    for number, (zone, milli) in enumerate([("soc-thermal", 61_500), ("gpu-thermal", 58_000)]):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(zone + "\n")
        (folder / "temp").write_text(f"{milli}\n")
    for core, khz in enumerate((1_800_000, 600_000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    reading = MachineMeter(tmp_path).read()
    assert reading.hottest == ("soc-thermal", 61.5)
    assert reading.clock_mhz == (600.0, 1800.0)
    assert 0 <= reading.cpu_share <= 1


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    reading = MachineMeter(tmp_path).read()
    assert (reading.hottest, reading.clock_mhz, dict(reading.temperature_c)) == (None, None, {})


@pytest.mark.parametrize("name", POLICIES)
def test_each_policy_can_be_made_from_its_description(name: str) -> None:
    described = next(each for each in describe_policies() if each["name"] == name)
    given = {p["name"]: 25.0 if p["default"] is None else p["default"] for p in described["parameters"]}
    made = ScheduleRequest(policy=name, parameters=given).make()
    assert describe_schedule(made)["parameters"] == given
    assert describe_schedule(made)["policy"] == name


def test_the_schedule_without_a_policy() -> None:
    assert describe_schedule(None) == describe_schedule(EveryFrame())
    assert describe_schedule(Deadline(milliseconds=15.0, cpu_share=0.5))["deadline_ms"] == 15.0


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"aiohttp, prometheus_client: pip install 'edge-vseg\[serve\]'"):
        require_serve("the server")
