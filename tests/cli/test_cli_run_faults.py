"""`edge-vseg run` on videos that are damaged, disks that are full, and Ctrl-C: what is kept, and what is said."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from run_frames import frames_of

from edge_vseg import VideoWriter
from edge_vseg.cli import run as cli_run
from edge_vseg.cli.outputs import Outputs
from edge_vseg.files import cannot_write
from edge_vseg.types import Frame, Result
from edge_vseg.video import Source

Cli = Callable[..., Any]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 99\n"


def only_sound(path: Path, clip: Path) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48000)
        for index in range(20):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48000, index * 1024
            out.mux(stream.encode(samples))
        out.mux(stream.encode(None))


def truncated(path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # the index of an MP4 stands at its end


def lfs_pointer(path: Path, clip: Path) -> None:
    path.write_bytes(LFS)


def empty(path: Path, clip: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path, clip: Path) -> None:
    pass


def noise(path: Path, clip: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def empty_folder(path: Path, clip: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (only_sound, "VideoDecodeError"),
        (truncated, "VideoDecodeError"),
        (lfs_pointer, "VideoDecodeError"),
        (empty, "VideoDecodeError"),
        (missing, "VideoNotFoundError"),
        (noise, "VideoDecodeError"),
        (empty_folder, "NoFramesError"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_video(
    make: Callable[[Path, Path], None], kind: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source.mp4"
    make(source, clip)
    results = tmp_path / "results"
    results.mkdir()
    options = ("-o", results / "over.mp4", "--labels-out", results / "labels", "--stats", results / "stats.json")
    shown = cli("run", reference_bundle, source, *options)
    assert shown.code == 1
    assert f"{kind}: " in shown.err
    assert str(source) in shown.err
    assert "Traceback" not in shown.err
    assert not any(results.iterdir())
    assert cli("run", reference_bundle, source, *options, "--json").json()["error"]["kind"] == kind


def test_an_error_on_the_way_leaves_no_overlay_that_looks_whole(
    cli: Cli, reference_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    (folder / "1.png").write_bytes(b"damaged")
    over = tmp_path / "over.mp4"
    over.write_text("of an earlier run")
    shown = cli("run", reference_bundle, folder, "-o", over, "--force")
    assert shown.code == 1
    assert "VideoDecodeError" in shown.err
    assert over.read_text() == "of an earlier run"
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_video_cut_in_the_middle_gives_its_frames_and_says_so(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    rng = np.random.default_rng(0)
    with VideoWriter(whole, 30.0, (48, 64)) as writer:
        for _ in range(60):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    over = tmp_path / "over.mp4"
    shown = cli("run", reference_bundle, cut, "-o", over, "--json")
    assert shown.code == 0
    tree = shown.json()
    assert 10 < tree["frames"] < 50
    assert "read;" in tree["damaged"]
    assert len(frames_of(over)) == tree["frames"]
    spoken = cli("run", reference_bundle, cut)
    assert spoken.code == 0
    assert tree["damaged"] in " ".join((spoken.out + spoken.err).split())


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    image = np.full((96, 128, 3), (200, 40, 40), np.uint8)
    with VideoWriter(path, 30.0, (96, 128)) as writer:
        for _ in range(6000):
            writer.write(image)
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("as_json", [False, True])
def test_interrupt_keeps_what_was_done(
    as_json: bool, number: int, code: int, reference_bundle: Path, long_clip: Path, tmp_path: Path
) -> None:
    over, labels, stats = tmp_path / "over.mp4", tmp_path / "labels", tmp_path / "stats.json"
    words = ["run", reference_bundle, long_clip, "-o", over, "--labels-out", labels, "--stats", stats]
    words += ["--runtime", "reference", *(["--json"] if as_json else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_vseg.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    deadline = time.monotonic() + 60
    while not (labels / "000020.png").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    tree = json.loads(stats.read_text())
    assert (tree["complete"], tree["stopped"]) == (False, "Ctrl-C or SIGTERM")
    assert 20 <= tree["frames"] < 6000
    assert len(frames_of(over)) == len(list(labels.iterdir())) == tree["frames"]
    assert not list(tmp_path.glob(".*"))
    if as_json:
        assert json.loads(out) == tree
    else:
        assert "stopped before the end: Ctrl-C or SIGTERM" in out


def test_a_live_source_that_ends_by_itself_is_not_called_complete(
    cli: Cli, reference_bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that was closed in order ends like a file; nobody knows what it would still have shown."""
    opened = cli_run.open_source

    def open_stream(source: str, max_frames: int | None, **_: object) -> Source:
        images = (frame.image for frame in opened(source))
        return opened(images, live=True, max_frames=max_frames)

    monkeypatch.setattr(cli_run, "open_source", open_stream)
    words = ("run", reference_bundle, clip, "--runtime", "reference", "--json")
    shown = cli(*words)
    tree = shown.json()
    assert (shown.code, tree["complete"], tree["stopped"]) == (0, False, f"{tree['source']} ended")
    tree = cli(*words, "--max-frames", 1).json()
    assert (tree["frames"], tree["complete"], tree["stopped"]) == (1, True, None)


def test_a_recording_that_is_played_live_is_complete(cli: Cli, reference_bundle: Path, clip: Path) -> None:
    shown = cli("run", reference_bundle, f"file:{clip}?live", "--runtime", "reference", "--buffer", "every", "--json")
    tree = shown.json()
    assert (shown.code, tree["complete"], tree["stopped"]) == (0, True, None)


def test_a_full_disk_leaves_the_old_statistics_and_no_half_maps(
    cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats, labels = tmp_path / "stats.json", tmp_path / "labels"
    stats.write_text("of an earlier run")
    words = ("run", reference_bundle, clip, "--runtime", "reference", "--stats", stats, "--force")

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edge_vseg.files.os.write", full)
    shown = cli(*words)
    assert (shown.code, "stats.json cannot be written: No space left on device" in shown.err) == (1, True)
    assert "12 frames" in shown.out, "the figures are not lost"
    assert stats.read_text() == "of an earlier run"
    shown = cli(*words, "--labels-out", labels)
    assert (shown.code, "000000.png cannot be written: No space" in shown.err) == (1, True)
    assert (list(labels.iterdir()), "Traceback" in shown.err) == ([], False)
    assert "1 frame" in shown.out


@pytest.mark.parametrize("of", ["labels", "overlay"])
def test_a_disk_that_is_full_after_a_while_keeps_the_figures(
    of: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five frames of twelve have figures, too."""
    outputs = ("--labels-out", tmp_path / "labels") if of == "labels" else ("-o", tmp_path / "over.mp4")
    add, left = Outputs.add, iter([True] * 5)

    def full(self: Outputs, frame: Frame, result: Result) -> bool:
        if not next(left, False):
            raise cannot_write(tmp_path / "it", OSError(errno.ENOSPC, "No space left on device"))
        return add(self, frame, result)

    monkeypatch.setattr(Outputs, "add", full)
    stats = tmp_path / "stats.json"
    shown = cli("run", reference_bundle, clip, "--runtime", "reference", *outputs, "--stats", stats, "--json")
    error = shown.json()["error"]
    assert (shown.code, error["kind"], "it cannot be written: No" in error["message"]) == (1, "OutputError", True)
    tree = json.loads(stats.read_text())
    assert (tree["frames"], tree["complete"]) == (6, False)
    assert "No space" in tree["stopped"]
    assert not (tmp_path / "over.mp4").exists(), "an overlay is whole or not there"


def test_a_video_that_cannot_be_written_is_refused_before_the_bundle_is_opened(
    cli: Cli, clip: Path, tmp_path: Path, reference_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_run, "open_source", lambda *_, **__: pytest.fail("it has been opened"))
    shown = cli("run", reference_bundle, clip, "-o", tmp_path / "out.avi")
    assert (shown.code, "cannot write .avi; use .mp4" in shown.err) == (1, True)


@pytest.mark.data
def test_real_video_cut_in_the_middle(cli: Cli, reference_bundle: Path, data_dir: Path, tmp_path: Path) -> None:
    data = (data_dir / "videos/static-road.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 4])
    tree = cli("run", reference_bundle, tmp_path / "cut.avi", "--runtime", "reference", "--json").json()
    assert 20 < tree["frames"] < 374
    assert f"{tree['frames']} frames read" in tree["damaged"]
    assert tree["complete"] is True


@pytest.mark.data
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_real_mp4_without_its_index(
    share: float, cli: Cli, reference_bundle: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Where the index stands first, there are frames; where it is lost, there is a named error. Never a traceback."""
    data = (data_dir / "videos/dashcam.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
    over = tmp_path / "over.mp4"
    shown = cli("run", reference_bundle, tmp_path / "cut.mp4", "-o", over, "--max-frames", 8, "--json")
    if shown.code == 0:
        assert len(frames_of(over)) == shown.json()["frames"] > 0
    else:
        assert shown.code == 1
        assert shown.json()["error"]["kind"] in ("VideoDecodeError", "NoFramesError")
        assert not over.exists()
