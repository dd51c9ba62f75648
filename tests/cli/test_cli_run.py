"""``edge-vseg run``: what it writes, what it refuses, and how it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from reference_bundle import Recipe, make_variant, write_bundle
from run_frames import frames_of

from edge_vseg import Segmenter

Cli = Callable[..., Any]


def test_writes_overlay_labels_and_statistics(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    overlay, labels, stats = tmp_path / "over.mp4", tmp_path / "deep/labels", tmp_path / "stats.json"
    shown = cli(
        "run", reference_bundle, clip, "-o", overlay, "--labels-out", labels, "--stats", stats, "--runtime", "reference"
    )
    assert shown.code == 0
    assert "12 frames with reference/float" in shown.out
    pictures, segmented = frames_of(clip), frames_of(overlay)
    assert len(segmented) == len(pictures) == 12
    assert segmented[0].shape == (48, 64, 3)
    assert np.abs(segmented[5].astype(int) - pictures[5]).mean() > 5, "nothing was drawn"
    assert sorted(p.name for p in labels.iterdir()) == [f"{i:06d}.png" for i in range(12)]
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        for i in (0, 11):
            written = cv2.imread(str(labels / f"{i:06d}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(written, segmenter(pictures[i]).labels)
    tree = json.loads(stats.read_text())
    assert tree["frames"] == 12
    assert tree["complete"] is True
    assert tree["damaged"] is None
    assert (tree["variant"], tree["provider"]) == ("reference/float", "cpu")
    assert sum(tree["class_share"].values()) == pytest.approx(1)
    assert set(tree["class_share"]) == {"blue", "green", "red"}
    assert tree["class_share"]["red"] > 0.1
    for row in tree["latency_ms"].values():
        assert row["p50"] <= row["p95"] <= row["p99"] <= row["max"]
    assert tree["latency_ms"]["total"]["count"] == 12
    assert 0 < tree["cpu_share"] <= 1
    assert tree["process_cpu_share"] > 0
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_json_and_the_limit(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    shown = cli("run", reference_bundle, clip, "--json", "--stats", stats, "--max-frames", 3)
    assert (shown.code, shown.err) == (0, "")
    tree = shown.json()
    assert tree["frames"] == 3
    assert "reference/float" in tree["chosen"]
    assert tree == json.loads(stats.read_text())


def test_an_old_bundle_with_two_classes_of_one_name(cli: Cli, clip: Path, tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "old.evseg") / "manifest.json"
    tree = json.loads(manifest.read_text())
    tree["labels"][1]["name"] = tree["labels"][0]["name"]
    manifest.write_text(json.dumps(tree))
    share = cli("run", manifest.parent, clip, "--json", "--max-frames", 3).json()["class_share"]
    assert set(share) == {"blue (0)", "blue (1)", "red"}
    assert sum(share.values()) == pytest.approx(1)


def test_uncertainty_stands_beside_the_overlay(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    plain, both = tmp_path / "plain.mp4", tmp_path / "both.mp4"
    for path, more in ((plain, ()), (both, ("--uncertainty",))):
        assert cli("run", reference_bundle, clip, "-o", path, "--runtime", "reference", *more).code == 0
    for alone, beside in zip(frames_of(plain), frames_of(both), strict=True):
        assert beside.shape == (48, 128, 3)
        assert np.abs(beside[8:-8, 8:56].astype(int) - alone[8:-8, 8:56]).mean() < 12
        assert np.abs(beside[8:-8, 72:120].astype(int) - alone[8:-8, 8:56]).mean() > 24


@pytest.mark.skipif("GUI:                           NONE" not in cv2.getBuildInformation(), reason="it has windows")
def test_a_window_that_cannot_be_is_refused(cli: Cli, reference_bundle: Path, clip: Path) -> None:
    shown = cli("run", reference_bundle, clip, "--runtime", "reference", "--show")
    assert shown.code == 1
    assert "opencv-python" in shown.err


def test_image_folder_of_two_sizes(cli: Cli, reference_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, size in enumerate([(48, 64), (31, 57)]):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((*size, 3), (200, 10, 10), np.uint8))
    labels = tmp_path / "labels"
    shown = cli("run", reference_bundle, folder, "--labels-out", labels, "-o", tmp_path / "over.mp4", "--json")
    assert shown.code == 0
    assert shown.json()["class_share"]["blue"] == 1.0
    shapes = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED).shape for p in sorted(labels.iterdir())]
    assert shapes == [(48, 64), (31, 57)]
    assert len(frames_of(tmp_path / "over.mp4")) == 2


@pytest.mark.parametrize("option", ["-o", "--stats"])
def test_existing_files_are_not_replaced(
    option: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "precious.mp4"
    path.write_text("precious")
    shown = cli("run", reference_bundle, clip, option, path)
    assert shown.code == 1
    assert shown.err.startswith(f"OptionError: {path} exists and is not replaced")
    assert path.read_text() == "precious"
    assert cli("run", reference_bundle, clip, option, path, "--force").code == 0
    assert path.read_bytes() != b"precious"


def test_existing_labels_are_not_replaced(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    assert cli("run", reference_bundle, clip, "--labels-out", tmp_path / "labels").code == 0
    shown = cli("run", reference_bundle, clip, "--labels-out", tmp_path / "labels", "--force")
    assert shown.code == 1
    assert "is not an empty folder" in shown.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stats", "gone/stats.json"), "there is no folder gone"),
        (("-o", "gone/over.mp4"), "there is no folder gone"),
        (("--stats", ".", "--force"), "is a folder"),
        (("--precision", "int4"), "--precision 'int4': expected auto, int8, float or float16"),
        (("--runtime", "abacus"), "there is no runtime 'abacus'"),
        (("--runtime", "tflite"), "has nothing for tflite; it has: reference/float"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_options_are_checked_before_the_run(
    options: tuple[str, ...],
    said: str,
    cli: Cli,
    reference_bundle: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    shown = cli("run", reference_bundle, clip, "--labels-out", "labels", *options)
    assert shown.code == 1
    assert shown.err.startswith("OptionError: ")
    assert said in shown.err
    assert not any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("option", ["-o", "--stats", "--labels-out"])
def test_a_folder_that_cannot_be_written_is_told_before_the_run(
    option: str, cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere but on a disk that is mounted to be read, of which ``os.access`` knows."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **_: Path(path) != tmp_path and access(path, mode))
    shown = cli("run", reference_bundle, clip, option, tmp_path / "out.mp4")
    assert shown.code == 1
    assert shown.err.startswith(f"OptionError: {tmp_path / 'out.mp4'} cannot be written: {tmp_path} allows no new")


def test_overlay_of_an_unknown_format(cli: Cli, reference_bundle: Path, clip: Path, tmp_path: Path) -> None:
    shown = cli("run", reference_bundle, clip, "-o", tmp_path / "over.gif")
    assert shown.code == 1
    assert "cannot write .gif" in shown.err


def test_a_variant_that_lost_accuracy_is_named_on_standard_error(clip: Path, tmp_path: Path) -> None:
    int8 = make_variant("reference/int8", precision="int8", status="drop", reason="34.70% differ")
    bundle = write_bundle(tmp_path / "a.evseg", Recipe(extra_variants=(int8,)))
    command = [
        sys.executable,
        "-m",
        "edge_vseg.cli",
        "run",
        bundle,
        clip,
        "--runtime",
        "reference",
        "--max-frames",
        "1",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    assert "reference/int8 lost more accuracy than allowed at export" in done.stderr
    assert "34.70% differ" in done.stderr
