"""No command replaces what it reads, however hard it is forced."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg.cli.spared import spare_inputs, spare_pictures
from edge_vseg.errors import OptionError

Cli = Callable[..., Any]


@pytest.fixture
def place(reference_bundle: Path, clip: Path, tmp_path: Path) -> Path:
    """A folder with two bundles, a video, pictures, a labelled dataset, records of before and a key."""
    for name in ("b.evseg", "c.evseg"):
        shutil.copytree(reference_bundle, tmp_path / name)
    shutil.copy(clip, tmp_path / "drive.mp4")
    for folder in ("frames", "set/images", "set/labels"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), np.zeros((48, 64), np.uint8))
    for name in ("old.json", "device.json", "key.pem"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "drive.mp4")
    return tmp_path


VIDEO = ("b.evseg", "drive.mp4")
CASES = {
    "profile video": (("profile", *VIDEO, "--json", "drive.mp4"), "is the source"),
    "profile link": (("profile", *VIDEO, "--html", "link"), "is the source"),
    "profile bundle": (("profile", *VIDEO, "--json", "b.evseg/manifest.json"), "lies in the bundle"),
    "profile companion": (
        ("profile", *VIDEO, "--companion", "b.evseg", "--html", "b.evseg/manifest.json"),
        "lies in the bundle",
    ),
    "profile plots": (
        ("profile", *VIDEO, "--html", "new.html", "--plots", "b.evseg/plots"),
        "lies in the bundle",
    ),
    "profile plots among pictures": (
        ("profile", "b.evseg", "frames", "--rate", 5, "--html", "new.html", "--plots", "frames"),
        "frames lies among the pictures that are read",
    ),
    "profile pictures": (
        ("profile", "b.evseg", "frames", "--rate", 5, "--json", "frames/0.png"),
        "one of the pictures",
    ),
    "evaluate video": (("evaluate", "b.evseg", "--video", "drive.mp4", "--html", "drive.mp4"), "is the source"),
    "evaluate bundle": (
        ("evaluate", "b.evseg", "--video", "drive.mp4", "--html", "b.evseg/manifest.json"),
        "lies in the bundle",
    ),
    "evaluate plots": (
        ("evaluate", "b.evseg", "--video", "drive.mp4", "--html", "new.html", "--plots", "b.evseg/plots"),
        "lies in the bundle",
    ),
    "evaluate plots in the bundle of the baseline": (
        (
            "evaluate",
            "b.evseg",
            "--video",
            "drive.mp4",
            "--against",
            "c.evseg",
            "--html",
            "new.html",
            "--plots",
            "c.evseg",
        ),
        "lies in the bundle",
    ),
    "evaluate replay": (
        ("evaluate", "b.evseg", "--video", "drive.mp4", "--replay", "device.json", "--html", "device.json"),
        "is read, too",
    ),
    "evaluate dataset": (
        ("evaluate", "b.evseg", "--dataset", "folder:set", "--html", "set/labels/1.png"),
        "one of the pictures",
    ),
    "evaluate plots among pictures": (
        ("evaluate", "b.evseg", "--dataset", "folder:set", "--html", "new.html", "--plots", "set/images/plots"),
        "plots lies among the pictures that are read",
    ),
    "run bundle": (("run", *VIDEO, "-o", "b.evseg/manifest.json"), "lies in the bundle"),
    "run companion": (("run", *VIDEO, "--companion", "c.evseg", "-o", "c.evseg/new.mp4"), "lies in the bundle"),
    "run companion statistics": (
        ("run", *VIDEO, "--companion", "c.evseg", "--stats", "c.evseg/manifest.json"),
        "lies in the bundle",
    ),
    "run labels": (("run", *VIDEO, "--labels-out", "b.evseg/labels"), "lies in the bundle"),
    "run pictures": (("run", "b.evseg", "frames", "--stats", "frames/1.png"), "one of the pictures"),
    "record bundle": (("record", *VIDEO, "b.evseg/manifest.json"), "lies in the bundle"),
    "record companion": (
        ("record", *VIDEO, "--companion", "c.evseg", "c.evseg/manifest.json"),
        "lies in the bundle",
    ),
    "check dataset": (("dataset", "check", "folder:set", "--html", "set/images/0.png"), "one of the pictures"),
    "sign key": (("sign", "b.evseg", "--key", "key.pem", "--version", 1, "--index", "key.pem"), "is read, too"),
}


def _is_path(place: Path, word: str) -> bool:
    return (place / word).exists() or word.startswith(("b.evseg/", "c.evseg/", "set/", "new."))


@pytest.mark.parametrize("case", CASES)
def test_what_is_read_is_not_replaced(case: str, cli: Cli, place: Path) -> None:
    words, reason = CASES[case]
    given = [place / each if isinstance(each, str) and _is_path(place, each) else each for each in words]
    if "folder:set" in given:
        given[given.index("folder:set")] = f"folder:{place / 'set'}"
    before = {each: each.read_bytes() for each in place.rglob("*") if each.is_file()}
    shown = cli(*given, *([] if words[0] == "sign" else ["--force"]))
    assert shown.code == 1
    assert reason in shown.err
    assert {each: each.read_bytes() for each in place.rglob("*") if each.is_file()} == before


def test_plots_beside_pictures(place: Path) -> None:
    for folder in ("plots", "set/plots"):
        spare_pictures(place / folder, [place / "set", str(place / "drive.mp4"), "rtsp://camera/stream", "x" * 5000])
    with pytest.raises(OptionError, match="lies among the pictures that are read"):
        spare_pictures(place / "frames", ["0", f"file:{place / 'frames'}"])


def test_a_report_of_before_beside_pictures_may_be_replaced(place: Path) -> None:
    page = place / "set/report.html"
    page.write_text("old")
    spare_inputs(page, [place / "set", place / "b.evseg", place / "drive.mp4", None])
    with pytest.raises(OptionError, match="is read, too"):
        spare_inputs(page, [page])
