"""Profiles of a real network on a real recording; no figure here is a time that a test expects."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from edge_vseg import Segmenter, open_bundle
from edge_vseg.analysis.profiling import ProfileOptions, profile_video
from edge_vseg.analysis.profiling.latency_profile import SCHEMA, read_latency_profile
from edge_vseg.analysis.profiling.playback import Playback
from edge_vseg.analysis.profiling.profiler import ProfileRun
from edge_vseg.analysis.profiling.slowest_operators import MAX_OPERATORS
from edge_vseg.bundle.manifest import ScheduleSpec
from edge_vseg.bundle.scheduled_copy import write_scheduled_copy
from edge_vseg.errors import BundleError, NoFramesError, OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.scheduling.policies import Deadline, Fixed, make_policy
from edge_vseg.types import Frame

ONNX: dict[str, Any] = {"runtime": "onnxruntime", "threads": 1}
TINY_DEADLINE_MS = 0.05


@pytest.fixture(scope="module")
def flat_out(sliced_bundle: Path, drive_video: Path) -> ProfileRun:
    """Every frame by itself, as fast as they are done, with operators."""
    options = ProfileOptions(seconds=0.8, flat_out=True, **ONNX)
    return profile_video(sliced_bundle, str(drive_video), options, command="edge-vseg profile")


@pytest.fixture(scope="module")
def paced(sliced_bundle: Path, drive_video: Path) -> ProfileRun:
    """Under a deadline that no frame can keep, like a camera of 60 frames a second."""
    policy = Deadline(milliseconds=TINY_DEADLINE_MS)
    options = ProfileOptions(policy=policy, seconds=0.8, rate=60.0, **ONNX)
    return profile_video(sliced_bundle, str(drive_video), options)


@pytest.fixture(params=["flat_out", "paced"])
def run(request: pytest.FixtureRequest) -> ProfileRun:
    return request.getfixturevalue(request.param)


def test_a_bundles_own_schedule_is_measured_and_told(sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    spec = ScheduleSpec(policy="fixed", parameters={"period_frames": 3, "motion": "codec"}, threads=1)
    bundle = write_scheduled_copy(open_bundle(sliced_bundle), tmp_path / "tuned.evseg", spec).root
    options = ProfileOptions(runtime="onnxruntime", seconds=0.5, flat_out=True, operators=False)
    found = profile_video(bundle, str(drive_video), options).profile
    assert found.policy == repr(Fixed(period_frames=3, motion="codec"))
    assert found.threads == 1
    assert 0 < found.sources["inferred"] < found.frames, "the schedule is told, and does not run"
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(OptionError, match="motion"):  # it asks for what its own schedule needs
        profile_video(bundle, str(picture), replace(options, rate=15.0, flat_out=False))


def test_counts_agree_with_each_other(run: ProfileRun) -> None:
    found = run.profile
    counted = found.frames
    assert counted > 2
    assert {found.latency_ms.count, found.age_ms.count, found.change_ms.count + 1} == {counted}
    # The network's input is made only where the network runs, and in the background it is no part of the frame.
    with_input = found.steps_ms["preprocess"].count if "preprocess" in found.steps_ms else 0
    assert with_input == counted if found.pace == "flat-out" else with_input <= counted
    assert sum(found.sources.values()) == found.frames
    for intervals in (found.timeline, found.minutes):
        assert sum(each.latency_ms.count for each in intervals if each.latency_ms) == counted
        assert sum(sum(each.decisions.values()) for each in intervals) == counted
        assert sum(each.missed for each in intervals) == found.missed
        assert sum(each.dropped for each in intervals) == found.dropped
    assert len(found.last) == min(240, counted)
    assert found.curve[-1] == (found.latency_ms.max, 1)
    assert sum(found.causes.values()) == found.missed
    assert found.complete
    assert found.seconds >= 0.8
    assert found.readings[-1].at_s >= 0.8
    assert 0 < found.memory.first <= found.memory.max
    assert 0 < found.overhead < 1
    assert len(run.examples) >= 1


def test_the_profile_names_what_was_measured(run: ProfileRun, sliced_bundle: Path, drive_video: Path) -> None:
    found, opened = run.profile, open_bundle(sliced_bundle)
    assert (found.schema, found.bundle, found.bundle_sha256) == (SCHEMA, str(sliced_bundle), opened.sha256)
    assert opened.manifest.variant(found.variant).runtime == "onnxruntime"
    assert found.provider == "cpu"
    assert found.video == str(drive_video)
    assert found.machine.cpu
    assert {"python", "onnxruntime", "edge-vseg", "numpy"} <= set(found.machine.versions)
    assert {"kernel", "cores", "power"} <= set(found.machine.facts)
    assert run.labels == opened.manifest.labels


def test_flat_out_drops_nothing_and_has_no_limit(flat_out: ProfileRun) -> None:
    found = flat_out.profile
    assert (found.rate, found.limit_ms, found.deadline_ms, found.miss_share) == (None, None, None, None)
    assert (found.dropped, found.missed, found.policy, found.oldest_frames) == (0, 0, "", 0)
    assert found.command == "edge-vseg profile"
    assert set(found.steps_ms) == {"decode", "decide", "preprocess", "infer", "labels"}
    assert set(found.sources) == {"inferred"}
    assert found.steps_ms["decode"].count == found.frames
    assert found.rounds == (found.frames - 1) // 36


def test_paced_frames_arrive_at_their_rate_and_count_deadline_misses(paced: ProfileRun) -> None:
    found = paced.profile
    assert (found.rate, found.deadline_ms, found.limit_ms) == (60, TINY_DEADLINE_MS, TINY_DEADLINE_MS)
    assert (found.miss_share, found.missed) == (1, found.frames)
    assert found.frames + found.dropped <= 60 * found.seconds + 2
    assert "Deadline(milliseconds=0.05" in found.policy
    assert all(late.decision for late in found.worst)
    assert all(name.startswith(("infer", "slice", "motion")) or name in KNOWN_STEPS for name in found.steps_ms)


KNOWN_STEPS = {"decode", "preprocess", "decide", "tile", "carry", "propagate", "fuse", "labels"}


def test_steps_are_parts_of_the_total(paced: ProfileRun) -> None:
    assert len(paced.profile.worst) > 1
    for late in paced.profile.worst:
        assert 0 < sum(late.steps_ms.values()) <= late.total_ms + 1e-6
        assert set(late.steps_ms) <= set(paced.profile.steps_ms)


@pytest.mark.parametrize("name", ["", "every-frame", "fixed", "adaptive", "sliced", "clockwork", "regional", "async"])
def test_steps_of_every_policy_are_parts_of_the_total(name: str, sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    try:
        segmenter = Segmenter.open(sliced_bundle, policy=make_policy(name) if name else "", **ONNX)
    except OptionError as exc:
        pytest.skip(str(exc))
    with segmenter:
        latencies = [segmenter(image).latency_ms for image in drive]
    totals = [each.pop("total") for each in latencies]
    sums = [sum(each.values()) for each in latencies]
    assert all(steps <= total + 1e-6 for steps, total in zip(sums, totals, strict=True))
    if name != "async":  # which waits for its worker
        assert sum(sums) > 0.7 * sum(totals), "most of the time is told"


def test_without_a_deadline_the_limit_is_the_frame_period(sliced_bundle: Path, drive_video: Path) -> None:
    options = ProfileOptions(policy=Fixed(period_frames=3), seconds=0.3, rate=80.0, operators=False, **ONNX)
    found = profile_video(sliced_bundle, str(drive_video), options).profile
    assert (found.deadline_ms, found.limit_ms) == (None, 12.5)
    assert found.oldest_frames == 2
    assert set(found.sources) == {"inferred", "propagated"}
    assert (found.operators, found.without_operators) == ([], "not requested")


def test_slowest_operators_of_every_graph_of_the_policy(
    flat_out: ProfileRun, paced: ProfileRun, sliced_bundle: Path
) -> None:
    variant = open_bundle(sliced_bundle).manifest.variant(paced.profile.variant)
    slices = [f"slice {number}" for number in range(len(variant.slices))]
    parts = {run: {each.part for each in run.profile.operators} for run in (flat_out, paced)}
    assert (parts[flat_out], parts[paced]) == ({"whole"}, {"whole", "tile", *slices})
    for run in (flat_out, paced):
        assert run.profile.without_operators == ""
        for _, group in itertools.groupby(run.profile.operators, key=lambda each: each.part):
            own = list(group)
            assert 1 <= len(own) <= MAX_OPERATORS
            assert [each.ms for each in own] == sorted((each.ms for each in own), reverse=True)
            assert sum(each.share for each in own) <= 1 + 1e-6
    assert any("Conv" in each.kind for each in flat_out.profile.operators)


def test_json_reads_back_the_same(run: ProfileRun, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(run.profile.to_json())
    assert read_latency_profile(path) == run.profile
    found = numbers(msgspec.to_builtins(run.profile))
    assert len(found) > 100
    assert all(map(math.isfinite, found)), "msgspec writes null for NaN"


def numbers(tree: object) -> list[float]:
    if isinstance(tree, dict | list | tuple):
        return [n for each in (tree.values() if isinstance(tree, dict) else tree) for n in numbers(each)]
    return [tree] if isinstance(tree, float) else []


def test_an_interrupt_keeps_what_was_counted(sliced_bundle: Path, drive_video: Path) -> None:
    told: list[float] = []

    def interrupt(at_s: float) -> None:
        told.append(at_s)
        if len(told) == 9:
            raise KeyboardInterrupt

    options = ProfileOptions(seconds=3600.0, flat_out=True, operators=False, **ONNX)
    found = profile_video(sliced_bundle, str(drive_video), options, progress=interrupt).profile
    assert (found.complete, found.frames, found.latency_ms.count) == (False, 9, 9)
    assert found.stopped == "stopped with Ctrl-C"
    assert told == sorted(told)


@pytest.mark.parametrize("good", [1, 9])
def test_a_camera_that_is_lost_costs_no_figures(
    sliced_bundle: Path, drive_video: Path, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    read = Playback._read

    def lost(self: Playback) -> Frame | None:
        if self._seq == good:
            raise VideoDecodeError("the camera is gone")
        return read(self)

    monkeypatch.setattr(Playback, "_read", lost)
    options = ProfileOptions(seconds=3600.0, flat_out=True, operators=False, **ONNX)
    if good < 2:
        with pytest.raises(VideoDecodeError):
            profile_video(sliced_bundle, str(drive_video), options)
        return
    found = profile_video(sliced_bundle, str(drive_video), options).profile
    assert (found.complete, found.stopped, found.frames) == (False, "the camera is gone", good)


def test_too_few_frames_raise(sliced_bundle: Path, drive_video: Path) -> None:
    options = ProfileOptions(seconds=1e-6, flat_out=True, operators=False, **ONNX)
    with pytest.raises(NoFramesError, match="fewer than"):
        profile_video(sliced_bundle, str(drive_video), options)


def test_a_missing_video_raises_before_the_network_is_opened(sliced_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoNotFoundError):
        profile_video(sliced_bundle, str(tmp_path / "none.mp4"), ProfileOptions(variant="none"))


def test_a_missing_bundle(drive_video: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        profile_video(tmp_path / "no bundle", str(drive_video), ProfileOptions())


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": 0.0},
        {"seconds": math.nan},
        {"seconds": math.inf},
        {"rate": -1.0},
        {"rate": math.nan},
        {"rate": math.inf},
        {"rate": 30.0, "flat_out": True},
    ],
    ids=str,
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ProfileOptions(**options)


def test_frames_decoded_too_late_are_missing(
    sliced_bundle: Path, drive_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that takes 20 ms to decode what is due every 5 ms."""
    decode = Playback._decode

    def slow(self: Playback) -> Frame | None:
        time.sleep(0.02)
        return decode(self)

    monkeypatch.setattr(Playback, "_decode", slow)
    found = profile_video(
        sliced_bundle, str(drive_video), ProfileOptions(seconds=0.6, rate=200.0, operators=False, **ONNX)
    ).profile
    assert found.missing > 0.5 * 200 * found.seconds
    assert found.frames + found.dropped + found.missing == pytest.approx(200 * found.seconds, abs=4)
    assert found.age_ms.max > 100, "they were captured when they were due"


def test_a_silent_source_ends_the_run(sliced_bundle: Path, drive_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, hangs = Playback._read, threading.Event()

    def hang(self: Playback) -> Frame | None:
        if self._seq == 4:
            hangs.wait(20)
        return read(self)

    monkeypatch.setattr(Playback, "_read", hang)
    monkeypatch.setattr("edge_vseg.analysis.profiling.profiler.GRACE_S", 0.1)
    options = ProfileOptions(seconds=0.5, rate=50.0, operators=False, **ONNX)
    found = profile_video(sliced_bundle, str(drive_video), options).profile
    hangs.set()
    assert (found.complete, found.frames) == (False, 4)
    assert "no frame arrived for" in found.stopped
