"""``edge-vseg dataset check``, ``propagate`` and ``pseudo-label``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_bundle import CLASSES as TINY_CLASSES
from tiny_bundle import write_tiny_bundle

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.analysis.label_propagation import CarriedLabels
from edge_vseg.analysis.label_propagation.labelled_folder import write_labelled_folder
from edge_vseg.bundle.labels import numbered_labels

CLASSES = ["road", "car", "<b>unicorn</b>"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split in ("train", "val"):
        for number in range(3):
            image = np.random.default_rng((len(split), number)).integers(0, 256, (12, 16, 3), np.uint8)
            for kind, picture in (("images", image), ("labels", np.eye(12, 16, dtype=np.uint8))):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / split / kind / f"{split}{number}.png"), picture)
    (root / "classes.json").write_text(json.dumps(CLASSES[:2]))
    return root


def test_the_command(cli: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shown = cli("dataset", "check", f"folder:{folder}", "--html", page)
    assert shown.code == 0, shown.err
    assert "nothing to put right" in shown.out
    assert "Contact sheet of train" in page.read_text(encoding="utf-8")
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    shown = cli("dataset", "check", f"folder:{folder}", "--html", page, "--force", "--json", "--max-frames", 2)
    assert shown.code == 3, shown.err
    tree = shown.json()
    assert tree["classes"] == CLASSES
    assert [each["frames"] for each in tree["splits"]] == [2, 2]
    assert len(tree["problems"]) == 2
    text = page.read_text(encoding="utf-8")
    assert "<b>unicorn" not in text
    assert "&lt;b&gt;unicorn" in text
    assert cli("dataset", "check", f"folder:{folder}", "--html", page).code == 1, "the page is there already"


@pytest.mark.parametrize("address", ["folder:missing", "imagenet:x", "folder"])
def test_what_is_no_dataset(cli: Callable[..., Any], address: str) -> None:
    shown = cli("dataset", "check", address)
    assert shown.code == 1
    assert "edge_vseg" not in shown.err


@pytest.fixture
def drive_folder(tmp_path: Path) -> Path:
    """Six frames of a square that moves; the third is labelled, in the classes of the tiny bundle."""
    root = tmp_path / "drive"
    for number in range(6):
        image = np.full((48, 64, 3), (200, 40, 40), np.uint8)
        image[12:36, 2 * number : 2 * number + 24] = (30, 30, 220)
        for kind in ("images", "labels"):
            (root / kind / "clip").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"images/clip/{number}.png"), image)
        if number == 2:
            cv2.imwrite(str(root / f"labels/clip/{number}.png"), (image[..., 2] > 100).astype(np.uint8))
    (root / "classes.json").write_text(json.dumps({"classes": ["class0", "class1", "class2"], "rate": 10}))
    return root


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "teacher.evseg", "onnxruntime")


def test_labels_are_propagated(cli: Callable[..., Any], drive_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    shown = cli("dataset", "propagate", f"folder:{drive_folder}", "-o", out, "--reach", 2, "--json")
    assert shown.code == 0, shown.err
    tree = shown.json()
    assert (tree["output"], tree["split"], tree["frames"], tree["given"], tree["made"]) == (str(out), "all", 5, 1, 4)
    assert 0.5 < tree["labelled_share"] <= 1
    assert set(tree["classes"]) == {"class0", "class1", "class2"}
    assert sum(tree["classes"].values()) == pytest.approx(1)
    made = open_dataset(f"folder:{out}")
    real = [cv2.imread(str(drive_folder / f"images/clip/{number}.png")) for number in range(5)]
    assert all((frame.image == image).all() for frame, image in zip(made, real, strict=True))
    assert made[1].time_s == pytest.approx(0.1)
    again = ("dataset", "propagate", f"folder:{drive_folder}", "-o", out)
    refused = cli(*again)
    assert refused.code == 1
    assert "--force" in refused.err
    shown = cli(*again, "--joint", "--force", "--min-confidence", 0)
    assert shown.code == 0, shown.err
    assert "6 frames of split all, 5 of them with new labels" in shown.out
    joint = open_dataset(f"folder:{out}")
    for frame in joint:
        sharp = ((frame.image[..., 2] < 60) | (frame.image[..., 2] > 180)) & (frame.labels != 255)
        assert (frame.labels[sharp] == (frame.image[..., 2][sharp] > 100)).all()


def test_the_dataset_that_is_read_is_not_replaced(cli: Callable[..., Any], drive_folder: Path) -> None:
    for out in (drive_folder, drive_folder.parent):
        shown = cli("dataset", "propagate", f"folder:{drive_folder}", "-o", out, "--force")
        assert shown.code == 1
        assert "what is read" in shown.err
    assert len(list(drive_folder.rglob("*.png"))) == 7


def test_a_dataset_with_nothing_to_carry_to(cli: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    shown = cli("dataset", "propagate", f"folder:{folder}", "-o", tmp_path / "out")
    assert shown.code == 1
    assert "no frame got labels" in shown.err
    assert not (tmp_path / "out").exists()


def test_a_teacher_labels_a_video(cli: Callable[..., Any], teacher: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "pseudo"
    command = ("dataset", "pseudo-label", teacher, clip, "-o", out, "--max-uncertainty", 1, "--max-frames", 5)
    shown = cli(*command, "--no-motion", "--json")
    assert shown.code == 0, shown.err
    everything = shown.json()
    assert (everything["frames"], everything["made"], everything["clips"], everything["split"]) == (5, 5, 1, None)
    assert everything["labelled_share"] == 1
    made = open_dataset(f"folder:{out}")
    assert [each.name for each in made.labels] == [f"class{number}" for number in range(TINY_CLASSES)]
    assert [(each.name, each.clip) for each in made] == [(f"{number:06d}", "clip") for number in range(5)]
    shown = cli(*command, "--force", "--json")
    assert shown.code == 0, shown.err
    assert 0 < shown.json()["labelled_share"] < 1
    shown = cli("dataset", "pseudo-label", teacher, clip, "-o", out, "--max-uncertainty", 0, "--force", "--json")
    assert shown.code == 0, shown.err
    assert shown.json()["labelled_share"] == 0


def test_a_teacher_labels_what_has_no_labels(
    cli: Callable[..., Any], teacher: Path, drive_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pseudo"
    shown = cli(
        "dataset", "pseudo-label", teacher, f"folder:{drive_folder}", "-o", out, "--max-uncertainty", 1, "--no-motion"
    )
    assert shown.code == 0, shown.err
    made, given = open_dataset(f"folder:{out}"), open_dataset(f"folder:{drive_folder}")
    assert len(made) == 6
    np.testing.assert_array_equal(made[2].labels, given[2].labels)
    assert all((each.labels != 255).all() for each in made)
    shown = cli("dataset", "pseudo-label", teacher, f"folder:{out}", "-o", tmp_path / "again")
    assert shown.code == 1
    assert "every frame of split 'all' has labels" in shown.err


MODULE = """
import torch

class Colours(torch.nn.Module):
    labels = LABELS
    normalization = {"mean": 127.5, "scale": 1, "color": "rgb"}

    def forward(self, image):
        assert image.shape[0] == 1
        return {"out": torch.nn.functional.avg_pool2d(torch.cat((image[:, 2:], image[:, :1]), 1), 4)}

def colours():
    return Colours()
"""


def test_any_module_is_a_teacher(cli: Callable[..., Any], drive_folder: Path, tmp_path: Path) -> None:
    """It says class1 of what is red: of BGR that is the last channel, of RGB as it is given the first."""
    pytest.importorskip("torch", reason="a torch module needs the extra 'export'")
    (tmp_path / "teacher.py").write_text(MODULE.replace("LABELS", "['class0', 'class1']"))
    source, out = f"{tmp_path / 'teacher.py'}:colours", tmp_path / "pseudo"
    words = ("dataset", "pseudo-label", source, f"folder:{drive_folder}", "-o", out)
    shown = cli(*words, "--max-uncertainty", 0.3)
    assert shown.code == 0, shown.err
    made = open_dataset(f"folder:{out}")
    assert [each.name for each in made.labels] == ["class0", "class1"]
    for number in (0, 1, 3, 4, 5):
        frame = made[number]
        known = frame.labels != 255
        assert known.mean() > 0.5
        assert (frame.labels == (frame.image[..., 2] > 100))[known].mean() > 0.99, "all but corners"
    refused = cli(*words, "--force", "--threads", 2)
    assert refused.code == 1
    assert "is no bundle and runs in torch; leave out --runtime" in " ".join(refused.err.split())
    for labels, message in (
        ("None", "the attributes labels, such as"),
        ("['class0', 'class1', 'class2']", "expected scores (1, 3, h, w)"),
    ):
        (tmp_path / "teacher.py").write_text(MODULE.replace("LABELS", labels))
        refused = cli(*words, "--force")
        assert refused.code == 1
        assert message in " ".join(refused.err.split())


@pytest.mark.parametrize("source", ["missing.mp4", "folder:missing"])
def test_a_source_that_is_missing(cli: Callable[..., Any], teacher: Path, tmp_path: Path, source: str) -> None:
    shown = cli("dataset", "pseudo-label", teacher, source, "-o", tmp_path / "out")
    assert shown.code == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["teacher.evseg"]


def test_forced_output_beside_what_is_read(tmp_path: Path, cli: Callable[..., Any], teacher: Path) -> None:
    """What an older run wrote is the source of the next one: it stays."""
    out = tmp_path / "out"
    with write_labelled_folder(out, numbered_labels(3), None, force=False) as writer:
        writer.begin_clip("a")
        image = np.zeros((48, 64, 3), np.uint8)
        writer.add("x", image, CarriedLabels.given(np.zeros((48, 64), np.uint8)))
    shown = cli("dataset", "pseudo-label", teacher, out / "images" / "a", "-o", out, "--force")
    assert shown.code == 1
    assert "what is read" in shown.err
