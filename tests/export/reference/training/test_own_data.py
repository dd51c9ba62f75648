"""What is read for a training: at which size, how much of it is held, and what judges a dataset of one split."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training import own_data
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.own_data import read_training_data
from edge_vseg.export.reference.training.run_sources import data_fingerprints
from edge_vseg.export.reference.training.sized_frames import SizedFrames

Sizes = list[tuple[int, int]]


def write_split(root: Path, sizes: Sizes, clips: int = 0) -> None:
    """Frames of these sizes, the left half of class 0 and dark, the other of class 1 and bright."""
    for number, (height, width) in enumerate(sizes):
        labels = np.zeros((height, width), np.uint8)
        labels[:, width // 2 :] = 1
        clip = f"clip{number * clips // len(sizes)}" if clips else ""
        for kind, value in (("images", labels[..., None].repeat(3, axis=2) * 200), ("labels", labels)):
            (root / kind / clip).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / kind / clip / f"{number:03}.png"), value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/classes.json").write_text(json.dumps(["dark", "bright"]))
    return tmp_path / "data"


def test_frames_are_learnt_and_judged_at_one_size(folder: Path) -> None:
    write_split(folder / "train", [(270, 480), (540, 960), (270, 480)])
    write_split(folder / "val", [(1080, 1920)])
    data = read_training_data(f"folder:{folder}", TrainConfig(frame_hw=(90, 160)))
    for frame in (*data.train, *data.val):
        assert frame.image.shape == (90, 160, 3)
        assert (frame.labels[:, :80] == 0).all()
        assert (frame.labels[:, 80:] == 1).all()
        assert (frame.image[:, :79] == 0).all()
        assert (frame.image[:, 81:] == 200).all()


def test_an_image_is_reduced_by_area(folder: Path) -> None:
    write_split(folder / "train", [(90, 160)] * 2)
    write_split(folder / "val", [(180, 320)])
    path = folder / "val/images/000.png"
    checks = np.indices((180, 320)).sum(axis=0) % 2 * 200
    cv2.imwrite(str(path), checks.astype(np.uint8)[..., None].repeat(3, axis=2))
    data = read_training_data(f"folder:{folder}", TrainConfig(frame_hw=(90, 160)))
    assert (data.val[0].image == 100).all()


def test_large_frames_are_told_where_no_size_is_set(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_split(folder / "train", [(360, 480), (1080, 1920), (360, 480)])
    write_split(folder / "val", [(90, 160)])
    read_training_data(f"folder:{folder}", TrainConfig())
    assert "the frames are 1080x1920, much larger than crops of 288x384" in caplog.text
    assert "Set frame_hw to its input size" in caplog.text
    caplog.clear()
    read_training_data(f"folder:{folder}", TrainConfig(frame_hw=(360, 480)))
    read_training_data(f"folder:{folder}:val", TrainConfig(), val="train")
    assert "frame_hw" not in caplog.text


def test_plan_and_hint_have_the_size(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(folder / "train", [(180, 320)] * 2)
    write_split(folder / "val", [(180, 320)])
    words = [f"folder:{folder}", "-o", tmp_path / "run", "--network", "small", "--epochs", 1, "--set", "batch=2"]
    words += ["--set", "crop_hw=[64,96]", "--set", "frame_hw=[72,128]"]
    seen = []

    def evaluate(network: object, frames: list, classes: int) -> object:
        seen.extend(frame.labels.shape for frame in frames)
        return judge(network, frames, classes)

    judge = command.evaluate_network
    monkeypatch.setattr(command, "evaluate_network", evaluate)
    monkeypatch.setattr(sys, "argv", ["edge-vseg-train", *map(str, words)])
    with contextlib.suppress(SystemExit):
        command.main()
    assert seen == [(72, 128)]
    assert "--input-size 72x128" in capsys.readouterr().err
    assert json.loads((tmp_path / "run/result.json").read_text())["options"]["frame_hw"] == [72, 128]


@pytest.mark.parametrize("sizes", [[(8, 8), *[(80, 80)] * 9], [*[(80, 80)] * 9, (8, 8)]], ids=["small first", "last"])
def test_memory_is_counted_and_not_guessed(folder: Path, monkeypatch: pytest.MonkeyPatch, sizes: Sizes) -> None:
    write_split(folder / "train", sizes)
    write_split(folder / "val", [(80, 80)])
    monkeypatch.setattr(own_data, "MAX_HELD_BYTES", 5 * 80 * 80 * 4)
    data = read_training_data(f"folder:{folder}", TrainConfig())
    assert isinstance(data.train, SizedFrames)
    assert len(data.train) == 10
    assert isinstance(data.val, list)
    small = read_training_data(f"folder:{folder}", TrainConfig(frame_hw=(64, 64)))
    assert isinstance(small.train, SizedFrames)
    assert [frame.labels.shape for frame in small.train[2:4]] == [(64, 64)] * 2
    monkeypatch.setattr(own_data, "MAX_HELD_BYTES", sum(height * width * 4 for height, width in sizes))
    assert isinstance(read_training_data(f"folder:{folder}", TrainConfig()).train, list)


@pytest.mark.parametrize(
    ("clips", "address", "judged", "how"),
    [
        (0, "", ["009", "010", "011"], "the end of images/*"),
        (1, "", ["009", "010", "011"], "the end of clip0"),
        (4, ":all", ["003", "004", "005"], "all of clip1"),
    ],
    ids=["numbered images", "one clip", "four clips"],
)
def test_a_part_of_a_split_that_is_alone_judges(
    folder: Path, caplog: pytest.LogCaptureFixture, clips: int, address: str, judged: list[str], how: str
) -> None:
    write_split(folder, [(64, 64)] * 12, clips)
    data = read_training_data(f"folder:{folder}{address}", TrainConfig())
    assert [frame.name for frame in data.val] == judged
    assert sorted([frame.name for frame in data.train] + judged) == [f"{number:03}" for number in range(12)]
    assert (data.split, data.val_split) == ("all", None), "the same command divides it again"
    assert (
        f"split 'all' is the only one: 9 frames of it are learnt, and 3 are set aside to judge by, {how}" in caplog.text
    )
    again = read_training_data(f"folder:{folder}{address}", TrainConfig())
    assert data_fingerprints(again) == data_fingerprints(data)


def test_all_of_a_split_that_is_alone_can_be_learnt(folder: Path) -> None:
    write_split(folder, [(64, 64)] * 12)
    data = read_training_data(f"folder:{folder}", TrainConfig(), val="none")
    assert (len(data.train), len(data.val), data.val_split) == (12, 0, "none")


def test_too_few_to_set_some_aside(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_split(folder, [(64, 64)] * 7)
    data = read_training_data(f"folder:{folder}", TrainConfig())
    assert (len(data.train), len(data.val)) == (7, 0)
    assert "nothing tells how good" in caplog.text


@pytest.mark.parametrize(("train", "val"), [("Train", "Validation"), ("train2017", "val2017")])
def test_splits_in_other_spellings(folder: Path, train: str, val: str) -> None:
    write_split(folder / "Test", [(64, 64)])
    write_split(folder / train, [(64, 64)] * 2)
    write_split(folder / val, [(64, 64)])
    data = read_training_data(f"folder:{folder}", TrainConfig())
    assert (data.split, data.val_split) == (train, val)
    data = read_training_data(f"folder:{folder}:{train}", TrainConfig())
    assert (len(data.train), data.val_split) == (2, val)
