"""``edge-vseg demo``: everything from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg import open_bundle, open_source
from edge_vseg.export.reference.scenes import StreetOptions, render_street
from edge_vseg.export.reference.zoo import shipped
from edge_vseg.video import VideoWriter

Cli = Callable[..., Any]
pytest.importorskip("torch")


@pytest.mark.slow
def test_rendered_street(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "demo"
    shown = cli("demo", folder, "--network", "small", "--runtimes", "onnxruntime", "--frames", 12, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert tree["frames"] == 12
    scores = {row["precision"]: row for row in tree["scores"]}
    assert set(scores) == {"int8", "float"}
    assert scores["int8"]["agreement"] > 0.97
    assert scores["int8"]["miou"] == pytest.approx(scores["float"]["miou"], abs=0.03)
    assert scores["float"]["miou"] > 0.4, "the shipped network knows the rendered streets"
    assert [label.name for label in open_bundle(tree["bundle"]).manifest.labels][:2] == ["sky", "building"]
    assert "<html" in Path(tree["report"]).read_text(encoding="utf-8")
    assert cv2.imread(tree["picture"]).shape[1] == 1500
    with open_source(tree["overlay"], strict=True) as source:
        pictures = [frame.image for frame in source]
    street = [frame.image for frame in render_street(StreetOptions(seed=7), 12)]
    assert len(pictures) == 12
    assert np.abs(pictures[5].astype(int) - street[5]).mean() > 8, "nothing was drawn"
    again = cli("demo", folder, "--network", "small")
    assert again.code == 1
    assert "--force" in again.err


@pytest.mark.slow
def test_own_video_has_no_ground_truth(cli: Cli, tmp_path: Path) -> None:
    video = tmp_path / "mine.mp4"
    with VideoWriter(video, 10.0, (120, 160)) as writer:
        for frame in render_street(StreetOptions(size_hw=(120, 160), rate=10.0, seed=5), 30):
            writer.write(frame.image)
    arguments = ("--video", video, "--network", "small", "--runtimes", "onnxruntime", "--frames", 6)
    shown = cli("demo", tmp_path / "demo", *arguments)
    assert shown.code == 0, shown.err
    assert "no truth" in shown.out
    with open_source(tmp_path / "demo/overlay.mp4") as source:
        assert [frame.image.shape for frame in source] == [(120, 160, 3)] * 6


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--network", "huge"), "small"),
        (("--video", "missing.mp4"), "missing.mp4"),
        (("--runtimes", "caffe"), "onnxruntime"),
    ],
    ids=["network", "video", "runtime"],
)
def test_invalid_options_write_nothing(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    shown = cli("demo", tmp_path / "demo", *arguments)
    assert shown.code == 1
    assert word in shown.err
    assert not (tmp_path / "demo").exists()


def test_json_has_the_error_kind(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    shown = cli("demo", tmp_path, "--json")
    assert shown.code == 1
    assert shown.json()["error"]["kind"] == "OptionError"


def test_both_demo_networks_are_shipped() -> None:
    assert {"small", "middle"} <= set(shipped())
