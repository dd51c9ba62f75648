"""``edge-vseg render``: a video with its truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg import open_source
from edge_vseg.export.reference.scenes import CAMERAS, StreetOptions, render_street

Cli = Callable[..., Any]
SMALL = ("--size", "72x96", "--frames", 5)


@pytest.mark.parametrize("camera", CAMERAS)
def test_video_and_truth_match_the_renderer(cli: Cli, tmp_path: Path, camera: str) -> None:
    video, truth = tmp_path / "street.mp4", tmp_path / "truth"
    shown = cli("render", video, *SMALL, "--camera", camera, "--seed", 3, "--rate", 10, "--truth", truth, "--json")
    assert shown.code == 0
    assert shown.json()["frames"] == 5
    expected = list(render_street(StreetOptions(camera=camera, size_hw=(72, 96), rate=10.0, seed=3), 5))
    with open_source(video) as source:
        frames = list(source)
    assert [frame.pts_ns for frame in frames] == pytest.approx([frame.pts_ns for frame in expected], abs=1000)
    for number, scene in enumerate(expected):
        assert np.abs(frames[number].image.astype(int) - scene.image).mean() < 12, "the codec alone changes pixels"
        labels = cv2.imread(str(truth / f"{number:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels, scene.labels)
        with np.load(truth / f"{number:06d}.npz") as stored:
            np.testing.assert_array_equal(stored["motion"], scene.motion)
            np.testing.assert_array_equal(stored["occluded"], scene.occluded)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--camera", "flying"), "driving"),
        (("--passing", "tram"), "none, car, rider, walker"),
        (("--passing", "car", "--camera", "walking"), "needs camera='driving'"),
        (("--size", "0x5"), "HEIGHTxWIDTH"),
        (("--size", "wide"), "HEIGHTxWIDTH"),
        (("--rate", "0"), "rate"),
    ],
    ids=["camera", "passing", "camera that walks", "empty", "size", "rate"],
)
def test_invalid_options_write_nothing(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    shown = cli("render", tmp_path / "street.mp4", "--frames", 2, *arguments)
    assert shown.code == 1
    assert word in " ".join(shown.err.split())
    assert list(tmp_path.glob("*.mp4")) == []


def test_existing_files_are_not_replaced(cli: Cli, tmp_path: Path) -> None:
    video = tmp_path / "street.mp4"
    video.write_bytes(b"mine")
    assert cli("render", video, *SMALL).code == 1
    assert video.read_bytes() == b"mine"
    assert cli("render", video, *SMALL, "--force").code == 0
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/mine").touch()
    shown = cli("render", tmp_path / "other.mp4", *SMALL, "--truth", tmp_path / "truth")
    assert (shown.code, "not an empty folder" in shown.err) == (1, True)
    assert cli("render", tmp_path / "none/street.mp4", *SMALL).code == 1
