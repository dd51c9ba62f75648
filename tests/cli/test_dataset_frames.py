"""Datasets where a command takes videos: frames to sample, and recordings to calibrate and to tune on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from board_profile import write_board_profile

from edge_vseg.cli.dataset_frames import is_dataset, longest_recording, with_dataset_images
from edge_vseg.errors import DatasetError, OptionError
from edge_vseg.scheduling.device_profile import read_device_profile
from edge_vseg.tuning import copied_recording

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, drive: list[np.ndarray]) -> Path:
    """Split ``train`` with a picture alone, a recording of 3 frames and one of 36; of ``val`` one picture."""
    root = tmp_path_factory.mktemp("clips")
    for split, names in (
        ("train", ("alone", *[f"a/{n}" for n in range(3)], *[f"b/{n:02d}" for n in range(36)])),
        ("val", "v"),
    ):
        for number, name in enumerate(names):
            image = drive[11 - abs(11 - number % 22)]
            for kind, picture in (("images", image), ("labels", np.zeros(image.shape[:2], np.uint8))):
                path = root / split / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                if kind == "images" or not name.startswith("b/"):
                    cv2.imwrite(str(path), picture)
    (root / "classes.json").write_text(json.dumps({"classes": ["road", "car"], "rate": 15}))
    return root


def test_what_is_there_by_its_name_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_dataset("coco:clip.mp4")
    Path("coco:clip.mp4").touch()
    assert not is_dataset("coco:clip.mp4")
    for source in ("drive.mp4", "folder", "drive.mcap:/camera", "file:drive.mp4", "rtsp://camera/1", "imagenet:x", ""):
        assert not is_dataset(source), source
    assert with_dataset_images(["coco:clip.mp4", "drive.mp4"]) == ["coco:clip.mp4", "drive.mp4"]


def test_the_images_of_a_split_take_its_place(clips: Path) -> None:
    found = with_dataset_images(["drive.mp4", f"folder:{clips}", f"folder:{clips}:val"])
    names = [Path(each).relative_to(clips).as_posix() for each in found[1:]]
    assert found[0] == "drive.mp4"
    assert names[:4] == ["train/images/alone.png", *(f"train/images/a/{number}.png" for number in range(3))]
    assert (len(names), names[-1]) == (41, "val/images/v.png")
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, val"):
        with_dataset_images([f"folder:{clips}:test"])


def test_any_split_will_do_where_names_do_not_tell(tmp_path: Path) -> None:
    for split in ("night", "day"):
        for kind in ("images", "labels"):
            (tmp_path / split / kind).mkdir(parents=True)
            picture = np.zeros((8, 8, 3) if kind == "images" else (8, 8), np.uint8)
            cv2.imwrite(str(tmp_path / split / kind / "a.png"), picture)
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car"]))
    assert with_dataset_images([f"folder:{tmp_path}"]) == [str(tmp_path / "day/images/a.png")]


def test_the_longest_recording(clips: Path) -> None:
    found = longest_recording(f"folder:{clips}", 36)
    assert {each.parent for each in found} == {clips / "train/images/b"}
    for address, split, most in ((f"folder:{clips}", "train", 36), (f"folder:{clips}:val", "val", 1)):
        with pytest.raises(OptionError, match=f"no more than {most} frames of split '{split}' follow .* it takes 37"):
            longest_recording(address, 37)


def test_a_recording_is_copied_in_its_order_and_once(clips: Path, tmp_path: Path) -> None:
    images = [clips / f"train/images/a/{number}.png" for number in (2, 0, 1)]
    place = copied_recording(images, tmp_path)
    assert [path.read_bytes() for path in sorted(place.iterdir())] == [path.read_bytes() for path in images]
    at = [path.stat().st_mtime_ns for path in sorted(place.iterdir())]
    assert copied_recording(images, tmp_path) == place
    assert [path.stat().st_mtime_ns for path in sorted(place.iterdir())] == at
    assert copied_recording(images[:2], tmp_path) != place


def test_a_device_is_calibrated_on_the_longest_recording(
    cli: Cli, sliced_bundle: Path, clips: Path, tmp_path: Path
) -> None:
    path = tmp_path / "profile.json"
    words = ("calibrate", sliced_bundle, "--runtime", "onnxruntime", "--threads", 1, "-o", path)
    shown = cli(*words, f"folder:{clips}")
    assert shown.code == 0, shown.err
    assert read_device_profile(path).video == str(clips / "train/images/b")
    for split, message in (("val", "no more than 1 frames of split 'val'"), ("test", "has no split 'test'")):
        refused = cli(*words, f"folder:{clips}:{split}")
        assert refused.code == 1
        assert message in " ".join(refused.err.split())


def test_a_bundle_is_tuned_on_the_longest_recording(cli: Cli, sliced_bundle: Path, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    board = tmp_path / "board.json"
    write_board_profile(board, sliced_bundle, 60.0)
    words = ("tune", sliced_bundle, "--device", board, "--rate", 10, "--trials", 1, "-o", tmp_path / "best.evseg")
    shown = cli(*words, "--frames", f"folder:{clips}", "--max-frames", 12, "--json")
    assert shown.code == 0, shown.err
    assert [trial["figures"]["frames"] for trial in shown.json()["trials"]] == [12]
    (place,) = (tmp_path / "best.study/recording").iterdir()
    assert len(list(place.iterdir())) == 12
    shutil.rmtree(tmp_path / "best.study")
    refused = cli(*words, "--frames", f"folder:{clips}:val")
    assert refused.code == 1
    assert "no more than 1 frames of split 'val'" in " ".join(refused.err.split())
    assert not (tmp_path / "best.study").exists()
