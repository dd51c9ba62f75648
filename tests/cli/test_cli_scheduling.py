"""``edge-vseg calibrate``, ``evaluate``, and ``run`` under a policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_vseg import Deadline, Segmenter, open_bundle, open_source
from edge_vseg.cli.run_stats import RunStats
from edge_vseg.scheduling.device_profile import device_profile_path, read_device_profile

Cli = Callable[..., Any]
HERE = ("--runtime", "onnxruntime", "--threads", 1)


def test_calibrate_writes_a_profile_beside_the_bundle_that_run_uses(
    cli: Cli, sliced_bundle: Path, drive_video: Path
) -> None:
    shown = cli("calibrate", sliced_bundle, drive_video, *HERE, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    path = Path(tree["path"])
    try:
        assert path == device_profile_path(sliced_bundle, tree["variant"], 1)
        profile = read_device_profile(path)
        slices = len([name for name in profile.costs if name.startswith("slice ")])
        wanted = {"infer", "tile", "propagate", "fuse", "carry", "labels", "preprocess", "motion dis"}
        assert wanted <= set(profile.costs)
        assert slices == len(open_bundle(sliced_bundle).manifest.variant(tree["variant"]).slices)
        assert all(0 < cost.p50 <= cost.p90 <= cost.p99 for cost in profile.costs.values())
        assert profile.fit is not None
        assert 0 < profile.fit.mean_drift < 1
        assert min(profile.drift.speed, profile.drift.unexplained, profile.drift.bias) >= 0
        ran = cli("run", sliced_bundle, drive_video, *HERE, "--deadline-ms", 1000, "--json")
        assert ran.json()["sources"] == {"inferred": 36}
    finally:
        path.unlink(missing_ok=True)


def test_calibrate_for_people(cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    shown = cli("calibrate", sliced_bundle, drive_video, *HERE, "-o", path)
    assert shown.code == 0
    assert "smallest useful deadline" in shown.out
    assert path.is_file()
    assert not device_profile_path(sliced_bundle, read_device_profile(path).variant, 1).exists()


def test_calibrate_on_a_provider(cli: Cli, sliced_bundle: Path, drive_video: Path) -> None:
    spinning = ("--provider-option", "session.intra_op.allow_spinning=1")
    shown = cli("calibrate", sliced_bundle, drive_video, *HERE, "--provider", "cpu", *spinning, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    path = Path(tree["path"])
    try:
        assert tree["provider"] == ""
        assert path == device_profile_path(sliced_bundle, tree["variant"], 1)
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--provider", "cuda"), "provider 'cuda' is not in this build of ONNX Runtime"),
        (("--provider-option", "device_id=0"), "provider 'cpu' takes no options, got device_id"),
        (("--provider-option", "device_id"), "expected NAME=VALUE"),
        (("--provider-option", "a=1", "--provider-option", "a=2"), "gives a twice, as '1' and '2'"),
    ],
)
@pytest.mark.parametrize("command", ["calibrate", "run"])
def test_providers_that_are_refused(
    cli: Cli, sliced_bundle: Path, drive_video: Path, command: str, options: tuple[str, ...], message: str
) -> None:
    shown = cli(command, sliced_bundle, drive_video, *HERE, *options)
    assert shown.code == 1
    assert message in " ".join(shown.err.split())


def test_recorded_costs_are_replayed_alike(cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    assert cli("calibrate", sliced_bundle, drive_video, *HERE, "-o", path).code == 0
    costs = read_device_profile(path).costs
    deadline = 0.6 * costs["infer"].p50 + 3
    replay = ("--replay", path, "--deadline-ms", deadline, "--json")
    first, second = (cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, *replay).json() for _ in range(2))
    assert first == second
    assert 0.5 * costs["infer"].p50 < first["every_frame"]["p50"] < 3 * costs["infer"].p99 + 10
    refused = cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, "--replay", path, "--policy", "async")
    assert (refused.code, "give a rate" in refused.err) == (1, True)


def test_the_background_is_replayed_alike(cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    """A network of 1.4 frame periods: every frame is answered within the deadline, from keyframes two periods old."""
    path = tmp_path / "profile.json"
    assert cli("calibrate", sliced_bundle, drive_video, *HERE, "-o", path).code == 0
    tree = json.loads(path.read_text())
    slices = sum(step.startswith("slice") for step in tree["costs"])
    ms = {step: 1 / slices if step.startswith("slice") else 1.0 for step in tree["costs"]}
    costs = {step: {"runs": 9, "p50": p50, "p90": 1.1 * p50, "p99": 1.2 * p50} for step, p50 in ms.items()}
    path.write_text(json.dumps(tree | {"costs": costs, "contention": {"frame": 1.0, "background": 1.0}}))
    paced = ("--rate", 10, "--replay", path, "--scale-network", 140, "--deadline-ms", 10, "--json")
    first, second = (cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, *paced).json() for _ in range(2))
    assert first == second
    assert first["misses"] < 0.1, "only the first frames wait, for the first keyframe"
    assert 2 <= first["age_frames"] < 3.5
    assert first["every_frame"]["p50"] > 130
    refused = cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, "--scale-network", 2)
    assert (refused.code, "device profile to replay" in refused.err) == (1, True)


def test_where_a_profile_goes_is_checked_before_it_is_measured(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    """The video is too short, which is found when it is read."""
    precious = tmp_path / "package.json"
    precious.write_text('{"name": "mine"}')
    shown = cli("calibrate", reference_bundle, clip, "--runtime", "reference", "-o", precious)
    assert (shown.code, "was not written by calibrate" in shown.err) == (1, True)
    (tmp_path / "file").write_text("in the way")
    shown = cli("calibrate", reference_bundle, clip, "--runtime", "reference", "-o", tmp_path / "file" / "a.json")
    assert (shown.code, "file cannot be written; give another place" in shown.err) == (1, True)
    precious.write_text('{"schema": 1, "machine": "m", "costs": {}}')
    shown = cli("calibrate", reference_bundle, clip, "--runtime", "reference", "-o", precious)
    assert "12 frames" in shown.err, "one of an older version may be replaced"


def test_too_short_a_video_cannot_calibrate(cli: Cli, sliced_bundle: Path, clip: Path) -> None:
    shown = cli("calibrate", sliced_bundle, clip, *HERE)
    assert (shown.code, "CalibrationError" in shown.err, "12 frames" in shown.err) == (1, True, True)


def test_evaluate_without_labels_tells_fidelity(cli: Cli, sliced_bundle: Path, drive_video: Path) -> None:
    shown = cli(
        "evaluate",
        sliced_bundle,
        "--video",
        drive_video,
        *HERE,
        "--policy",
        "fixed",
        "--set",
        "period_frames=3",
        "--json",
    )
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert (tree["frames"], tree["miou"], tree["policy"]) == (36, None, "fixed")
    assert tree["sources"] == {"inferred": 12, "propagated": 24}
    assert 0.5 < tree["agreement"] < 1
    assert tree["cost"] == pytest.approx(tree["timing"]["mean"] / tree["every_frame"]["mean"])
    assert (tree["oldest_frames"], tree["age_frames"]) == (2, 1.0)


def test_every_frame_agrees_with_itself(cli: Cli, sliced_bundle: Path, drive_video: Path) -> None:
    shown = cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, "--max-frames", 4, "--json")
    assert shown.json()["fidelity_miou"] == 1


def test_evaluate_with_labels_tells_miou(cli: Cli, sliced_bundle: Path, drive, tmp_path: Path) -> None:
    from edge_vseg import Segmenter

    for folder in ("val", "valannot"):
        (tmp_path / folder).mkdir()
    with Segmenter.open(sliced_bundle, threads=1) as segmenter:
        for number, image in enumerate(drive[:6]):
            cv2.imwrite(str(tmp_path / f"val/{number:02d}.png"), image)
            labels = segmenter(image).labels.copy()
            labels[:20] = 11  # void
            cv2.imwrite(str(tmp_path / f"valannot/{number:02d}.png"), labels)
    shown = cli("evaluate", sliced_bundle, "--dataset", f"camvid:{tmp_path}", *HERE, "--deadline-ms", 500, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert tree["every_frame_miou"] == 1
    assert 0.4 < tree["miou"] < 1  # every frame is inferred, and fused with what was carried
    assert 0.95 < tree["agreement"] < 1
    assert (tree["deadline_ms"], tree["misses"]) == (500, 0)
    table = cli("evaluate", sliced_bundle, "--dataset", f"camvid:{tmp_path}:val", *HERE, "--policy", "sliced")
    assert "mIoU" in table.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--dataset or --video"),
        (("--video", "VIDEO", "--dataset", "camvid:x"), "--dataset or --video"),
        (("--dataset", "kitti:x"), "unknown dataset layout 'kitti'"),
        (("--video", "VIDEO", "--policy", "psychic"), "known: every-frame"),
        (("--video", "VIDEO", "--policy", "deadline"), "--deadline-ms"),
        (("--video", "VIDEO", "--policy", "fixed", "--deadline-ms", 9), "policy deadline"),
        (("--video", "VIDEO", "--cpu-share", 0.5), "--cpu-share is for the policy deadline"),
        (("--video", "VIDEO", "--deadline-ms", 9, "--cpu-share", 1.5), "cpu_share must be in (0, 1]"),
        (("--video", "VIDEO", "--policy", "fixed", "--max-age", 90), "--max-age is for the policy deadline"),
        (("--video", "VIDEO", "--policy", "fixed", "--set", "period"), "NAME=VALUE"),
        (("--video", "VIDEO", "--policy", "fixed", "--set", "interval=3"), "interval"),
        (("--video", "VIDEO", "--set", "period_frames=3"), "--policy"),
    ],
)
def test_contradicting_options_raise(
    options: tuple, words: str, cli: Cli, sliced_bundle: Path, drive_video: Path
) -> None:
    shown = cli("evaluate", sliced_bundle, *(drive_video if option == "VIDEO" else option for option in options))
    assert (shown.code, words in shown.err) == (1, True), shown.err


def test_run_with_a_deadline_prints_misses(cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    shown = cli("run", sliced_bundle, drive_video, *HERE, "--deadline-ms", 4, "--stats", stats)
    assert shown.code == 0, shown.err
    assert "of 35 frames over 4 ms" in shown.out, "the first of 36 is start-up, and never counts as late"
    tree = json.loads(stats.read_text())
    assert sum(tree["sources"].values()) == tree["frames"] == 36
    assert tree["frames_over_deadline"] is not None
    setting = ("--policy", "deadline", "--set", "milliseconds=900")
    tree = cli("run", sliced_bundle, drive_video, *HERE, *setting, "--json").json()
    assert (tree["deadline_ms"], tree["frames_over_deadline"]) == (900, 0)


@pytest.mark.parametrize(("age_frames", "live", "told"), [(13, False, True), (12, False, False), (13, True, False)])
def test_maps_that_are_old_because_the_video_was_read_flat_out(
    age_frames: int, live: bool, told: bool, sliced_bundle: Path, drive_video: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    schedule = Deadline(milliseconds=15.0)
    with (
        Segmenter.open(sliced_bundle, runtime="onnxruntime", threads=1, policy=schedule) as segmenter,
        open_source(drive_video, live=live) as frames,
    ):
        stats = RunStats(segmenter, str(sliced_bundle), frames.name, deadline_ms=15.0)
        stats.add(replace(segmenter(next(frames)), age_frames=age_frames, source="propagated"))
        stats.end(frames)
        stats.show()
    shown = " ".join(capfd.readouterr().out.split())
    assert (f"'file:{drive_video}?live' plays it at its own pace" in shown) is told


def test_run_draws_held_maps_too(cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path) -> None:
    hold = ("--policy", "fixed", "--set", "motion=still", "--set", "period_frames=5")
    shown = cli("run", sliced_bundle, drive_video, *HERE, *hold, "-o", tmp_path / "over.mp4", "--json")
    assert shown.code == 0, shown.err
    assert shown.json()["sources"] == {"inferred": 8, "held": 28}


def test_motion_of_the_codec_comes_from_the_video(cli: Cli, sliced_bundle: Path, drive_video: Path) -> None:
    codec = ("--policy", "fixed", "--set", "motion=codec", "--json")
    shown = cli("evaluate", sliced_bundle, "--video", drive_video, *HERE, *codec)
    assert shown.code == 0, shown.err
    assert shown.json()["agreement"] > 0.5
    assert cli("evaluate", sliced_bundle, "--dataset", "camvid:x", *HERE, *codec).code == 1
    refused = cli("run", sliced_bundle, drive_video.parent, *HERE, *codec)  # no codec in a folder
    assert refused.code == 1
