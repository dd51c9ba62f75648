"""A policy against every frame and against its rivals: what is timed, and what is compared with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from board_profile import write_board_profile
from reference_bundle import Recipe, make_variant, write_bundle

from edge_vseg.analysis.cpu_use import cores_of
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation import EvaluationOptions, PolicyScore, evaluate_policy
from edge_vseg.analysis.evaluation.evaluation_record import Conditions, evaluation_record
from edge_vseg.analysis.evaluation.policy_evaluation import _of_profile
from edge_vseg.scheduling.device_profile import read_device_profile, write_device_profile
from edge_vseg.scheduling.policies import Async, EveryFrame, Fixed
from edge_vseg.types import IGNORE_ID

ONNX = EvaluationOptions(runtime="onnxruntime", threads=1)


def labelled(drive: list[np.ndarray], step_s: float) -> list[LabelledFrame]:
    truth = np.zeros(drive[0].shape[:2], np.uint8)
    return [
        LabelledFrame(image=image, labels=truth, clip="a", time_s=number * step_s) for number, image in enumerate(drive)
    ]


def test_frames_that_do_not_follow_each_other_are_not_compared(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    near = evaluate_policy(sliced_bundle, labelled(drive, 0.07), EveryFrame(), replace(ONNX, video_rate=15.0))
    far = evaluate_policy(sliced_bundle, labelled(drive, 1.0), EveryFrame(), ONNX)
    assert near.miou == far.miou
    assert near.quality.consistency is not None
    assert near.quality.vc["8"] is not None
    assert near.quality.streaming_miou is not None
    assert (far.quality.consistency, far.quality.vc["8"], far.quality.streaming_miou) == (None, None, None)


def test_the_first_frame_is_no_part_of_the_milliseconds(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    taken: list[tuple[float, float]] = []
    frames = [replace(frame, labels=np.full_like(frame.labels, IGNORE_ID)) for frame in labelled(drive, 0.07)]
    score = evaluate_policy(
        sliced_bundle,
        frames,
        EveryFrame(),
        ONNX,
        observe=lambda frame, result, every_ms: taken.append((result.latency_ms["total"], every_ms)),
    )
    ours, theirs = np.array(taken[1:]).T
    assert (score.timing.max, score.every_frame.max) == (ours.max(), theirs.max())
    assert (score.timing.mean, score.frames) == (ours.mean(), len(drive))
    assert score.cost == ours.mean() / theirs.mean()
    assert (score.cpu_share, score.process_cpu_share) == (None, None), "frames that arrive at no rate have none"
    assert (score.streaming, score.rivals) == (None, {})


def test_no_map_leads_from_one_clip_into_the_next(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    """A keyframe every hundred frames: the first of each clip, whose time starts again, is inferred all the same."""
    first = labelled(drive[:4], 0.07)
    clips = [*first, *(replace(frame, clip="b") for frame in first), *(replace(frame, clip="b") for frame in first)]
    ages: list[int] = []
    score = evaluate_policy(
        sliced_bundle,
        clips,
        Fixed(period_frames=100),
        ONNX,
        observe=lambda _, result, __: ages.append(result.age_frames),
    )
    assert ages == [0, 1, 2, 3] * 3
    assert score.oldest_frames == 3


def test_the_record_names_the_provider_that_ran(reference_bundle: Path) -> None:
    images = list(np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), np.uint8))
    options = EvaluationOptions(runtime="reference")
    score = evaluate_policy(reference_bundle, labelled(images, 0.1), EveryFrame(), options)
    record = evaluation_record(reference_bundle, score, Conditions(data="noise"))
    assert (options.provider, record["provider"]) == ("", "cpu"), "none was asked for"


def replayed(bundle: Path, drive: list[np.ndarray], path: Path, network_ms: float, **given: float) -> PolicyScore:
    """Async at ten frames a second, on the drive there and back and there."""
    write_board_profile(path, bundle, network_ms)
    options = EvaluationOptions(runtime="onnxruntime", threads=2, rate=10.0, replay=path, deadline_ms=20.0, **given)
    return evaluate_policy(bundle, labelled([*drive, *drive[::-1], *drive], 0.1), Async(motion="dis"), options)


def test_the_variant_is_the_profile_s(sliced_bundle: Path, tmp_path: Path) -> None:
    """Which one is the fastest here says nothing about a board."""
    write_board_profile(tmp_path / "p.json", sliced_bundle, 60.0)
    profile = read_device_profile(tmp_path / "p.json")
    assert _of_profile(EvaluationOptions(), profile, sliced_bundle).variant == profile.variant
    for chosen in (ONNX, EvaluationOptions(precision="float"), EvaluationOptions(variant="openvino/int8")):
        assert _of_profile(chosen, profile, sliced_bundle) == chosen
    # Of another bundle: opening says so.
    other = msgspec.structs.replace(profile, variant="x/y")
    assert _of_profile(EvaluationOptions(), other, sliced_bundle).variant == ""


def test_the_variant_of_a_board_unlike_this_machine_is_replayed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Opened by its id it would be refused here; its costs are those of the board, and a warning tells of labels."""
    elsewhere = make_variant("reference/int8", precision="int8", requires=("vnni3",))
    bundle = write_bundle(tmp_path / "colours.evseg", Recipe(extra_variants=(elsewhere,)))
    profile = write_board_profile(tmp_path / "p.json", bundle, 40.0)
    write_device_profile(tmp_path / "p.json", msgspec.structs.replace(profile, variant=elsewhere.id))
    images = list(np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), np.uint8))
    score = evaluate_policy(
        bundle,
        labelled(images, 0.1),
        Fixed(period_frames=2, motion="still"),
        EvaluationOptions(threads=2, rate=10.0, replay=tmp_path / "p.json"),
    )
    assert (score.variant, score.every_frame.p50 > 40) == (elsewhere.id, True)
    assert "lacks vnni3" in caplog.text


def test_a_first_frame_of_many_periods_makes_no_other_late(
    sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path
) -> None:
    """A network of 4.2 periods: the first frame has nothing to show before it is inferred; no other waits for it."""
    score = replayed(sliced_bundle, drive, tmp_path / "p.json", 420.0)
    assert score.misses == 0
    assert score.timing.max < 10
    assert score.every_frame.p50 > 420


def test_streaming_figures_of_a_slow_network(sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path) -> None:
    """A network of 1.5 periods, of which rivals see two of three frames, and the policy's background every other."""
    score = replayed(sliced_bundle, drive, tmp_path / "p.json", 147.0)
    newest, both = score.rivals["newest-frame"], score.rivals["newest-frame-async"]
    assert newest.dropped == 11, "of 35 frames; one waits at the end"
    assert 2 < newest.age_frames < 3, "two when the network takes a frame at its arrival, up to three when it waited"
    assert both.age_frames > newest.age_frames, "they share the cores"
    assert newest.cpu_share is not None
    assert 0.95 < newest.cpu_share <= 1
    assert score.streaming is not None
    assert score.streaming.agreement == score.agreement, "every answer was there in time"
    assert score.streaming.age_frames == score.age_frames
    assert score.streaming.agreement > newest.agreement
    assert score.streaming.miou == score.miou
    assert 15 <= score.background_keyframes <= 18
    assert score.over_budget == 0
    assert score.cpu_share is not None
    # Keyframes of 147 ms on both cores every 200 ms, and a few milliseconds of the frame lane on one.
    assert 0.65 < score.cpu_share < 0.85
    assert score.process_cpu_share is None, "nothing was measured"


def test_a_measured_slowdown_of_two_requests_is_used(
    sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path
) -> None:
    score = replayed(sliced_bundle, drive, tmp_path / "p.json", 147.0, in_flight_slowdown=1.0)
    assert score.rivals["newest-frame-async"].dropped == 0
    assert score.rivals["newest-frame-async"].age_frames < score.rivals["newest-frame"].age_frames


def test_frames_in_real_time_are_measured(sliced_bundle: Path, drive: list[np.ndarray]) -> None:
    taken: list[int] = []
    score = evaluate_policy(
        sliced_bundle,
        labelled(drive, 0.05),
        EveryFrame(),
        replace(ONNX, rate=20.0),
        observe=lambda frame, result, every_ms: taken.append(result.capture_ns),
    )
    periods_ms = np.diff(taken[1:]) / 1e6
    np.testing.assert_allclose(periods_ms, 50, atol=1e-3)
    assert score.process_cpu_share is not None
    assert score.cpu_share is not None
    assert 0 < score.process_cpu_share < 1.2
    assert 0 < score.cpu_share <= 1
    assert set(score.rivals) == {"newest-frame", "newest-frame-async"}


def test_cores_are_those_of_the_profile(sliced_bundle: Path, tmp_path: Path) -> None:
    profile = write_board_profile(tmp_path / "p.json", sliced_bundle, 100.0)
    assert cores_of(profile) == 2
    assert cores_of(None) >= 1
