"""Every example runs as its docstring says, on a bundle made by the export example."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_vseg import VideoWriter, open_bundle, open_source
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import read_network

EXAMPLES = Path(__file__).parent.parent / "examples"
SIZE_HW = (48, 64)
FRAMES = 24


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured blocks over a noisy ground that both move, so that no two frames are alike."""
    path = tmp_path_factory.mktemp("examples") / "blocks.mp4"
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 160, (12, 64, 3), np.uint8).repeat(8, 0).repeat(2, 1)
    with VideoWriter(path, 10.0, (96, 128)) as writer:
        for step in range(FRAMES):
            image = np.roll(ground, (3 * step, 5 * step), (0, 1))
            for channel in range(3):
                left = (9 * step * (channel + 1) + 40 * channel) % 96
                image[12 + 24 * channel : 34 + 24 * channel, left : left + 30] = 30 * (np.arange(3) != channel)
                image[12 + 24 * channel : 34 + 24 * channel, left : left + 30, channel] = 230
            writer.write(image)
    return path


@pytest.fixture(scope="session")
def bundle(video: Path) -> Path:
    """The bundle that the export example makes; the other examples run it."""
    path = video.with_name("colors.evseg")
    _run("export_torch.py", path, video, "--input-size", *SIZE_HW, "--runtimes", "onnxruntime", "--count", 8)
    return path


def _run(script: str, *arguments: object, code: int = 0) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    # The choice of `auto` is remembered in the user's cache folder; a test leaves that alone.
    environment = os.environ | {"XDG_CACHE_HOME": str(Path(str(arguments[0])).parent), "PYTHONWARNINGS": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == code, f"{script} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_export_torch_writes_an_accurate_bundle(bundle: Path) -> None:
    opened = open_bundle(bundle)
    int8 = [v for v in opened.manifest.variants if v.precision == "int8"]
    assert opened.manifest.frame.size_hw == SIZE_HW
    assert [label.name for label in opened.manifest.labels] == ["red", "green", "blue"]
    assert len(int8) == 1
    assert int8[0].parity is not None
    assert int8[0].parity.pixel_agreement > 0.95
    assert (len(opened.manifest.calibration.frames), len(opened.manifest.calibration.validation_frames)) == (8, 8)


def test_segment_video_writes_every_frame(bundle: Path, video: Path, tmp_path: Path) -> None:
    output = tmp_path / "overlay.mp4"
    printed = _run("segment_video.py", bundle, video, output)
    assert printed.startswith(f"{FRAMES} frames")
    with open_source(output) as frames:
        assert sum(frame.image.shape == (96, 128, 3) for frame in frames) == FRAMES


def test_tune_bundle_writes_a_bundle_that_needs_no_options(bundle: Path, video: Path, tmp_path: Path) -> None:
    output = tmp_path / "thrifty.evseg"
    lines = _run("tune_bundle.py", bundle, video, output, "--trials", 3, "--frames", 12, "--rate", 60).splitlines()
    assert lines[0].startswith("best: mIoU ")
    schedule = open_bundle(output).manifest.schedule
    assert schedule is not None
    assert schedule.origin == {"by": "tune_bundle.py"}
    late = _run("tune_bundle.py", bundle, video, output, "--trials", 1, "--deadline-ms", 0.01, code=1)
    assert late == ""


def test_sharp_and_fresh_compares_three(bundle: Path, video: Path) -> None:
    lines = _run("sharp_and_fresh.py", bundle, video, "--companion", bundle, "--deadline-ms", 1000).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["plain", "guided borders", "companion"]
    assert lines[0].startswith("plain: 0.00%")


def test_sharp_and_fresh_follows_things(bundle: Path, video: Path) -> None:
    names = [label.name for label in open_bundle(bundle).manifest.labels][:2]
    lines = _run("sharp_and_fresh.py", bundle, video, "--deadline-ms", 1000, "--follow", *names).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["plain", "guided borders", "followed things"]


def test_latency_budget_prints_the_trusted_share(bundle: Path, video: Path) -> None:
    lines = _run("latency_budget.py", bundle, video, "--deadline-ms", 1000).splitlines()
    expected = r"frame (\d+): (inferred|partial), 0 frames old, (\d+)% trusted"
    found = [re.fullmatch(expected, line) for line in lines[:-1]]
    assert all(found), lines
    assert [int(match[1]) for match in found if match] == list(range(FRAMES))
    assert max(int(match[3]) for match in found if match) > 10
    assert lines[-1].startswith(f"{FRAMES} frames, 0.0% over 1000 ms")


def test_profile_on_device_fails_for_a_slower_release(bundle: Path, video: Path) -> None:
    arguments = ("profile_on_device.py", bundle, video, "--deadline-ms", 1000, "--seconds", 1)
    printed = _run(*arguments)
    assert re.match(r"\d+ frames, \d+ dropped; p99 \d+\.\d ms\nover the deadline: 0\.00%", printed)
    assert "<svg" in bundle.with_name("profile.html").read_text(encoding="utf-8")
    tree = json.loads(bundle.with_name("profile.json").read_text(encoding="utf-8"))
    for name in ("p50", "p95", "p99"):
        tree["latency_ms"][name] /= 1000
    faster = bundle.with_name("faster.json")
    faster.write_text(json.dumps(tree), encoding="utf-8")
    assert "worse: latency p50" in _run(*arguments, "--before", faster, code=3)


def test_camera_loop_prints_the_age_of_every_result(bundle: Path, video: Path) -> None:
    lines = _run("camera_loop.py", bundle, video, "--max-frames", 5).splitlines()
    expected = r"frame (\d+): mostly (red|green|blue), \d+\.\d ms after capture"
    found = [re.fullmatch(expected, line) for line in lines]
    assert [int(match[1]) for match in found if match] == list(range(5))


def test_camera_loop_ends_with_the_video(bundle: Path, video: Path) -> None:
    assert len(_run("camera_loop.py", bundle, video).splitlines()) == FRAMES


def test_update_robot_goes_on_with_what_it_has(bundle: Path, video: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra trust")
    from signed_bundles import new_key, sign, trust

    key, keys, robot = new_key(), tmp_path / "keys", tmp_path / "robot.evseg"
    trust(keys, key)
    releases = [Path(shutil.copytree(bundle, tmp_path / f"release-{version}.evseg")) for version in (1, 2)]
    for version, release in enumerate(releases, 1):
        sign(release, key, version)
    lines = _run("update_robot.py", robot, releases[1], video, "--keys", keys).splitlines()
    assert lines[0] == "updated: colors, version 2"
    assert re.fullmatch(rf"{FRAMES} frames with 2-\w+", lines[1])
    done = _run("update_robot.py", robot, releases[0], video, "--keys", keys)
    assert done.splitlines() == [lines[1]], "the older release is refused on standard error"
    for place in (tmp_path / "stick" / "release.evseg", tmp_path):  # not plugged in; something else than a bundle
        assert _run("update_robot.py", robot, place, video, "--keys", keys).splitlines() == [lines[1]]


def test_robot_loop_slows_down_and_ends_with_the_video(bundle: Path, video: Path) -> None:
    lines = _run("robot_loop.py", bundle, video, "--free", "red", "green", "--deadline-ms", 1000).splitlines()
    assert all(re.match(r"\d\.\d\d m/s, (clear|short|unsure|stale); (ok|stale|degraded)", line) for line in lines[:-1])
    match = re.match(rf"(\d+) ticks: .*\(captured={FRAMES}, delivered=\d+, dropped=\d+, failed=0, in_fl", lines[-1])
    assert match, lines[-1]
    assert "short" in lines[-1] or "unsure" in lines[-1], "blue blocks stand in the way"
    assert int(match[1]) >= 20


def test_robot_loop_says_why_it_stands_without_scores() -> None:
    """It said "unsure" for ever."""
    allowed_speed = runpy.run_path(str(EXAMPLES / "robot_loop.py"))["allowed_speed"]
    free, likely = np.zeros((48, 64), np.uint8), np.zeros((6, 8), np.float32)
    assert allowed_speed(SimpleNamespace(labels=free, uncertainty=None), frozenset({0}), 0) == (0.0, "no scores")
    assert allowed_speed(SimpleNamespace(labels=free, uncertainty=likely), frozenset({0}), 0) == (1.5, "clear")
    assert allowed_speed(SimpleNamespace(labels=free, uncertainty=likely + 1), frozenset({0}), 0) == (0.0, "unsure")


def test_compare_runtimes_has_a_row_for_every_variant(bundle: Path, video: Path) -> None:
    printed = _run("compare_runtimes.py", bundle, video, "--max-frames", 6, "--threads", 1)
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:]}
    assert set(rows) == {v.id for v in open_bundle(bundle).manifest.variants}
    assert rows["onnxruntime/float"][0] == "100.00%"
    assert all(90.0 < float(row[0].rstrip("%")) <= 100.0 and float(row[2]) > 0 for row in rows.values())


def test_overlay_strip_has_a_panel_for_each_frame(bundle: Path, video: Path, tmp_path: Path) -> None:
    printed = _run("overlay_strip.py", bundle, video, tmp_path / "strip.png", "--first", 3, "--count", 2)
    assert "2 frames from 3 on" in printed
    assert cv2.imread(str(tmp_path / "strip.png")).shape[1] == 2 * (128 + 8)


def test_overlay_strip_of_images_tells_ages_in_frames(
    bundle: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no times: all captions said 0 ms."""
    (tmp_path / "images").mkdir()
    with open_source(video, max_frames=3) as frames:
        for frame in frames:
            cv2.imwrite(str(tmp_path / "images" / f"{frame.seq}.png"), frame.image)
    captions: list[str] = []
    put_text = cv2.putText
    monkeypatch.setattr(
        cv2, "putText", lambda image, text, *more: captions.append(text) or put_text(image, text, *more)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for source, said in ((tmp_path / "images", "1 frames old"), (video, "100 ms old")):
        words = ["overlay_strip.py", str(bundle), str(source), str(tmp_path / "strip.png"), "--count", "3"]
        monkeypatch.setattr(sys, "argv", words)
        captions.clear()
        runpy.run_path(str(EXAMPLES / "overlay_strip.py"), run_name="__main__")
        assert len(captions) == 3
        assert any(said in caption for caption in captions), captions


@pytest.mark.parametrize("name", ["strip.odd", "nowhere/strip.png"])
def test_overlay_strip_refuses_a_picture_that_cannot_be_written(
    name: str, bundle: Path, video: Path, tmp_path: Path
) -> None:
    assert "frames from" not in _run("overlay_strip.py", bundle, video, tmp_path / name, code=2)


def test_render_street_writes_a_video(tmp_path: Path) -> None:
    _run("render_street.py", tmp_path / "street.mp4", "--frames", 4, "--size", 72, 96)
    with open_source(tmp_path / "street.mp4") as frames:
        assert len(list(frames)) == 4


def test_train_camvid_runs_on_a_tiny_dataset(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, frame in enumerate(render_street(StreetOptions(size_hw=(72, 96), rate=1.0), 2)):
            for folder, picture in ((split, frame.image), (f"{split}annot", frame.labels)):
                (tmp_path / "camvid" / folder).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / "camvid" / folder / f"{number}.png"), picture)
    teacher = tmp_path / "teacher.py"
    teacher.write_text("from edge_vseg.export.reference.zoo import middle as network\n")
    video = tmp_path / "drive.mp4"
    with VideoWriter(video, 10.0, (72, 96)) as writer:
        for frame in render_street(StreetOptions(size_hw=(72, 96), rate=10.0), 4):
            writer.write(frame.image)
    arguments = ("--epochs", 2, "--streets", 0, "--crop", 64, 96, "--teacher", f"{teacher}:network", "--video", video)
    printed = _run("train_camvid.py", tmp_path / "camvid", tmp_path / "run", *arguments)
    assert "validation frames" in printed
    assert read_network(tmp_path / "run/weights.safetensors").spec.name == "small"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.release
def test_camvid_compares_int8_with_the_ground_truth(data_dir: Path, tmp_path: Path) -> None:
    arguments = ("--network", "small", "--runtimes", "onnxruntime", "--frames", 6)
    printed = _run("camvid.py", data_dir / "camvid", tmp_path / "out", *arguments)
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:]}
    int8 = next(row for name, row in rows.items() if "int8" in name)
    assert float(int8[0].rstrip("%")) == pytest.approx(float(rows["onnxruntime/float"][0].rstrip("%")), abs=2)
    assert float(rows["road"][0].rstrip("%")) > 80


@pytest.mark.parametrize("script", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_example_is_short_and_documents_its_command(script: str) -> None:
    text = (EXAMPLES / script).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert f"python examples/{script}" in text
    assert f'"{script}"' in Path(__file__).read_text(encoding="utf-8"), "no test runs it"
