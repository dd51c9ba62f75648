"""``edge-vseg evaluate`` over clips and device profiles: one by one, in processes, stopped and continued."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_once import made_once

from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.recording import McapWriter
from edge_vseg.scheduling.device_profile import read_device_profile
from edge_vseg.video import VideoWriter

Cli = Callable[..., Any]
HERE = ("--runtime", "onnxruntime")


@pytest.fixture
def clips(drive: list[np.ndarray], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "there.mp4", tmp_path / "back.mp4"]
    for path, images in zip(paths, (drive, drive[::-1]), strict=True):
        with VideoWriter(path, 15.0, drive[0].shape[:2]) as writer:
            for image in images:
                writer.write(image)
    return paths


@pytest.fixture
def profiles(
    cli: Cli, sliced_bundle: Path, drive_video: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    def calibrate(path: Path) -> None:
        shown = cli("calibrate", sliced_bundle, drive_video, *HERE, "--threads", 1, "-o", path)
        assert shown.code == 0, shown.err

    fast, slow = tmp_path / "fast.json", tmp_path / "slow.json"
    shutil.copyfile(made_once(tmp_path_factory, "calibrated.json", calibrate), fast)
    tree = json.loads(fast.read_text())
    for cost in tree["costs"].values():
        cost.update({name: 3 * cost[name] for name in ("p50", "p90", "p99")})
    slow.write_text(json.dumps(tree))
    return [fast, slow]


@pytest.fixture
def command(sliced_bundle: Path, clips: list[Path], profiles: list[Path]) -> list[object]:
    deadline = read_device_profile(profiles[0]).costs["infer"].p50 + 5
    many = [word for path in clips for word in ("--video", path)] + [w for p in profiles for w in ("--replay", p)]
    return ["evaluate", sliced_bundle, *HERE, "--deadline-ms", deadline, *many]


def without_command(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "command"} for row in rows]


def test_processes_give_what_one_evaluation_after_the_other_gives(
    cli: Cli, command: list[object], clips: list[Path], profiles: list[Path], tmp_path: Path
) -> None:
    shown = cli(*command, "--processes", 2, "--results", tmp_path / "results", "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    singly = []
    for clip in clips:
        for profile in profiles:
            one = [*command[:6], "--threads", 1, "--video", clip, "--replay", profile, "--json"]
            shown = cli(*one)
            assert shown.code == 0, shown.err
            singly.append(shown.json())
    assert [(row["data"], row["replay"]) for row in singly] == [(str(c), str(p)) for c in clips for p in profiles]
    assert without_command(tree["rows"]) == without_command(singly)
    assert singly[0]["timing"] != singly[1]["timing"], "the profiles differ"
    summary = tree["summary"]
    assert (summary["rows"], summary["failed"], summary["frames"]) == (4, 0, 48)
    slow = summary["profiles"][1]
    assert (slow["replay"], slow["rows"], slow["miou"]) == (str(profiles[1]), 2, None)
    assert slow["cost"] == pytest.approx((singly[1]["cost"] + singly[3]["cost"]) / 2)
    assert slow["worst_misses"] == max(singly[1]["misses"], singly[3]["misses"])
    assert slow["worst_fidelity_miou"] == min(singly[1]["fidelity_miou"], singly[3]["fidelity_miou"])
    files = sorted((tmp_path / "results").iterdir())
    assert [json.loads(path.read_text()) for path in files] == [tree["rows"][n] for n in (2, 3, 0, 1)]
    assert cli("compare", files[0], files[0], "--max-regression", 0).code == 0
    table = cli(*command, "--results", tmp_path / "results")
    assert table.code == 0
    assert "4 of 4 are in" in table.err
    for name in ("there.mp4", "back.mp4", "fast.json", "slow.json", f"{tree['rows'][1]['timing']['p95']:.2f}"):
        assert name in table.out


def test_what_was_stopped_goes_on(cli: Cli, command: list[object], clips: list[Path], tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = [str(word) for word in (*command, "--results", results)]
    program = subprocess.Popen(
        [sys.executable, "-m", "edge_vseg.cli", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (results.is_dir() and list(results.glob("*.json"))):
        assert time.monotonic() < deadline
        assert program.poll() is None, program.communicate()
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    first = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}
    assert program.returncode == 130
    assert 1 <= len(first) < 4
    # A clip that is called otherwise is the same clip.
    clips[1].rename(clips[1].with_name("renamed.mp4"))
    renamed = [str(word).replace("back.mp4", "renamed.mp4") for word in command]
    shown = cli(*renamed, "--results", results, "--json")
    assert shown.code == 0, shown.err
    assert {path: path.stat().st_mtime_ns for path in first} == first, "done once"
    assert len(list(results.glob("*.json"))) == 4
    fresh = cli(*renamed, "--json")
    rows = [without_command(tree["rows"]) for tree in (shown.json(), fresh.json())]
    for row in (row for each in rows for row in each):
        row["data"] = row["data"].replace("renamed", "back")
    assert rows[0] == rows[1]
    # Other settings are other evaluations.
    assert cli(*renamed, "--scale-network", 2, "--results", results).code == 0
    assert len(list(results.glob("*.json"))) == 8


def test_a_row_that_fails_is_shown_while_the_others_are_done(
    cli: Cli, command: list[object], profiles: list[Path], tmp_path: Path
) -> None:
    tree = json.loads(profiles[1].read_text())
    profiles[1].write_text(json.dumps(tree | {"bundle_sha256": "0" * 64}))
    shown = cli(*command, "--processes", 2, "--results", tmp_path / "results", "--json")
    assert shown.code == 3, shown.err
    tree = shown.json()
    assert [row["replay"] for row in tree["rows"]] == [str(profiles[0])] * 2
    assert [each["replay"] for each in tree["failed"]] == [str(profiles[1])] * 2
    assert tree["failed"][0]["error"]["kind"] == "CalibrationError"
    assert "is of another bundle than" in tree["failed"][0]["error"]["message"]
    assert len(list((tmp_path / "results").iterdir())) == 2
    shown = cli(*command, "--results", tmp_path / "results")
    assert shown.code == 3
    assert "failed" in shown.out
    assert "CalibrationError" in shown.out
    kept = sorted((tmp_path / "results").iterdir())
    kept[0].write_text("{")
    shown = cli(*command, "--results", tmp_path / "results")
    assert (shown.code, "is damaged" in shown.err, kept[0].name in shown.err.replace("\n", "")) == (1, True, True)


def test_several_datasets_are_measured_one_after_the_other(
    cli: Cli, sliced_bundle: Path, drive: list[np.ndarray], tmp_path: Path
) -> None:
    """Every pixel of the second is sky; nothing else is."""
    for number in range(2):
        for folder in ("val", "valannot"):
            (tmp_path / f"d{number}" / folder).mkdir(parents=True)
        for frame, image in enumerate(drive[:3]):
            cv2.imwrite(str(tmp_path / f"d{number}/val/{frame:02d}.png"), image)
            labels = np.full(image.shape[:2], 1 - number, np.uint8)
            cv2.imwrite(str(tmp_path / f"d{number}/valannot/{frame:02d}.png"), labels)
    names = [f"camvid:{tmp_path}/d{number}:val" for number in range(2)]
    shown = cli("evaluate", sliced_bundle, *HERE, "--dataset", names[0], "--dataset", names[1], "--json")
    assert shown.code == 0, shown.err
    rows = shown.json()["rows"]
    assert [(row["data"], row["replay"]) for row in rows] == [(name, None) for name in names]
    assert rows[0]["miou"] != rows[1]["miou"]
    assert (rows[0]["threads"], rows[0]["frames"]) == (0, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--video", "CLIP", "--processes", 2), "measure each other"),
        (("--video", "CLIP", "--cluster", "local"), "measure each other"),
        (("--video", "CLIP", "--video", "CLIP"), "is the same as"),
        (("--video", "CLIP", "--video", "rtsp://u:secret@camera/1"), "record a camera or stream first"),
        (("--video", "CLIP", "--results", "R", "--html", "x.html"), "--html is the report of one evaluation"),
        (("--video", "CLIP", "--replay", "P", "--cluster", "127.0.0.1:1"), "ray start --head"),
        (("--video", "CLIP", "--replay", "P", "--cluster", "127.0.0.1:1", "--processes", 2), "is for this machine"),
        (("--video", "CLIP", "--replay", "none.json", "--processes", 2), "cannot be read"),
        (("--video", "CLIP", "--dataset", "camvid:x"), "either --dataset or --video"),
    ],
)
def test_what_cannot_be_spread_is_refused(
    options: tuple, words: str, cli: Cli, sliced_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "profile.json").write_text("{}")
    places = {"CLIP": clip, "R": tmp_path / "results", "P": tmp_path / "profile.json"}
    shown = cli("evaluate", sliced_bundle, *HERE, *(places.get(str(each), each) for each in options))
    assert (shown.code, words in shown.err) == (1, True), shown.err
    assert "secret" not in shown.err


def test_a_topic_of_a_recording_is_read_where_the_recording_is(tmp_path: Path) -> None:
    """As a single evaluation reads it; only the file goes to the other machine."""
    recording = tmp_path / "drive.mcap"
    with McapWriter(recording) as writer:
        for number, topic in enumerate(("/left", "/right", "/right")):
            image = raw_image(np.full((4, 6, 3), number, np.uint8), "bgr8", ros.Header(stamp=ros.Time(sec=number + 1)))
            writer.write(topic, image, number)
    left, right = (EvaluationData(video=f"{recording}:{topic}") for topic in ("/left", "/right"))
    assert left.path == right.path == recording
    assert left.part != right.part
    elsewhere = recording.rename(tmp_path / "0123.mcap")
    frames, _ = right.at(lambda path: elsewhere if path == recording else path).read(tmp_path, codec_motion=False)
    assert [int(frame.image.max()) for frame in frames] == [1, 2]
