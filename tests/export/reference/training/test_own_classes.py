"""Training on a dataset with classes of one's own, and the bundle that comes of it."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.labels import named_labels, parse_labels
from edge_vseg.bundle.manifest import CalibrationSpec, Label
from edge_vseg.errors import DatasetError, OptionError, WeightsError
from edge_vseg.export import ExportOptions, SampleFrames, export_bundle
from edge_vseg.export.reference.training import __main__ as command
from edge_vseg.export.reference.training.augment import place
from edge_vseg.export.reference.training.batches import make_batch
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.losses import label_loss, near_border
from edge_vseg.export.reference.training.own_data import read_training_data, training_address
from edge_vseg.export.reference.training.training_data import ClassStatistics, TrainingData, class_statistics
from edge_vseg.export.reference.zoo import pretrained, read_network
from edge_vseg.export.reference.zoo.new_head import with_labels

NAMES = ["Grass", "car", "puddle"]
TINY = ("--network", "small", "--epochs", "2", "--set", "batch=2", "--set", "crop_hw=[64,96]")


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """A dataset of three classes, one of them in one frame only; every other frame has no labels."""
    folder = tmp_path / "garden"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            labels = np.zeros((64, 96), np.uint8)
            labels[20:50, 10 * number : 10 * number + 20] = 1
            if number == 2:
                labels[50:60, 70:90] = 2
            image = np.array([(40, 160, 40), (30, 30, 200), (200, 120, 30)])[labels] + rng.normal(0, 5, (64, 96, 3))
            cv2.imwrite(str(folder / split / "images" / f"{number}.png"), np.clip(image, 0, 255).astype(np.uint8))
            if number % 2 == 0 or split == "val":
                cv2.imwrite(str(folder / split / "labels" / f"{number}.png"), labels)
    (folder / "classes.json").write_text(json.dumps(NAMES))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edge-vseg-train", *map(str, words)])
    try:
        command.main()
    except SystemExit as exc:
        return int(exc.code or 0)
    return 0


def test_from_a_folder_to_a_bundle(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert run(monkeypatch, f"folder:{garden}", "-o", folder, *TINY, "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert list(tree["iou"]) == NAMES
    assert tree["commands"] == [
        "edge-vseg-train LAYOUT:DIR -o RUN --set network=small --set epochs=2 --set batch=2 --set 'crop_hw=[64,96]'"
        " --val val --start shipped"
    ]
    network = read_network(folder / "weights.safetensors")
    assert [label.name for label in network.labels] == NAMES
    assert run(monkeypatch, f"folder:{garden}", "-o", folder, *TINY) == 0, "a finished run is continued"
    assert "edge-vseg export" in capsys.readouterr().err
    frames = [cv2.imread(str(path)) for path in sorted((garden / "val/images").iterdir())]
    made = export_bundle(
        str(folder / "weights.safetensors"),
        tmp_path / "garden.evseg",
        SampleFrames(calibration=frames[:2], validation=frames[2:], spec=CalibrationSpec()),
        ExportOptions(size_hw=(64, 96), runtimes=("onnxruntime",), precisions=("float",), slices=False, max_drop=1.0),
    )
    manifest = open_bundle(made.path).manifest
    assert [label.name for label in manifest.labels] == NAMES
    assert tuple(manifest.source.mean) == (110, 110, 110)


@pytest.mark.parametrize(
    ("address", "names", "begins"),
    [
        ("camvid:/data/CamVid", "camvid", "none"),
        ("folder:/data/camvid", "camvid", "shipped"),
        ("cityscapes:/data", "camvid", "shipped"),
        ("camvid:/data/CamVid:train", "voc", "shipped"),
    ],
)
def test_only_camvid_itself_begins_with_random_weights(address: str, names: str, begins: str) -> None:
    """The colours do not matter."""
    labels = tuple(Label(id=each.id, name=each.name, color=(each.id, 1, 2)) for each in named_labels(names))
    assert command._default_start(address, labels) == begins


def test_another_choice_of_classes_is_another_run(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(["car", "grass"]))
    words = (f"folder:{garden}", "-o", tmp_path / "run", *TINY)
    assert run(monkeypatch, *words, "--classes", tmp_path / "mine.json") == 0
    assert [label.name for label in read_network(tmp_path / "run/weights.safetensors").labels] == ["car", "grass"]
    capsys.readouterr()
    assert run(monkeypatch, *words) == 1
    assert "made with other classes" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--classes", "camvid", "-o", tmp_path / "other", "--plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["frames"], plan["steps"], plan["evaluations"]) == (4, 4, 1)
    assert plan["total_s"] > 0
    assert not (tmp_path / "other").exists()


def test_another_colour_is_no_other_class(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither for the run nor for a teacher; the weights say the new one."""
    words = (f"folder:{garden}", "-o", tmp_path / "run", *TINY)
    assert run(monkeypatch, *words) == 0
    (garden / "classes.json").write_text(json.dumps([{"name": "Grass", "color": [1, 2, 3]}, *NAMES[1:]]))
    assert run(monkeypatch, *words) == 0, capsys.readouterr().err
    path = tmp_path / "run/weights.safetensors"
    assert read_network(path).labels[0].color == (1, 2, 3)
    (garden / "classes.json").write_text(json.dumps(NAMES))
    words = (f"folder:{garden}", "-o", tmp_path / "taught", *TINY)
    assert run(monkeypatch, *words, "--teacher", path, "--set", "response=1") == 0, capsys.readouterr().err


def test_camvid_in_other_colours_begins_as_camvid_does(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": label.name, "color": [number, 0, 0]} for number, label in enumerate(named_labels("camvid"))]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    words = (f"folder:{garden}", "-o", tmp_path / "run", *TINY)
    assert run(monkeypatch, *words, "--classes", "camvid") == 0
    assert run(monkeypatch, *words, "--classes", tmp_path / "mine.json") == 0
    assert read_network(tmp_path / "run/weights.safetensors").labels[5].color == (5, 0, 0)


def test_a_class_that_is_made_of_several_is_learnt(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, words = tmp_path / "mine.json", (f"folder:{garden}", "-o", tmp_path / "run", *TINY)
    mine.write_text(json.dumps(["grass", {"name": "obstacle", "of": ["car", "puddle"]}]))
    assert run(monkeypatch, *words, "--classes", mine, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["iou"]) == ["grass", "obstacle"]
    assert [label.name for label in read_network(tmp_path / "run/weights.safetensors").labels] == ["grass", "obstacle"]
    assert run(monkeypatch, *words, "--classes", mine) == 0, "a finished run is continued"
    mine.write_text(json.dumps(["grass", {"name": "obstacle", "of": ["car"]}]))
    capsys.readouterr()
    assert run(monkeypatch, *words, "--classes", mine) == 1
    assert "was made from something else (" in capsys.readouterr().err
    mine.write_text(json.dumps(["grass", {"name": "obstacle", "of": ["lorry"]}]))
    assert run(monkeypatch, *words, "--classes", mine) == 1
    assert "'obstacle' is made of lorry, and the dataset has none of them" in capsys.readouterr().err


def test_without_frames_to_judge_by_there_is_no_figure(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (garden / "val").rename(garden / "other")
    words = (f"folder:{garden}", "-o", tmp_path / "run", *TINY)
    assert run(monkeypatch, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["miou"] is None
    teacher = ("--teacher", tmp_path / "run/weights.safetensors", "--set", "response=1", "--classes", "camvid")
    assert run(monkeypatch, f"folder:{garden}", "-o", tmp_path / "other", *TINY, *teacher) == 1
    assert "has other classes" in capsys.readouterr().err


def test_frames_without_labels_are_left_out(garden: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read_training_data(f"folder:{garden}", TrainConfig())
    assert (len(data.train), len(data.val)) == (4, 3)
    assert [label.name for label in data.labels] == NAMES
    assert data.things() == (1,)
    for val, why in (("test", "has no such split, only train, val"), ("train", "is what the network learns")):
        with pytest.raises(OptionError, match=rf"--val {val}.* {why}"):
            read_training_data(f"folder:{garden}", TrainConfig(), val=val)
    (garden / "val").rename(garden / "valid")
    assert read_training_data(f"folder:{garden}", TrainConfig()).val_split == "valid"
    (garden / "valid").rename(garden / "mine")
    data = read_training_data(f"folder:{garden}", TrainConfig())
    assert (len(data.val), data.val_split) == (0, None)
    assert "nothing tells how good" in caplog.text
    data = read_training_data(f"folder:{garden}:mine", TrainConfig(), val="train")
    assert (len(data.train), data.split, data.val_split) == (3, "mine", "train")
    with pytest.raises(DatasetError, match="no split 'train'|has no split"):
        read_training_data(f"folder:{garden}:all", TrainConfig())
    for path in (garden / "train/labels").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="label map"):
        read_training_data(f"folder:{garden}", TrainConfig())


def test_streets_are_in_the_same_classes(garden: Path) -> None:
    data = read_training_data(f"folder:{garden}", TrainConfig(streets=2))
    found = set(np.unique(np.stack([frame.labels for frame in data.streets])))
    assert found == {1, 255}, "of a rendered street the garden has the cars"
    (garden / "classes.json").write_text(json.dumps(["Grass", "gnome", "puddle"]))
    with pytest.raises(OptionError, match="streets=0"):
        read_training_data(f"folder:{garden}", TrainConfig(streets=2))


@pytest.mark.parametrize(
    ("given", "address"), [("CamVid", "camvid:CamVid"), ("folder:x", "folder:x"), ("/a:b", "camvid:/a:b")]
)
def test_a_folder_alone_is_that_of_camvid(given: str, address: str) -> None:
    assert training_address(given) == address


def test_a_class_that_is_known_keeps_its_weights() -> None:
    before = pretrained("small")
    labels = parse_labels(["puddle", "Car", "sky"], "")
    after = with_labels(before, labels)
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 64, 96)).astype(np.float32))
    with torch.no_grad():
        old, new = before(image), after(image)
    assert new.shape == (1, 3, 64, 96)
    camvid = [label.name for label in named_labels("camvid")]
    torch.testing.assert_close(new[:, 1], old[:, camvid.index("car")])
    torch.testing.assert_close(new[:, 2], old[:, camvid.index("sky")])
    again = with_labels(before, labels)
    with torch.no_grad():
        torch.testing.assert_close(again(image), new, rtol=0, atol=0)


def test_rare_classes_are_drawn_more_often_and_their_crops_show_them() -> None:
    shares = np.array([0.9, 0.0999, 0.0001, 0.0])
    rng = np.random.default_rng(0)
    drawn = [ClassStatistics(shares=shares, frames=((0, 1), (1,), (1,), ())).rare_class(rng) for _ in range(600)]
    counts = np.bincount(drawn, minlength=4)
    assert counts[3] == 0, "nobody can see what is nowhere"
    assert counts[2] > counts[1] > 10 * counts[0]
    labels = np.zeros((128, 512), np.uint8)
    labels[60:68, 500:508] = 2
    image = np.zeros((128, 512, 3), np.uint8)
    frames = [LabelledFrame(image=image, labels=np.zeros_like(labels)), LabelledFrame(image=image, labels=labels)]
    data = TrainingData(train=frames, val=())
    for rare, seen in ((1.0, 8), (0.0, 4)):
        config = TrainConfig(batch=8, crop_hw=(64, 64), scale=(1, 1), rare=rare, aged=0, seed=5)
        with ThreadPoolExecutor(1) as pool:
            batch = make_batch(config, data, 0, pool, class_statistics(frames, 3))
        found = sum(bool((each == 2).any()) for each in batch.labels)
        assert found >= 6 if rare else found <= seen


def test_a_crop_lies_around_a_point() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        matrix = place((200, 300), (64, 64), (0.8, 1.4), rng, around=(280.0, 10.0)).matrix
        column, row = matrix @ [280.0, 10.0, 1.0]
        assert -3 <= column <= 67
        assert -3 <= row <= 67


def test_pixels_at_borders_weigh_more() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :, 4:] = 1
    labels[:, 6:] = 255
    near = near_border(labels)[0]
    expected = torch.zeros(8, 8)
    expected[:6, 3:5] = 1
    torch.testing.assert_close(near, expected)
    scores = torch.zeros(1, 2, 16, 16)
    scores[:, 0, :, 8:10] = 3.0  # wrong beside the border
    large = torch.zeros(1, 16, 16, dtype=torch.int64)
    large[:, :, 8:] = 1
    weights = torch.ones(2)
    plain, heavy = (label_loss(scores, large, weights, boundary=each) for each in (0.0, 4.0))
    assert heavy > 1.3 * plain


def test_weights_that_say_strange_classes(tmp_path: Path) -> None:
    import safetensors.torch

    path = tmp_path / "w.safetensors"
    facts = json.dumps({"network": "small", "labels": ["only one"]})
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata={"edge_vseg": facts})
    with pytest.raises(WeightsError, match="2 to 255 classes"):
        read_network(path)
